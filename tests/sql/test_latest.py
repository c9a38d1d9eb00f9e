"""`ckvd_latest`: the last bars of each symbol, and no more fetched than these need."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import ckvd_sql
from ckvd_sql.sandbox import Fault
from tests.support.bars import read
from tests.support.truth import NOW

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import Truth


def archives(exchange: Sandbox) -> list[str]:
    """The zips that were requested."""
    return [request.path.rpartition("/")[2] for request in exchange.requests if request.path.endswith(".zip")]


def test_the_last_bar_is_one_request(con: DuckDBPyConnection, exchange: Sandbox, truth: Truth) -> None:
    assert read(con, "ckvd_latest('BTCUSDT', '1h')") == truth("BTCUSDT", "1h", "2024-06-15", NOW)[-1:]
    assert [request.path for request in exchange.requests] == ["/api/v3/klines"]


@pytest.mark.parametrize("interval", ["1s", "1m", "1h", "12h", "1d", "3d", "1w", "1mo"])
@pytest.mark.parametrize("bars", [1, 3, 20])
def test_the_last_bars_are_those_of_a_wide_range(
    con: DuckDBPyConnection, truth: Truth, interval: str, bars: int
) -> None:
    start = {"1s": "2024-06-15T11:00", "1m": "2024-06-14"}.get(interval, "2021-01-01")
    expected = truth("BTCUSDT", interval, start, NOW)[-bars:]
    assert read(con, f"ckvd_latest('BTCUSDT', '{interval}', {bars})") == expected


def test_several_symbols_have_their_bars_each_in_order(con: DuckDBPyConnection, truth: Truth) -> None:
    call = "ckvd_latest(['ETHUSDT', 'BTCUSDT'], '1h', bars := 40, market := 'um')"
    for symbol in ("ETHUSDT", "BTCUSDT"):
        expected = truth(symbol, "1h", "2024-06-10", NOW, "um")[-40:]
        assert read(con, f"{call} WHERE symbol = '{symbol}'") == expected
    symbols = [name for (name,) in con.sql(f"SELECT symbol FROM {call}").fetchall()]
    assert symbols == ["ETHUSDT"] * 40 + ["BTCUSDT"] * 40


def test_the_forming_bar_counts_where_it_is_included(con: DuckDBPyConnection, truth: Truth) -> None:
    *closed, forming = con.sql(
        "SELECT open_time, close_time FROM ckvd_latest('BTCUSDT', '1h', 2, 'spot', true)"
    ).fetchall()
    assert len(closed) == 1
    assert forming[0].isoformat() == "2024-06-15T12:00:00+00:00"
    assert closed[0][0].timestamp() * 1e6 == truth("BTCUSDT", "1h", "2024-06-15", NOW)[-1][0]


def test_only_the_days_are_fetched_that_the_bars_need(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    assert con.sql("SELECT count(*) FROM ckvd_latest('BTCUSDT', '1h', 30)").fetchall() == [(30,)]
    assert archives(exchange) == ["BTCUSDT-1h-2024-06-14.zip"]


def test_a_series_younger_than_the_bars_that_are_asked_for_comes_whole(con: DuckDBPyConnection, truth: Truth) -> None:
    assert read(con, "ckvd_latest('SOLUSDT', '1w', 100000)") == truth("SOLUSDT", "1w", "2017-01-01", NOW)


def test_a_filter_is_applied_to_the_last_bars(con: DuckDBPyConnection, truth: Truth) -> None:
    last = truth("BTCUSDT", "1h", "2024-06-15", NOW)[-3:]
    found = con.sql("""
        SELECT count(*) FROM ckvd_latest('BTCUSDT', '1h', 3) WHERE open_time < '2024-06-15 11:00' AND source = 'rest'
    """).fetchall()
    assert found == [(len(last) - 1,)]


@pytest.mark.parametrize("bars", ["0", "-1", "1.5", "NULL", "'3'", "true", "10000000"])
def test_a_number_of_bars_that_is_none_is_refused_before_any_request(
    con: DuckDBPyConnection, exchange: Sandbox, bars: str
) -> None:
    with pytest.raises(duckdb.Error, match="InvalidArgumentError: bars"):
        con.sql(f"FROM ckvd_latest('BTCUSDT', '1h', {bars})")
    assert exchange.requests == ()


def test_the_error_of_a_source_is_the_statement_s(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    exchange.add(Fault("/klines", "status", status=451))
    with pytest.raises(duckdb.Error, match="ProviderUnavailableError"):
        con.sql("FROM ckvd_latest('BTCUSDT', '1h')").fetchall()


def test_a_statement_that_fetches_hundreds_of_files_says_so_once_before_it_begins(
    settings: dict[str, Any], exchange: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    exchange.add(Fault(r"\.zip", "status", status=451))
    exchange.add(Fault("/klines", "status", status=451))
    with ckvd_sql.connect(**{**settings, "retries": 0}) as con, caplog.at_level(logging.WARNING, "ckvd_sql"):
        with pytest.raises(duckdb.Error):
            con.sql("SELECT max(open_time) FROM ckvd_klines('BTCUSDT', '1s', '2023-06-01', '2024-06-01')").fetchall()
        con.sql("SELECT max(date) FROM ckvd_plan('BTCUSDT', '1h', '2023-06-01', '2024-06-01')")
    said = [message for message in caplog.messages if "this statement fetches" in message]
    assert len(said) == 1
    assert "366 files" in said[0]
