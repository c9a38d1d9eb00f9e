"""For any state of the cache and any failure of the archive, SQL returns the closed bars, once each, in order.

Hypothesis generates calendars (cached, damaged and missing days, archives that fail) and ranges; the expected bars come
from the sandbox's market. `CKVD_EXAMPLES` sets how many inputs each test tries.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import day_of, day_start
from ckvd_sql.sandbox import Fault, Sandbox
from tests.support.bars import Bar, read
from tests.support.damage import writable
from tests.support.examples import TRIED, thorough, tries
from tests.support.series_ranges import (
    CLOCK,
    SERIES_RANGES,
    SeriesRange,
    empty_cache,
    expected_bars,
    expected_between,
    ranges,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from duckdb import DuckDBPyConnection

EXAMPLES = tries(20)


#: Faults of the archive for which REST is the fallback.
ARCHIVE_FAULTS = ["status", "checksum", "corrupt", "html", "torn", "reset"]


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """The faults cause thousands of warnings."""
    log = logging.getLogger("ckvd_sql")
    log.disabled = True
    yield
    log.disabled = False


@st.composite
def calendars(draw: st.DrawFn, scope: SeriesRange) -> dict[str, Any]:
    """Which ranges are cached first, which of their days are damaged or deleted, and which archives fail."""
    days = st.sampled_from(scope.days())
    faults = st.tuples(st.sampled_from(ARCHIVE_FAULTS), st.sampled_from([1, None]))
    return {
        "cached": draw(st.lists(ranges(scope), max_size=2)),
        "damaged": draw(st.lists(days, max_size=3)),
        "deleted": draw(st.lists(days, max_size=6)),
        "days": draw(st.dictionaries(days, faults, max_size=3)),
        "months": draw(st.none() | faults),
        "rest": draw(st.sampled_from([None] * 9 + ["status", "reset", "html"])),
    }


def prepare(
    exchange: Sandbox,
    connect: Callable[..., DuckDBPyConnection],
    root: Path,
    scope: SeriesRange,
    calendar: dict[str, Any],
) -> None:
    """Put the cache and the faults into the state that a calendar describes."""
    con = connect()
    for start, end in calendar["cached"]:
        con.execute(f"SELECT count(*) FROM {scope.call(start, end)}").fetchall()
    store = DayStore(root)
    for day in calendar["deleted"]:
        store.path(scope.series, day).unlink(missing_ok=True)
    for number, day in enumerate(calendar["damaged"]):
        path = store.path(scope.series, day)
        if path.is_file():
            data = path.read_bytes()
            path.unlink()
            writable(path).write_bytes([b"", data[: len(data) // 2], data[:100] + b"\xff" + data[101:]][number % 3])
    for day, (kind, times) in calendar["days"].items():
        exchange.add(Fault(path=rf"daily.*{day}\.zip", kind=kind, times=times))
    if calendar["months"]:
        kind, times = calendar["months"]
        exchange.add(Fault(path=r"monthly.*\.zip", kind=kind, times=times))
    TRIED["faults"] += len(calendar["days"]) + bool(calendar["months"]) + bool(calendar["rest"])
    if calendar["rest"]:
        exchange.add(Fault(path=r"/v[13]/klines", kind=calendar["rest"], times=1))


class TestRows:
    @thorough(EXAMPLES)
    @given(scope=st.sampled_from(SERIES_RANGES), data=st.data())
    def test_are_the_closed_bars_of_the_range_once_each_in_order(
        self, exchange: Sandbox, scope: SeriesRange, data: st.DataObject
    ) -> None:
        calendar = data.draw(calendars(scope))
        queried = data.draw(st.lists(ranges(scope), min_size=1, max_size=3))
        with empty_cache(exchange) as (connect, root):
            prepare(exchange, connect, root, scope, calendar)
            con = connect(retries=1 if calendar["rest"] else 0)
            for start, end in queried:
                assert read_unsorted(con, scope.call(start, end)) == expected_between(scope, start, end)

    @thorough(EXAMPLES)
    @given(scope=st.sampled_from(SERIES_RANGES), data=st.data())
    def test_are_the_same_from_a_warm_and_a_cold_cache(
        self, exchange: Sandbox, scope: SeriesRange, data: st.DataObject
    ) -> None:
        calendar = data.draw(calendars(scope))
        start, end = data.draw(ranges(scope))
        end = min(end, parse_time("2024-06-01" if scope.series.interval.multi_day else "2024-06-15", "end"))
        start = min(start, end)
        with empty_cache(exchange) as (connect, root):
            prepare(exchange, connect, root, scope, calendar)
            cold = read_unsorted(connect(retries=1 if calendar["rest"] else 0), scope.call(start, end))
            exchange.forget()
            assert read_unsorted(connect(), scope.call(start, end)) == cold
            assert exchange.requests == ()
            if not scope.series.interval.multi_day or end <= CLOCK:
                assert read_unsorted(connect(offline=True), scope.call(start, end)) == cold
            assert cold == expected_between(scope, start, end)

    @thorough(EXAMPLES)
    @given(data=st.data())
    def test_of_several_symbols_are_the_rows_of_each_symbol_in_turn(
        self, exchange: Sandbox, data: st.DataObject
    ) -> None:
        symbols = data.draw(st.lists(st.sampled_from(["BTCUSDT", "ETHUSDT", "SOLUSDT"]), min_size=1, max_size=4))
        scope = SERIES_RANGES[0]
        start, end = data.draw(ranges(scope))
        with empty_cache(exchange) as (connect, _):
            call = scope.call(start, end).replace(f"'{scope.symbol}'", str(symbols), 1)
            rows = connect().sql(f"SELECT symbol, epoch_us(open_time) FROM {call}").fetchall()
        wanted = [
            (symbol, one[0])
            for symbol in dict.fromkeys(symbols)
            for one in expected_between(
                SeriesRange("spot", symbol, scope.interval, scope.first, scope.last), start, end
            )
        ]
        assert rows == wanted


def read_unsorted(con: DuckDBPyConnection, call: str) -> list[Bar]:
    """The bars of a call, which must be in order without an ORDER BY."""
    TRIED["queries"] += 1
    bars = read(con, call)
    unsorted = con.sql(f"SELECT epoch_us(open_time) FROM {call}").fetchall()
    assert [row[0] for row in unsorted] == [row[0] for row in bars]
    return bars


def test_the_series_ranges_contain_the_intended_bars() -> None:
    for scope in SERIES_RANGES:
        assert expected_bars(scope)
    assert len(expected_bars(SERIES_RANGES[2])) == 16 * 24 - 1
    assert day_start(day_of(expected_bars(SERIES_RANGES[3])[0][0])) == parse_time("2020-08-11", "time")
