"""Whatever the cache holds and the archive does, SQL gives the exchange's closed bars, once each, in order.

Hypothesis makes up calendars (cached, damaged and cold days, archives that fail, days of one source or the other)
and ranges; the sandbox's market is the truth. `CKVD_EXAMPLES` sets how many each test tries.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.series import day_of, day_start, parse_time
from ckvd_sql.sandbox import Fault, Sandbox
from tests.support.bars import Bar, read
from tests.support.examples import TRIED, thorough, tries
from tests.support.places import CLOCK, PLACES, Place, between, fresh, ranges, truth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from duckdb import DuckDBPyConnection

EXAMPLES = tries(20)


#: What may be wrong with an archive while REST still has its days.
ARCHIVE_FAULTS = ["status", "checksum", "corrupt", "html", "torn", "reset"]


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of warnings are expected here."""
    log = logging.getLogger("ckvd_sql")
    log.disabled = True
    yield
    log.disabled = False


@st.composite
def calendars(draw: st.DrawFn, place: Place) -> dict[str, Any]:
    """What is cached at first, what of that is damaged, and which archives fail."""
    days = st.sampled_from(place.days())
    faults = st.tuples(st.sampled_from(ARCHIVE_FAULTS), st.sampled_from([1, None]))
    return {
        "cached": draw(st.lists(ranges(place), max_size=2)),
        "damaged": draw(st.lists(days, max_size=3)),
        "deleted": draw(st.lists(days, max_size=6)),
        "days": draw(st.dictionaries(days, faults, max_size=3)),
        "months": draw(st.none() | faults),
        "rest": draw(st.sampled_from([None] * 9 + ["status", "reset", "html"])),
    }


def prepare(
    exchange: Sandbox, connect: Callable[..., DuckDBPyConnection], root: Path, place: Place, calendar: dict[str, Any]
) -> None:
    """Make a calendar come true."""
    con = connect()
    for start, end in calendar["cached"]:
        con.execute(f"SELECT count(*) FROM {place.call(start, end)}").fetchall()
    store = DayStore(root)
    for day in calendar["deleted"]:
        store.path(place.series, day).unlink(missing_ok=True)
    for number, day in enumerate(calendar["damaged"]):
        path = store.path(place.series, day)
        if path.is_file():
            data = path.read_bytes()
            path.unlink()
            path.write_bytes([b"", data[: len(data) // 2], data[:100] + b"\xff" + data[101:]][number % 3])
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
    @given(place=st.sampled_from(PLACES), data=st.data())
    def test_are_the_closed_bars_of_the_range_once_each_in_order(
        self, exchange: Sandbox, place: Place, data: st.DataObject
    ) -> None:
        calendar = data.draw(calendars(place))
        asked = data.draw(st.lists(ranges(place), min_size=1, max_size=3))
        with fresh(exchange) as (connect, root):
            prepare(exchange, connect, root, place, calendar)
            con = connect(retries=1 if calendar["rest"] else 0)
            for start, end in asked:
                assert read_unsorted(con, place.call(start, end)) == between(place, start, end)

    @thorough(EXAMPLES)
    @given(place=st.sampled_from(PLACES), data=st.data())
    def test_are_the_same_from_a_warm_and_a_cold_cache(
        self, exchange: Sandbox, place: Place, data: st.DataObject
    ) -> None:
        calendar = data.draw(calendars(place))
        start, end = data.draw(ranges(place))
        end = min(end, parse_time("2024-06-01" if place.series.interval.coarse else "2024-06-15", "end"))
        start = min(start, end)
        with fresh(exchange) as (connect, root):
            prepare(exchange, connect, root, place, calendar)
            cold = read_unsorted(connect(retries=1 if calendar["rest"] else 0), place.call(start, end))
            exchange.forget()
            assert read_unsorted(connect(), place.call(start, end)) == cold
            assert exchange.requests == ()
            if not place.series.interval.coarse or end <= CLOCK:
                assert read_unsorted(connect(offline=True), place.call(start, end)) == cold
            assert cold == between(place, start, end)

    @thorough(EXAMPLES)
    @given(data=st.data())
    def test_of_several_symbols_are_the_rows_of_each_symbol_in_turn(
        self, exchange: Sandbox, data: st.DataObject
    ) -> None:
        symbols = data.draw(st.lists(st.sampled_from(["BTCUSDT", "ETHUSDT", "SOLUSDT"]), min_size=1, max_size=4))
        place = PLACES[0]
        start, end = data.draw(ranges(place))
        with fresh(exchange) as (connect, _):
            call = place.call(start, end).replace(f"'{place.symbol}'", str(symbols), 1)
            rows = connect().sql(f"SELECT symbol, epoch_us(open_time) FROM {call}").fetchall()
        wanted = [
            (symbol, one[0])
            for symbol in dict.fromkeys(symbols)
            for one in between(Place("spot", symbol, place.interval, place.first, place.last), start, end)
        ]
        assert rows == wanted


def read_unsorted(con: DuckDBPyConnection, call: str) -> list[Bar]:
    """The bars as they come, which must be in order by itself."""
    TRIED["queries"] += 1
    sorted_ = read(con, call)
    as_they_come = con.sql(f"SELECT epoch_us(open_time) FROM {call}").fetchall()
    assert [row[0] for row in as_they_come] == [row[0] for row in sorted_]
    return sorted_


def test_the_series_ranges_contain_the_intended_bars() -> None:
    for place in PLACES:
        assert truth(place)
    assert len(truth(PLACES[2])) == 16 * 24 - 1
    assert day_start(day_of(truth(PLACES[3])[0][0])) == parse_time("2020-08-11", "time")
