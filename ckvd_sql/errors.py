"""The exceptions of ckvd_sql, one tree under `CkvdError`.

    CkvdError
    ├── InvalidArgumentError        argument, value, allowed        (also a ValueError)
    │   ├── InvalidSymbolError      a symbol that is not valid in a path, or that the exchange does not list
    │   ├── InvalidIntervalError    no interval of Binance's, or none of this market's
    │   ├── InvalidMarketError      not spot, um or cm
    │   └── InvalidTimeError        not a time, or a range that ends before it starts
    ├── SettingsError               setting, value                  (also a ValueError)
    ├── CacheError                  path, damaged
    ├── OfflineError                days
    └── ProviderError               url, status
        ├── RateLimitError          retry_after, until
        ├── ProviderUnavailableError  days
        ├── ChecksumError           expected, actual
        └── MalformedDataError      a source's answer is not valid

Each message is one sentence, with the remedy where there is one. Imports nothing of the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime


class CkvdError(Exception):
    """The base of all errors that ckvd_sql raises on purpose. They pickle, with their attributes."""

    def __reduce__(self) -> tuple[object, ...]:
        """Made again without `__init__`, whose arguments are not those of the exception."""
        return _remake, (type(self), self.args), self.__dict__

    @property
    def sentence(self) -> str:
        """The class name and the message, as an error of a SQL query shows them."""
        return f"{type(self).__name__}: {self}"


def _remake(kind: type[CkvdError], arguments: tuple[object, ...]) -> CkvdError:
    return kind.__new__(kind, *arguments)


class InvalidArgumentError(CkvdError, ValueError):
    """An argument that is not valid.

    Attributes:
        argument: The argument's name as the caller writes it, such as `symbol`.
        value: The value that was given.
        allowed: A description of the valid values.
    """

    def __init__(self, argument: str, value: object, allowed: str) -> None:
        super().__init__(f"{argument} {value!r} is not accepted: {allowed}")
        self.argument = argument
        self.value = value
        self.allowed = allowed


class InvalidSymbolError(InvalidArgumentError):
    """A symbol that is not well-formed, or that the exchange does not list."""


class InvalidIntervalError(InvalidArgumentError):
    """An interval that Binance does not offer, or not on this market."""


class InvalidMarketError(InvalidArgumentError):
    """A market other than spot, um and cm."""


class InvalidTimeError(InvalidArgumentError):
    """A start or end that is not a time, or a range that ends before it starts."""


class SettingsError(CkvdError, ValueError):
    """A setting that does not exist, or whose value is not valid.

    Attributes:
        setting: The setting's name, such as `timeout` (environment: `CKVD_TIMEOUT`).
        value: The value that was given.
    """

    def __init__(self, setting: str, value: object, allowed: str) -> None:
        super().__init__(
            f"setting {setting} = {value!r} can't be used: {allowed} (environment: CKVD_{setting.upper()})"
        )
        self.setting = setting
        self.value = value


class CacheError(CkvdError):
    """A day file or the cache folder can't be read or written.

    Attributes:
        path: The file or folder.
        damaged: Whether the file itself is invalid; False where the process is out of memory or file descriptors.
    """

    def __init__(self, message: str, path: str, *, damaged: bool = True) -> None:
        super().__init__(message)
        self.path = path
        self.damaged = damaged


class OfflineError(CkvdError):
    """Days are missing from the cache while the library is offline.

    Attributes:
        days: The missing days (UTC).
    """

    def __init__(self, message: str, days: Sequence[date] = ()) -> None:
        super().__init__(message)
        self.days = tuple(days)


class ProviderError(CkvdError):
    """A request to the exchange or its archive failed, or its answer is not valid.

    Attributes:
        url: The URL of the request.
        status: The HTTP status of the answer, or None where there is none.
    """

    def __init__(self, message: str, *, url: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.url = url
        self.status = status


class RateLimitError(ProviderError):
    """The exchange limits this client's rate (HTTP 429), or has banned its IP address for a time (HTTP 418).

    Attributes:
        retry_after: The seconds to wait.
        until: The moment (UTC) before which no request should be sent.
    """

    def __init__(
        self, message: str, *, retry_after: float, until: datetime, url: str = "", status: int | None = None
    ) -> None:
        super().__init__(message, url=url, status=status)
        self.retry_after = retry_after
        self.until = until


class ProviderUnavailableError(ProviderError):
    """The exchange can't be reached, or refuses requests from this address.

    Attributes:
        days: The days (UTC) that could not be fetched; empty if the request was not for days.
    """

    def __init__(self, message: str, *, url: str = "", status: int | None = None, days: Sequence[date] = ()) -> None:
        super().__init__(message, url=url, status=status)
        self.days = tuple(days)


class ChecksumError(ProviderError):
    """An archive file's SHA-256 is not the published one.

    Attributes:
        expected: The published SHA-256, 64 hex digits.
        actual: The SHA-256 of the file received, 64 hex digits.
    """

    def __init__(self, message: str, *, url: str, expected: str, actual: str) -> None:
        super().__init__(message, url=url)
        self.expected = expected
        self.actual = actual


class MalformedDataError(ProviderError):
    """A source's answer can't be parsed as, or validated against, what was requested."""
