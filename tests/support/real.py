"""Recorded Binance data, in a folder beside the checkout; tests that need it are skipped where it is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from tests.support.stand_in import ROUTES

if TYPE_CHECKING:
    from ckvd_sql.market.periods import Month
    from tests.support.bars import Row

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"

MARKETS = {route: market.value for market, route in ROUTES.items()}


def recorded_rows() -> dict[tuple[str, str, str], list[Row]]:
    """All recorded REST rows of each market, symbol and interval, in order; overlapping answers are merged."""
    found: dict[tuple[str, str, str], dict[int, Row]] = {}
    index = REAL / "rest" / "INDEX.json"
    for entry in json.loads(index.read_text()) if index.exists() else []:
        query = parse_qs(entry["query"])
        if entry.get("rows"):
            market = MARKETS[entry["route"].removesuffix("klines")]
            rows = json.loads((REAL / "rest" / entry["file"]).read_text())
            merged = found.setdefault((market, query["symbol"][0], query["interval"][0]), {})
            merged.update({row[0]: row for row in rows})
    return {key: [rows[opened] for opened in sorted(rows)] for key, rows in found.items()}


RECORDED = recorded_rows()


def monthly_csv(symbol: str, month: Month) -> bytes:
    return (REAL / "csv" / "spot-monthly-1h" / f"{symbol}-1h-{month}.csv").read_bytes()
