"""Filters: a query returns the rows that DuckDB returns from a table with the same bars."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckvd_sql.market.periods import DAY, moment_of
from tests.support.examples import TRIED, thorough, tries
from tests.support.series_ranges import SeriesRange, empty_cache, expected_bars

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection

    from ckvd_sql.sandbox import Sandbox

EXAMPLES = tries(20)


HOURS = SeriesRange("spot", "BTCUSDT", "4h", "2024-05-05", "2024-06-16")
SYMBOLS = ["BTCUSDT", "ETHUSDT"]
CALL = HOURS.call(HOURS.start, HOURS.end).replace("'BTCUSDT'", str(SYMBOLS), 1)
COLUMNS = "symbol, open_time, open, high, low, close, volume, close_time, quote_volume, trades, taker_buy_volume"
OPERATORS = ["=", "!=", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"]
TEXTS = {
    "symbol": st.sampled_from([*SYMBOLS, "SOLUSDT", "", "BTC", "btcusdt", "ETHUSDT "]),
    "source": st.sampled_from(["cache", "rest", "vision", "", "CACHE"]),
}


def literals(column: str) -> st.SearchStrategy[str]:
    """SQL literals for a column, equal or close to the values in it."""
    if column in TEXTS:
        return TEXTS[column].map(lambda text: f"'{text}'")
    bars = expected_bars(HOURS)
    if column in {"open_time", "close_time"}:
        at = 0 if column == "open_time" else 6
        off = st.sampled_from([-DAY, -1000, -1, 0, 0, 0, 1, 1000, DAY, 400 * DAY, -4000 * DAY])
        moments = st.builds(lambda row, by: moment_of(row[at] + by), st.sampled_from(bars), off)
        days = st.integers(-3, 50).map(lambda n: moment_of(HOURS.start) + timedelta(days=n))
        written = (moments | days).map(lambda moment: f"TIMESTAMPTZ '{moment}'")
        return written | days.map(lambda moment: f"TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S}'")
    if column == "trades":
        existing = st.sampled_from(bars).map(lambda row: row[8])
        return (existing | st.integers(-1, 10**6)).map(str) | st.floats(0, 10**6).map(repr)
    at = ["open", "high", "low", "close", "volume"].index(column) + 1 if column != "quote_volume" else 7
    existing = st.sampled_from(bars).map(lambda row: row[at])
    return (existing | st.floats(-1, 10**6)).map(repr) | existing.map(lambda value: str(int(value)))


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    column = draw(
        st.sampled_from(
            [
                "symbol",
                "source",
                "open_time",
                "open_time",
                "close_time",
                "open",
                "close",
                "volume",
                "quote_volume",
                "trades",
            ]
        )
    )
    value = literals(column)
    match draw(st.sampled_from(["op", "op", "op", "in", "between", "null", "prefix", "other"])):
        case "in":
            many = ", ".join(draw(st.lists(value, min_size=1, max_size=4)))
            return f"{column} {draw(st.sampled_from(['IN', 'NOT IN']))} ({many})"
        case "between":
            return f"{column} {draw(st.sampled_from(['', 'NOT']))} BETWEEN {draw(value)} AND {draw(value)}"
        case "null":
            return f"{column} IS {draw(st.sampled_from(['NULL', 'NOT NULL']))}"
        case "prefix" if column in TEXTS:
            return f"{column} LIKE '{draw(st.sampled_from(['BTC%', '%USDT', 'c%', '%', '_TH%']))}'"
        case "other" if column not in TEXTS:
            return f"{draw(value)} {draw(st.sampled_from(OPERATORS))} {column}"
        case _:
            return f"{column} {draw(st.sampled_from(OPERATORS))} {draw(value)}"


predicates = st.recursive(
    comparisons(),
    lambda inner: (
        st.lists(inner, min_size=2, max_size=4).map(lambda parts: f"({' AND '.join(parts)})")
        | st.lists(inner, min_size=2, max_size=4).map(lambda parts: f"({' OR '.join(parts)})")
        | inner.map(lambda part: f"NOT ({part})")
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def warm(running_exchange: Sandbox) -> Iterator[DuckDBPyConnection]:
    """A connection with all days but the running one cached, and a DuckDB table `whole` of the same bars."""
    with empty_cache(running_exchange) as (connect, _):
        con = connect()
        con.execute("SET TimeZone = 'Asia/Kolkata'")
        con.execute(f"SELECT count(*) FROM {CALL}").fetchall()
        con.execute(f"CREATE TABLE whole AS SELECT * FROM {CALL}")
        yield con


class TestFilters:
    @thorough(4 * EXAMPLES)
    @given(predicate=predicates)
    def test_return_the_rows_that_duckdb_returns_from_a_table(self, warm: DuckDBPyConnection, predicate: str) -> None:
        TRIED["queries"] += 1
        found = warm.sql(f"SELECT {COLUMNS}, source FROM {CALL} WHERE {predicate}").fetchall()
        assert found == warm.sql(f"SELECT {COLUMNS}, source FROM whole WHERE {predicate}").fetchall()

    @thorough(2 * EXAMPLES)
    @given(predicate=predicates, columns=st.sampled_from(["count(*)", "max(close), count(*)", "DISTINCT symbol"]))
    def test_on_columns_that_are_not_selected_return_the_same_rows(
        self, warm: DuckDBPyConnection, predicate: str, columns: str
    ) -> None:
        found = warm.sql(f"SELECT {columns} FROM {CALL} WHERE {predicate} ORDER BY ALL").fetchall()
        assert found == warm.sql(f"SELECT {columns} FROM whole WHERE {predicate} ORDER BY ALL").fetchall()

    @thorough(EXAMPLES)
    @given(predicate=predicates, column=st.sampled_from(["open_time", "close", "trades"]), few=st.integers(0, 9))
    def test_that_duckdb_derives_from_top_n_or_a_join_return_the_same_rows(
        self, warm: DuckDBPyConnection, predicate: str, column: str, few: int
    ) -> None:
        first = "SELECT symbol, open_time FROM {} WHERE {} ORDER BY {} DESC, open_time, symbol LIMIT {}"
        found = warm.sql(first.format(CALL, predicate, column, few)).fetchall()
        assert found == warm.sql(first.format("whole", predicate, column, few)).fetchall()
        join = (
            f"SELECT a.symbol, a.open_time, a.close FROM {{}} a JOIN ({first}) b USING (symbol, open_time) ORDER BY ALL"
        )
        found = warm.sql(join.format(CALL, "whole", predicate, column, few)).fetchall()
        assert found == warm.sql(join.format("whole", "whole", predicate, column, few)).fetchall()

    @thorough(max(EXAMPLES // 2, 5))
    @given(predicate=predicates)
    def test_on_a_cold_cache_return_the_same_rows_and_cache_whole_days(
        self, exchange: Sandbox, warm: DuckDBPyConnection, predicate: str
    ) -> None:
        cold = predicate.replace("source", "symbol")  # `source` differs when days are fetched
        with empty_cache(exchange) as (connect, _):
            con = connect()
            con.execute("SET TimeZone = 'Asia/Kolkata'")
            found = con.sql(f"SELECT {COLUMNS} FROM {CALL} WHERE {cold}").fetchall()
            assert found == warm.sql(f"SELECT {COLUMNS} FROM whole WHERE {cold}").fetchall()
            after = con.sql(f"SELECT {COLUMNS} FROM {CALL}").fetchall()
            assert after == warm.sql(f"SELECT {COLUMNS} FROM whole").fetchall()
