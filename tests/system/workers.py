"""What worker processes run; each returns how many bars it had."""

from __future__ import annotations

from typing import Any

import ckvd_sql
from ckvd_sql import CryptoKlineVisionData

RANGE = ("2024-01-01", "2024-02-01", "1m")


def frame(settings: dict[str, Any], symbol: str) -> int:
    """The height of a polars frame."""
    return CryptoKlineVisionData(**settings).get_data(symbol, *RANGE).height


def klines(settings: dict[str, Any], symbol: str) -> int:
    """The rows of an Arrow table."""
    return CryptoKlineVisionData(**settings).klines(symbol, *RANGE).num_rows


def select(settings: dict[str, Any], symbol: str) -> int:
    """A count in SQL."""
    with ckvd_sql.connect(**settings) as con:
        statement = "SELECT count(*) FROM ckvd_klines(?, '1m', '2024-01-01', '2024-02-01')"
        row = con.execute(statement, [symbol]).fetchone()
    assert row
    return int(row[0])
