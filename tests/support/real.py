"""Recorded Binance data, in a folder beside the checkout; tests that need it are skipped where it is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pyarrow as pa
import pyarrow.parquet as pq

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


#: Bars of the first week of 2024 that another program read from the archives, by market and symbol.
GOLDEN = {
    ("spot", "BTCUSDT"): "btcusdt_spot_1h_2024w01.parquet",
    ("um", "BTCUSDT"): "btcusdt_futures_usdt_1h_2024w01.parquet",
    ("cm", "BTCUSD_PERP"): "btcusd_perp_coin_1h_2024w01.parquet",
}


def golden_rows(name: str) -> list[Row]:
    """Another program's bars as rows of an archive or a REST answer."""
    table = pq.read_table(REAL / "golden" / name).drop_columns(["_data_source"])
    columns: dict[str, Any] = table.to_pydict()
    for time in ("open_time", "close_time"):
        columns[time] = table[time].cast(pa.int64()).to_numpy() // 1_000_000
    rows = zip(*columns.values(), strict=True)
    return [
        [int(row[0]), *map(str, row[1:6]), int(row[6]), str(row[7]), row[8], *map(str, row[9:]), "0"] for row in rows
    ]
