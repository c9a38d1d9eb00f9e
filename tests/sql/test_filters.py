"""Filters and columns that are pushed into the scan give the rows of the same query on a plain table."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

import ckvd_sql
from ckvd_sql.sandbox import Sandbox
from tests.support.truth import NOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection

CALL = "ckvd_klines(['BTCUSDT', 'ETHUSDT'], '4h', '2024-05-25', '2024-06-05')"
COLUMNS = (
    *("symbol", "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades"),
    *("taker_buy_volume", "taker_buy_quote_volume", "source"),
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBPyConnection]:
    """A connection with the bars in the cache and as the table `copy`; `cold` has them as first fetched."""
    with Sandbox(now=NOW) as exchange:
        settings: dict[str, Any] = {**exchange.settings, "cache_dir": tmp_path_factory.mktemp("cache")}
        con = ckvd_sql.connect(**settings)
        con.execute(f"CREATE TABLE cold AS FROM {CALL}")
        con.execute(f"CREATE TABLE copy AS FROM {CALL}")
        yield con
        con.close()


def assert_same_rows(con: DuckDBPyConnection, query: str) -> None:
    """The query, with {} for the table, gives the same rows from the cache and from the copy."""
    assert con.sql(query.format(CALL)).fetchall() == con.sql(query.format("copy")).fetchall()


NUMBERS = ("NULL", "0", "-1", "1e300", "'NaN'::DOUBLE", "'inf'::DOUBLE", "'-inf'::DOUBLE", "{middle}")
TIMES = (
    "NULL",
    "'infinity'::TIMESTAMPTZ",
    "'-infinity'::TIMESTAMPTZ",
    "TIMESTAMPTZ '2024-06-01 00:00:00+00'",
    "TIMESTAMPTZ '2024-06-01 04:00:00+00'",
    "TIMESTAMPTZ '2024-05-31 23:59:59.999999+00'",
    "TIMESTAMP '2024-06-01 03:00:00'",
    "DATE '2024-06-01'",
    "TIMESTAMPTZ '1960-01-01 00:00:00+00'",
    "TIMESTAMPTZ '2300-01-01 00:00:00+00'",
)
TEXTS = ("NULL", "''", "'BTCUSDT'", "'ETHUSDT'", "'btcusdt'", "'C'", "'cache'", "'vision'", "'币'")
VALUES: dict[str, tuple[str, ...]] = dict.fromkeys(COLUMNS, NUMBERS) | dict.fromkeys(("open_time", "close_time"), TIMES)
VALUES |= dict.fromkeys(("symbol", "source"), TEXTS)
OPERATORS = ("=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM")


def literal(con: DuckDBPyConnection, column: str, text: str) -> str:
    """A value to compare a column with; `{middle}` stands for the column's median."""
    return (
        text.format(middle=con.sql(f"SELECT median({column})::DOUBLE FROM copy").fetchall()[0][0])
        if "{" in text
        else text
    )


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_comparisons_give_the_rows_of_a_plain_table(filled: DuckDBPyConnection, column: str, operator: str) -> None:
    for text in VALUES[column]:
        value = literal(filled, column, text)
        assert_same_rows(filled, f"FROM {{}} WHERE {column} {operator} {value} ORDER BY symbol, open_time")
        assert_same_rows(filled, f"SELECT count(*) FROM {{}} WHERE NOT ({column} {operator} {value})")


@pytest.mark.parametrize("column", COLUMNS)
def test_lists_ranges_and_nulls_give_the_rows_of_a_plain_table(filled: DuckDBPyConnection, column: str) -> None:
    values = [literal(filled, column, text) for text in VALUES[column]]
    assert_same_rows(filled, f"SELECT count(*) FROM {{}} WHERE {column} IS NULL")
    assert_same_rows(filled, f"SELECT count(*) FROM {{}} WHERE {column} IS NOT NULL")
    for one, two in [*itertools.pairwise(values), *itertools.pairwise(values[::-2])]:
        assert_same_rows(filled, f"SELECT count(*), min(open_time) FROM {{}} WHERE {column} IN ({one}, {two})")
        assert_same_rows(filled, f"SELECT count(*), min(open_time) FROM {{}} WHERE {column} NOT IN ({one}, {two})")
        assert_same_rows(filled, f"SELECT count(*), min(open_time) FROM {{}} WHERE {column} BETWEEN {one} AND {two}")
        assert_same_rows(
            filled, f"SELECT count(*), min(open_time) FROM {{}} WHERE {column} < {one} OR {column} > {two}"
        )


@pytest.mark.parametrize(
    "condition",
    [
        "symbol LIKE 'BTC%'",
        "symbol LIKE '%USDT'",
        "symbol ILIKE 'eth%'",
        "starts_with(symbol, 'E')",
        "symbol SIMILAR TO 'B.*'",
        "symbol || 'x' = 'ETHUSDTx'",
        "symbol = ANY (['ETHUSDT', 'X'])",
        "open_time::DATE = '2024-06-01'",
        "date_trunc('day', open_time) = TIMESTAMPTZ '2024-06-01 00:00:00+00'",
        "hour(open_time) IN (0, 12)",
        "close > open",
        "close - open > 0 AND trades % 2 = 0",
        "(symbol = 'BTCUSDT') IS NULL",
        "(open > 0) = (close > 0)",
        "true",
        "false",
        "NULL",
        "symbol IN (SELECT 'BTCUSDT')",
        "open_time > (SELECT max(open_time) - INTERVAL 1 DAY FROM copy)",
        "CASE WHEN symbol = 'BTCUSDT' THEN open_time > '2024-06-02 00:00:00+00' ELSE trades > 100 END",
        "symbol = 'BTCUSDT' AND (open_time < '2024-05-27 00:00:00+00' OR open_time >= '2024-06-03 08:00:00+00')",
        "NOT (symbol = 'BTCUSDT' AND open_time < '2024-06-01 00:00:00+00')",
        "open_time IN (TIMESTAMPTZ '2024-05-25 00:00:00+00', TIMESTAMPTZ '2024-06-04 20:00:00+00')",
        "open_time >= '2024-06-01' AND open_time < '2024-06-01'",
        "coalesce(symbol, 'x') <> 'x'",
        "trades BETWEEN 1e2 AND 1e9",
        "trades > 9223372036854775807",
        "trades = 1.5",
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_conditions_of_every_kind_give_the_rows_of_a_plain_table(
    filled: DuckDBPyConnection, condition: str, zone: str
) -> None:
    filled.execute(f"SET TimeZone = '{zone}'")
    assert_same_rows(filled, f"FROM {{}} WHERE {condition} ORDER BY symbol, open_time")
    filled.execute("SET TimeZone = 'UTC'")


_ATOMS = st.sampled_from(COLUMNS).flatmap(
    lambda column: st.builds(
        "{} {} {}".format,
        st.just(column),
        st.sampled_from(OPERATORS[:6]),
        st.sampled_from([text for text in VALUES[column] if "{" not in text and text != "NULL"]),
    )
)
_CONDITIONS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("(NOT {})".format, inner),
        st.builds("(({}) IS NULL)".format, inner),
    ),
    max_leaves=6,
)


@given_settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_CONDITIONS)
def test_random_conditions_give_the_rows_of_a_plain_table(filled: DuckDBPyConnection, condition: str) -> None:
    assert_same_rows(filled, f"FROM {{}} WHERE {condition} ORDER BY symbol, open_time")


@pytest.mark.parametrize(
    "columns",
    [
        *COLUMNS,
        ", ".join(COLUMNS[::-1]),
        "close, symbol",
        "open_time, open_time AS again",
        "1",
        "trades + 1",
        "source, symbol",
    ],
)
def test_any_columns_give_the_rows_of_a_plain_table(filled: DuckDBPyConnection, columns: str) -> None:
    assert_same_rows(filled, f"SELECT {columns} FROM {{}}")
    assert_same_rows(filled, f"SELECT {columns} FROM {{}} WHERE symbol = 'ETHUSDT' AND trades > 1000")


@pytest.mark.parametrize(
    "condition", ["", "WHERE symbol = 'BTCUSDT'", "WHERE open > 0", "WHERE open_time < '2000-01-01'"]
)
def test_counting_without_columns_gives_the_count_of_a_plain_table(filled: DuckDBPyConnection, condition: str) -> None:
    assert_same_rows(filled, f"SELECT count(*) FROM {{}} {condition}")


def test_rows_come_in_order_of_symbols_and_time(filled: DuckDBPyConnection) -> None:
    rows: list[Any] = filled.sql(f"SELECT symbol, open_time FROM {CALL}").fetchall()
    assert rows == sorted(rows)


def test_fetched_rows_equal_cached_rows(filled: DuckDBPyConnection) -> None:
    assert filled.sql(
        "SELECT count(*) FROM (SELECT * EXCLUDE source FROM cold EXCEPT SELECT * EXCLUDE source FROM copy)"
    ).fetchall() == [(0,)]
