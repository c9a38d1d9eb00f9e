"""The exceptions of ckvd_sql, one tree under `CkvdError`.

    CkvdError
    ├── InvalidArgumentError        argument, value, allowed        (also a ValueError)
    │   ├── InvalidSymbolError      a symbol no path can be built from, or one the exchange does not know
    │   ├── InvalidIntervalError    no such interval, or none on this market
    │   ├── InvalidMarketError      not spot, um or cm
    │   └── InvalidTimeError        text that is no time, or a range that ends before it starts
    ├── SettingsError               setting, value
    ├── CacheError                  path
    ├── OfflineError                days
    └── ProviderError               url, status
        ├── RateLimitError          retry_after, until
        ├── ProviderUnavailableError  days
        ├── ChecksumError           expected, actual
        └── MalformedDataError      what a source sent is not what it should send

Every message is one plain sentence that says what to do where something can be done. This module imports
nothing of the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime


class CkvdError(Exception):
    """Everything that ckvd_sql raises on purpose."""

    @property
    def sentence(self) -> str:
        """The message as SQL shows it: the class name, then the sentence."""
        return f"{type(self).__name__}: {self}"


class InvalidArgumentError(CkvdError, ValueError):
    """An argument that is refused before anything is read or asked.

    Attributes:
        argument: The argument's name as the caller writes it, such as `symbol`.
        value: What was given.
        allowed: What may be given, in words.
    """

    def __init__(self, argument: str, value: object, allowed: str) -> None:
        super().__init__(f"{argument} {value!r} is not accepted: {allowed}")
        self.argument = argument
        self.value = value
        self.allowed = allowed


class InvalidSymbolError(InvalidArgumentError):
    """A symbol that is not written like one, or that the exchange says it does not have."""


class InvalidIntervalError(InvalidArgumentError):
    """An interval that Binance does not have, or does not have on this market."""


class InvalidMarketError(InvalidArgumentError):
    """A market other than spot, um and cm."""


class InvalidTimeError(InvalidArgumentError):
    """A start or end that is no time, or a range that ends before it starts."""


class SettingsError(CkvdError, ValueError):
    """A setting whose value can't be used.

    Attributes:
        setting: The setting's name, such as `timeout` (environment: `CKVD_TIMEOUT`).
        value: What was given.
    """

    def __init__(self, setting: str, value: object, allowed: str) -> None:
        super().__init__(
            f"setting {setting} = {value!r} can't be used: {allowed} (environment: CKVD_{setting.upper()})"
        )
        self.setting = setting
        self.value = value


class CacheError(CkvdError):
    """A day file or the cache folder that can't be read or written.

    Attributes:
        path: The file or folder.
        damaged: Whether that is its own fault, and not that of a process which is short of memory or open files.
    """

    def __init__(self, message: str, path: str, *, damaged: bool = True) -> None:
        super().__init__(message)
        self.path = path
        self.damaged = damaged


class OfflineError(CkvdError):
    """Days that are not in the cache were wanted while the network is switched off.

    Attributes:
        days: The days that are lacking.
    """

    def __init__(self, message: str, days: Sequence[date] = ()) -> None:
        super().__init__(message)
        self.days = tuple(days)


class ProviderError(CkvdError):
    """The exchange or its archive answered with something other than bars.

    Attributes:
        url: What was asked.
        status: The HTTP status, or None where no answer came.
    """

    def __init__(self, message: str, *, url: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.url = url
        self.status = status


class RateLimitError(ProviderError):
    """The exchange asks to wait (HTTP 429) or has banned this address for a while (HTTP 418).

    Attributes:
        retry_after: Seconds to wait, as the exchange said.
        until: The moment (UTC) before which nothing should be asked again.
    """

    def __init__(
        self, message: str, *, retry_after: float, until: datetime, url: str = "", status: int | None = None
    ) -> None:
        super().__init__(message, url=url, status=status)
        self.retry_after = retry_after
        self.until = until


class ProviderUnavailableError(ProviderError):
    """The exchange can't be reached, or refuses this address.

    Attributes:
        days: The days that could not be had, where days were asked for.
    """

    def __init__(self, message: str, *, url: str = "", status: int | None = None, days: Sequence[date] = ()) -> None:
        super().__init__(message, url=url, status=status)
        self.days = tuple(days)


class ChecksumError(ProviderError):
    """An archive whose SHA-256 is not the published one.

    Attributes:
        expected: The published SHA-256, 64 hex digits.
        actual: The SHA-256 of what was received.
    """

    def __init__(self, message: str, *, url: str, expected: str, actual: str) -> None:
        super().__init__(message, url=url)
        self.expected = expected
        self.actual = actual


class MalformedDataError(ProviderError):
    """What a source sent can't be read as the bars that were asked for."""
