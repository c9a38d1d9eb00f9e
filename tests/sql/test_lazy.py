"""Lazy scans: binding sends no request, and a scan fetches only the days that it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import ckvd_sql
from tests.support.bars import read
from tests.support.requests import asked, zips

if TYPE_CHECKING:
    from pathlib import Path

    from duckdb import DuckDBPyConnection

    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import Truth

WIDE = "ckvd_klines(['BTCUSDT', 'ETHUSDT'], '1h', '2023-01-01', '2024-06-15')"


def fetched(exchange: Sandbox) -> list[str]:
    """The archives that were requested, such as `ETHUSDT-1h-2024-05-05`."""
    return sorted(path.rpartition("/")[2].removesuffix(".zip") for path in zips(exchange))


@pytest.mark.parametrize(
    "statement",
    [
        f"EXPLAIN FROM {WIDE}",
        f"EXPLAIN SELECT count(*) FROM {WIDE} WHERE open_time > now()",
        f"DESCRIBE FROM {WIDE}",
        f"CREATE VIEW bars AS FROM {WIDE}",
        f"CREATE MACRO bars() AS TABLE FROM {WIDE}",
        f"PREPARE bars AS FROM {WIDE}",
        f"SELECT count(*) FROM {WIDE} WHERE false",
        f"FROM {WIDE} LIMIT 0",
        f"SELECT count(*) FROM {WIDE} WHERE open_time < '2020-01-01 00:00:00+00'",
        f"SELECT count(*) FROM {WIDE} WHERE symbol = 'SOLUSDT'",
        f"SELECT count(*) FROM {WIDE} WHERE symbol IS NULL",
        "FROM ckvd_plan('BTCUSDT', '1h', '2023-01-01')",
        "FROM ckvd_cache",
        "FROM ckvd_cache_days",
    ],
)
def test_a_statement_that_needs_no_bar_sends_no_request(
    con: DuckDBPyConnection, exchange: Sandbox, statement: str
) -> None:
    con.execute(statement).fetchall()
    assert not exchange.requests


def test_an_unread_relation_sends_no_request(
    con: DuckDBPyConnection, exchange: Sandbox, settings: dict[str, Any]
) -> None:
    relation = con.sql(f"SELECT open_time, close FROM {WIDE}").filter("close > 5")
    assert relation.columns == ["open_time", "close"]
    assert not exchange.requests
    assert not (settings["cache_dir"] / "binance").exists()


@pytest.mark.parametrize(
    ("condition", "archives"),
    [
        ("open_time >= '2024-03-05 12:00+00' AND open_time < '2024-03-07 00:00+00'", ["2024-03-05", "2024-03-06"]),
        ("open_time BETWEEN '2024-03-05 00:00+00' AND '2024-03-06 00:00+00'", ["2024-03-05", "2024-03-06"]),
        ("open_time = '2024-03-05 12:00+00'", ["2024-03-05"]),
        ("open_time IN ('2023-02-02 01:00+00'::TIMESTAMPTZ, '2024-03-05 12:00+00')", ["2023-02-02", "2024-03-05"]),
        ("open_time >= '2024-05-01 00:00+00' AND open_time < '2024-06-02'", ["2024-05", "2024-06-01"]),
        ("open_time < '2023-01-03 00:00+00'", ["2023-01-01", "2023-01-02"]),
        ("open_time < '2023-01-02 00:00+00' OR open_time >= '2024-06-14 00:00+00'", ["2023-01-01", "2024-06-14"]),
        ("NOT (open_time >= '2023-01-02 00:00+00') AND close > 1", ["2023-01-01"]),
    ],
)
def test_a_filter_on_time_fetches_only_the_days_that_it_needs(
    con: DuckDBPyConnection, exchange: Sandbox, condition: str, archives: list[str]
) -> None:
    assert con.sql(f"SELECT count(*) FROM {WIDE} WHERE symbol = 'ETHUSDT' AND ({condition})").fetchall() != [(0,)]
    assert fetched(exchange) == [f"ETHUSDT-1h-{archive}" for archive in archives]


def test_a_filter_on_the_close_time_fetches_only_the_days_that_it_needs(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth
) -> None:
    call = "ckvd_klines('ETHUSDT', '1h', '2024-01-01', '2024-06-01')"
    expected = truth("ETHUSDT", "1h", "2024-05-30T23:00", "2024-06-01")
    assert read(con, f"{call} WHERE close_time >= '2024-05-30 23:30'") == expected
    days = {"2024-05-29", "2024-05-30", "2024-05-31"}
    assert set(fetched(exchange)) == {f"ETHUSDT-1h-{day}" for day in days}


@pytest.mark.parametrize(
    "condition", ["symbol = 'ETHUSDT'", "symbol > 'C'", "symbol IN ('ETHUSDT', 'X')", "symbol <> 'BTCUSDT'"]
)
def test_a_filter_on_the_symbol_fetches_no_other(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth, condition: str
) -> None:
    call = "ckvd_klines(['BTCUSDT', 'ETHUSDT'], '1h', '2024-06-01', '2024-06-03')"
    assert read(con, f"{call} WHERE {condition}") == truth("ETHUSDT", "1h", "2024-06-01", "2024-06-03")
    assert not asked(exchange, "BTCUSDT")


def test_a_limit_ends_the_fetching(settings: dict[str, Any], exchange: Sandbox) -> None:
    con = ckvd_sql.connect(**settings, concurrency=8)
    assert len(con.sql(f"FROM {WIDE} LIMIT 5").fetchall()) == 5
    con.close()
    assert len(exchange.requests) <= 16
    assert not asked(exchange, "ETHUSDT")


def test_a_released_reader_ends_the_fetching(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    reader = con.sql(f"FROM {WIDE.replace('1h', '1m')}").to_arrow_reader(100)
    assert reader.read_next_batch().num_rows
    del reader
    con.execute("SELECT 1")
    before = len(exchange.requests)
    assert not asked(exchange, "ETHUSDT")
    con.execute("SELECT 2")
    assert len(exchange.requests) == before


def test_the_plan_of_a_query_shows_one_scan_with_its_filter(con: DuckDBPyConnection) -> None:
    text = con.sql(f"EXPLAIN SELECT close FROM {WIDE} WHERE open_time > '2024-06-01 00:00+00'").fetchall()[0][1]
    assert "ARROW_SCAN" in text
    assert "Filters" in text


def test_two_scans_of_one_day_fetch_it_once(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    call = "ckvd_klines('BTCUSDT', '1h', '2024-06-01', '2024-06-02')"
    con.sql(f"SELECT count(*) FROM {call} UNION ALL SELECT count(*) FROM {call}").fetchall()
    assert fetched(exchange) == ["BTCUSDT-1h-2024-06-01"]


def test_days_excluded_by_a_filter_are_fetched_by_a_later_query(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth, tmp_path: Path
) -> None:
    call = "ckvd_klines('BTCUSDT', '1h', '2024-06-01', '2024-06-04')"
    con.sql(f"FROM {call} WHERE open_time < '2024-06-02 00:00+00' AND close < 0").fetchall()
    assert fetched(exchange) == ["BTCUSDT-1h-2024-06-01"]
    assert len(list(tmp_path.rglob("*.arrow"))) == 1
    assert read(con, call) == truth("BTCUSDT", "1h", "2024-06-01", "2024-06-04")
