"""Python clients of the sandbox, and a day to ask them for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckvd_sql import CryptoKlineVisionData
from tests.support.connections import settings_for

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox

DAY = ("2024-05-01", "2024-05-02")

#: The path of its hours of BTCUSDT in the archive.
ZIP = "/data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-05-01.zip"


def client_for(exchange: Sandbox, cache: Path, **more: Any) -> CryptoKlineVisionData:
    """A client of this exchange that doesn't retry."""
    return CryptoKlineVisionData(**settings_for(exchange, cache, **more))
