"""Bars longer than a day: 3d, 1w and 1mo from every source, while they form, and off the grid."""

from __future__ import annotations

import hashlib
import zipfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ckvd_sql
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import Month, day_start
from ckvd_sql.market.series import INTERVALS
from ckvd_sql.sandbox import Fault
from tests.support.bars import read, series
from tests.support.cached import day_files

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import Truth


@pytest.mark.parametrize("interval", ["1d", "3d", "1w", "1mo"])
@pytest.mark.parametrize(("market", "symbol"), [("spot", "BTCUSDT"), ("um", "ETHUSDT"), ("cm", "BTCUSD_PERP")])
def test_long_bars_of_every_market_are_the_same_before_and_after_caching(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth, interval: str, market: str, symbol: str
) -> None:
    span = ("2024-01-10", "2024-06-15T12:00:30")
    call = f"ckvd_klines('{symbol}', '{interval}', '{span[0]}', market := '{market}')"
    assert read(con, call) == truth(symbol, interval, *span, market)
    exchange.forget()
    assert read(con, call) == truth(symbol, interval, *span, market)
    assert not exchange.requests


@pytest.mark.parametrize("interval", ["3d", "1w", "1mo"])
def test_long_bars_without_an_archive_come_from_rest(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth, interval: str
) -> None:
    exchange.add(Fault(r"\.zip", "status", status=404))
    call = f"ckvd_klines('BTCUSD_PERP', '{interval}', '2023-01-01', market := 'cm')"
    assert read(con, call) == truth("BTCUSD_PERP", interval, "2023-01-01", "2024-06-15T12:00:30", "cm")


@pytest.mark.parametrize("interval", ["3d", "1w", "1mo"])
def test_a_forming_long_bar_is_given_on_request_and_not_cached(
    con: DuckDBPyConnection, settings: dict[str, Any], truth: Truth, interval: str
) -> None:
    call = f"ckvd_klines('BTCUSDT', '{interval}', '2024-04-01', include_open := true)"
    bars = read(con, call)
    assert bars[:-1] == truth("BTCUSDT", interval, "2024-04-01", "2024-06-15T12:00:30")
    assert bars[-1][6] > parse_time("2024-06-15T12:00:30", "now")
    forming = INTERVALS[interval].open_time(INTERVALS[interval].slot(bars[-1][0]))
    assert str(date.fromtimestamp(forming / 1e6)) not in {Path(name).stem for name in day_files(settings["cache_dir"])}  # noqa: DTZ012 (midnight UTC)


@pytest.fixture
def off_grid(settings: dict[str, Any], exchange: Sandbox, tmp_path: Path) -> DuckDBPyConnection:
    """An archive whose 3d bars open a day before the grid's, and an exchange that has no others."""
    month, three_days = Month(2024, 5), series("spot", "BTCUSDT", "3d")
    opens = [day_start(date(2024, 5, number)) // 1000 for number in range(2, 30, 3)]
    rows = [[one, "1", "2", "0.5", "1.5", "10", one + 3 * 86_400_000 - 1, "15", 3, "5", "7", "0"] for one in opens]
    path = tmp_path / "mirror" / three_days.archive_path(month)
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        text = "".join(f"{','.join(map(str, row))}\n" for row in rows)
        archive.writestr(f"{three_days.archive_stem(month)}.csv", text)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.CHECKSUM").write_text(f"{digest}  {path.name}")
    exchange.add(Fault(r"/klines\?", "status", status=200, body="[]"))
    return ckvd_sql.connect(**{**settings, "vision_url": str(tmp_path / "mirror")})


def test_off_grid_bars_are_filtered_alike_before_and_after_caching(off_grid: DuckDBPyConnection) -> None:
    query = (
        "SELECT strftime(open_time AT TIME ZONE 'UTC', '%d') "
        "FROM ckvd_klines('BTCUSDT', '3d', '2024-05-04', '2024-06-01')"
        " WHERE open_time >= '2024-05-13 00:00:00+00' AND open_time < '2024-05-20 00:00:00+00' ORDER BY ALL"
    )
    cold = off_grid.sql(query).fetchall()
    warm = off_grid.sql(query).fetchall()
    off_grid.close()
    assert cold == warm == [("14",), ("17",)]
