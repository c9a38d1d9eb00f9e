"""Clients of the sandbox that ask for one day and don't retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckvd_sql import CryptoKlineVisionData

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox

ARCHIVE = r"/data/.*\.zip"
REST = r"/v[13]/klines"
DAY = ("2024-05-01", "2024-05-02")
ZIP = "/data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-05-01.zip"


def asking(exchange: Sandbox, tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {**exchange.settings, "cache_dir": tmp_path / "cache", "retries": 0, "timeout": 10, **more}


def data(exchange: Sandbox, tmp_path: Path, **more: Any) -> CryptoKlineVisionData:
    return CryptoKlineVisionData(**asking(exchange, tmp_path, **more))
