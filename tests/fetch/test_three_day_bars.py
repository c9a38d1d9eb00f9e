"""3d bars: they count from each symbol's first day of trading, so their grid is taken from its bars."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import duckdb
import pytest

from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.bars import NO_BARS
from ckvd_sql.market.periods import DAY, Month, day_start
from ckvd_sql.market.provenance import Provenance, Source
from ckvd_sql.sandbox import Fault
from tests.support.bars import bars, csv_text, read, series
from tests.support.connections import cached_days, connect
from tests.support.truth import NOW, at, true_bars

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox
    from tests.support.bars import Row
    from tests.support.stand_in import StandIn

SOL = series("spot", "SOLUSDT", "3d")
#: SOLUSDT traded from 2020-08-11 on, so that a bar opens on 2024-12-30.
FIRST = date(2020, 8, 11)
REST = r"/v\d/klines"


def rows(start: date, end: date) -> list[Row]:
    """SOLUSDT's 3d bars that open in `[start, end)`, in milliseconds as REST and old archives have them."""
    found = []
    for number in range((end - FIRST).days // 3 + 1):
        day = FIRST + timedelta(days=3 * number)
        if start <= day < end:
            opened = day_start(day) // 1000
            found.append(
                [opened, "2.0", "3.0", "1.0", "2.0", "9.0", opened + 3 * DAY // 1000 - 1, "18.0", 5, "4.0", "8.0", "0"]
            )
    return found


@pytest.fixture
def solana(stand_in: StandIn) -> StandIn:
    """An exchange with SOLUSDT's bars over REST, and archives until 2024-12."""
    stand_in.rows[SOL] = rows(FIRST, date(2025, 1, 10))
    for month in (Month(2024, 10), Month(2024, 11), Month(2024, 12)):
        stand_in.publish(SOL, month, csv_text(rows(month.first, month.next.first)))
    return stand_in


def call(start: str, end: str, symbol: str = "SOLUSDT") -> str:
    return f"ckvd_klines('{symbol}', '3d', '{start}', '{end}')"


def opens(start: str, end: str) -> list[tuple[object, ...]]:
    return bars(rows(date.fromisoformat(start), date.fromisoformat(end)))


def test_a_bar_of_a_symbol_with_another_phase_than_bitcoin_is_found(solana: StandIn, tmp_path: Path) -> None:
    with connect(solana, tmp_path, now="2025-01-09T12:00") as con:
        assert len(read(con, call("2024-12-30", "2025-01-02"))) == 1
        assert read(con, call("2024-12-01", "2025-01-03")) == opens("2024-12-01", "2025-01-03")
        assert con.sql("SELECT count(*) FROM ckvd_gaps('SOLUSDT', '3d', '2024-12-01', '2025-01-03')").fetchall() == [
            (0,)
        ]


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "REST alone"])
def test_every_window_has_its_bars_cold_and_warm(solana: StandIn, tmp_path: Path, *, archive: bool) -> None:
    if not archive:
        solana.files.clear()
    with connect(solana, tmp_path, now="2025-01-09T12:00") as con:
        for first in range(1, 29, 4):
            for length in (1, 2, 3, 10, 40):
                start = date(2024, 11, first)
                window = str(start), str(start + timedelta(days=length))
                assert read(con, call(*window)) == opens(*window), window


def test_the_grid_comes_from_the_archive_while_rest_is_down(solana: StandIn, tmp_path: Path) -> None:
    solana.rows.clear()
    with connect(solana, tmp_path, now="2025-01-09T12:00", spot_url="http://127.0.0.1:9") as con:
        assert read(con, call("2024-11-01", "2025-01-01")) == opens("2024-11-01", "2025-01-01")
        assert len(cached_days(con)) == len(opens("2024-11-01", "2025-01-01"))
    with connect(solana, tmp_path, now="2025-01-09T12:00", offline=True) as con:
        assert read(con, call("2024-11-01", "2025-01-01")) == opens("2024-11-01", "2025-01-01")


def test_a_month_that_ends_while_the_clock_moves_loses_no_bar(solana: StandIn, tmp_path: Path) -> None:
    for now in ("2024-12-22T12:00", "2024-12-28T12:00", "2025-01-01T12:00", "2025-01-09T12:00"):
        with connect(solana, tmp_path, now=now) as con:
            closed = [bar for bar in opens("2024-12-01", "2025-01-03") if bar[6] < at(now)]  # type: ignore[operator]
            assert read(con, call("2024-12-01", "2025-01-03")) == closed, now


def test_the_forming_bar_is_given_on_request(solana: StandIn, tmp_path: Path) -> None:
    solana.rows[SOL] = rows(FIRST, date(2024, 12, 31))
    with connect(solana, tmp_path, now="2024-12-31T12:00") as con:
        forming = call("2024-12-29", "2025-01-03").replace(")", ", include_open := true)")
        assert read(con, forming) == opens("2024-12-30", "2024-12-31")


def test_bars_of_the_archive_are_not_replaced_by_those_of_rest(solana: StandIn, tmp_path: Path) -> None:
    with connect(solana, tmp_path, now="2025-01-20T12:00") as con:
        read(con, call("2024-12-10", "2024-12-20"))
        read(con, call("2024-12-01", "2025-01-03"))
        assert set(con.sql("SELECT source FROM ckvd_cache_days WHERE date < '2025-01-01'").fetchall()) == {("vision",)}


def test_empty_days_off_the_grid_that_an_earlier_version_wrote_do_not_survive(solana: StandIn, tmp_path: Path) -> None:
    store = DayStore(tmp_path)
    wrong = [date(2024, 12, 20), date(2024, 12, 23), date(2024, 12, 26), date(2024, 12, 29), date(2025, 1, 1)]
    for day in wrong:
        store.write(SOL, day, NO_BARS, Provenance(Source.REST, "https://api.example", "", 0))
    with connect(solana, tmp_path, now="2025-01-09T12:00") as con:
        for _ in range(2):
            assert read(con, call("2024-12-01", "2025-01-03")) == opens("2024-12-01", "2025-01-03")
        assert con.sql("SELECT count(*) FROM ckvd_cache_days WHERE rows = 0").fetchall() == [(0,)]


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT"])
def test_the_symbols_of_the_sandbox_each_have_their_own_grid(exchange: Sandbox, tmp_path: Path, symbol: str) -> None:
    expected = true_bars(symbol, "3d", "2024-01-10", "2024-06-14", now=NOW)
    with connect(exchange, tmp_path) as con:
        for _ in range(2):
            assert read(con, call("2024-01-10", "2024-06-14", symbol)) == expected
        gaps = con.sql(f"SELECT count(*) FROM ckvd_gaps('{symbol}', '3d', '2024-01-10', '2024-06-14')").fetchall()
        assert gaps == [(0,)]


def test_without_any_source_the_error_names_the_missing_days(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(rf"/data/|{REST}", "status", status=503))
    with connect(exchange, tmp_path) as con, pytest.raises(duckdb.Error, match="missing days of SOLUSDT 3d"):
        con.sql(f"FROM {call('2024-01-10', '2024-06-14')}").fetchall()
