"""Binance klines as a DuckDB table.

    SELECT * FROM ckvd_klines('BTCUSDT', '1h', '2024-01-01', '2024-02-01')

`connect` opens a DuckDB database with the SQL names on it, `register` puts them on a connection you have, and
`CryptoKlineVisionData` is the same without SQL. Every error is a `CkvdError`.
"""

from typing import Any

from ckvd_sql import errors
from ckvd_sql.client import CryptoKlineVisionData, DayReport, FetchReport
from ckvd_sql.errors import (
    CacheError,
    ChecksumError,
    CkvdError,
    InvalidArgumentError,
    InvalidIntervalError,
    InvalidMarketError,
    InvalidSymbolError,
    InvalidTimeError,
    MalformedDataError,
    OfflineError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitError,
    SettingsError,
)
from ckvd_sql.settings import Settings
from ckvd_sql.sql import connect, register

__all__ = [
    "CacheError",
    "ChecksumError",
    "CkvdError",
    "CryptoKlineVisionData",
    "DayReport",
    "FetchReport",
    "InvalidArgumentError",
    "InvalidIntervalError",
    "InvalidMarketError",
    "InvalidSymbolError",
    "InvalidTimeError",
    "MalformedDataError",
    "OfflineError",
    "ProviderError",
    "ProviderUnavailableError",
    "RateLimitError",
    "Settings",
    "SettingsError",
    "chart",
    "connect",
    "errors",
    "register",
]


def __getattr__(name: str) -> Any:
    if name == "chart":
        from ckvd_sql.charts import chart  # noqa: PLC0415 (most programs draw nothing)

        return chart
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 (rarely asked for, and not free)

        return version("ckvd-sql")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
