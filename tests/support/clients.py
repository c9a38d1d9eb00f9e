"""Python clients of the sandbox and its stand-in, mirror folders, and a day to ask them for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckvd_sql import CryptoKlineVisionData
from tests.support.connections import settings_for

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox
    from tests.support.stand_in import StandIn

DAY = ("2024-05-01", "2024-05-02")

#: The path of its hours of BTCUSDT in the archive.
ZIP = "/data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-05-01.zip"


def client_for(exchange: Sandbox | StandIn, cache: Path, **more: Any) -> CryptoKlineVisionData:
    """A client of this exchange, or of its stand-in, that doesn't retry."""
    return CryptoKlineVisionData(**settings_for(exchange, cache, **more))


def copied(stand_in: StandIn, folder: Path) -> Path:
    """The archive of a stand-in as a mirror folder."""
    for path, body in stand_in.files.items():
        file = folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
    return folder
