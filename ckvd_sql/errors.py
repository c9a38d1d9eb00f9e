"""The exceptions of ckvd_sql, one tree under `CkvdError`.

    CkvdError
    ├── InvalidArgumentError        argument, value, allowed        (also a ValueError)
    │   ├── InvalidSymbolError      a symbol that is not valid in a path, or that the exchange does not list
    │   ├── InvalidIntervalError    no interval of Binance's, or none of this market's
    │   ├── InvalidMarketError      not spot, um or cm
    │   └── InvalidTimeError        not a time, or a range that ends before it starts
    ├── SettingsError               setting, value                  (also a ValueError)
    ├── CacheError                  path, damaged
    ├── LakeError                   url, damaged
    ├── OfflineError                days
    └── ProviderError               url, status
        ├── RateLimitError          retry_after, until
        ├── ProviderUnavailableError  days
        ├── ChecksumError           expected, actual
        └── MalformedDataError      a source's answer is not valid

Each message is one sentence, with the remedy where there is one. DuckDB raises exceptions of its own around them, from
which `of` finds the original. Imports nothing of the package.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
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


#: How many errors are remembered, by their sentences.
_MOST_REMEMBERED = 256
_remembered: OrderedDict[str, CkvdError] = OrderedDict()


def remember(error: CkvdError) -> None:
    """Remember an error that is about to pass through DuckDB, which keeps no more of it than the text."""
    _remembered[error.sentence] = copy.copy(error)  # without its traceback, and what that keeps alive
    _remembered.move_to_end(error.sentence)
    while len(_remembered) > _MOST_REMEMBERED:
        _remembered.popitem(last=False)


def of(exception: BaseException) -> CkvdError | None:
    """The error of this library behind an exception that a query raised, with its type and fields; None if none is.

    Works for `duckdb.Error`, and for the exceptions that other libraries (SQLAlchemy, pandas, JupySQL) raise from it.
    The error is found by its sentence in the exception's text, among the last 256 of this process.

    Example:
        >>> import ckvd_sql, duckdb
        >>> try:
        ...     bars = ckvd_sql.connect().sql("FROM ckvd_klines('BTCUSDT', '7m', '2024-01-01')")
        ... except duckdb.Error as error:
        ...     print(ckvd_sql.errors.of(error).argument)
        interval
    """
    seen: set[int] = set()
    one: BaseException | None = exception
    while one is not None and id(one) not in seen:
        if isinstance(one, CkvdError):
            return one
        text = str(one)
        found = next((error for sentence, error in reversed(_remembered.copy().items()) if sentence in text), None)
        if found:
            return copy.copy(found)
        seen.add(id(one))
        one = one.__cause__ or one.__context__
    return None


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

    def __init__(self, setting: str, value: object, allowed: str, *, variable: str = "") -> None:
        named = variable or f"CKVD_{setting.upper()}"
        super().__init__(f"setting {setting} = {value!r} can't be used: {allowed} (environment: {named})")
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


class LakeError(CkvdError):
    """The lake can't be read or written, or a file of it is damaged.

    Attributes:
        url: The lake, or the file.
        damaged: Whether it is one file that is invalid; False where the lake can't be used.
    """

    def __init__(self, message: str, url: str, *, damaged: bool = False) -> None:
        super().__init__(message)
        self.url = url
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
