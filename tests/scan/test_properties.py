"""Whatever the cache holds and the archive does, SQL gives the exchange's closed bars, once each, in order.

Hypothesis makes up calendars (cached, damaged and cold days, archives that fail, days of one source or the other),
ranges and filters; the sandbox's market is the truth. `CKVD_EXAMPLES` sets how many each test tries.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ckvd_sql
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.series import DAY, HOUR, SECOND, Series, day_of, day_start, days_between, moment_of, parse_time
from ckvd_sql.sandbox import Fault, Sandbox, market_bars
from tests.support.bars import Bar, bars, read, series
from tests.support.examples import thorough, tries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    from duckdb import DuckDBPyConnection

EXAMPLES = tries(20)

#: What has been tried so far, for `tests.system.soak`.
TRIED: Counter[str] = Counter()

NOW = "2024-06-15T12:00:30"
CLOCK = parse_time(NOW, "now")


@dataclass(frozen=True)
class Place:
    """A series and some weeks of it in which something happens."""

    market: str
    symbol: str
    interval: str
    first: str
    last: str

    @property
    def series(self) -> Series:
        return series(self.market, self.symbol, self.interval)

    @property
    def start(self) -> int:
        return parse_time(self.first, "start")

    @property
    def end(self) -> int:
        return parse_time(self.last, "end")

    def days(self) -> list[date]:
        return list(days_between(day_of(self.start), day_of(self.end - 1)))

    def call(self, start: int, end: int) -> str:
        arguments = f"'{self.symbol}', '{self.interval}', '{moment_of(start)}', '{moment_of(end)}'"
        return f"ckvd_klines({arguments}, market := '{self.market}')"


PLACES = [
    Place("spot", "BTCUSDT", "1h", "2024-05-25", "2024-06-17"),  # two months, live days, the future
    Place("spot", "BTCUSDT", "4h", "2024-03-28", "2024-05-04"),  # a whole month within
    Place("spot", "BTCUSDT", "1h", "2023-03-18", "2023-04-03"),  # an outage on 03-24
    Place("spot", "SOLUSDT", "1h", "2020-07-28", "2020-08-20"),  # listed on 08-11
    Place("um", "BTCUSDT", "1d", "2024-05-20", "2024-06-16"),
    Place("cm", "BTCUSD_PERP", "4h", "2024-05-25", "2024-06-16"),
    Place("spot", "ETHUSDT", "1w", "2024-02-20", "2024-06-17"),
    Place("spot", "ETHUSDT", "3d", "2024-04-20", "2024-06-17"),
    Place("spot", "ETHUSDT", "1mo", "2024-01-10", "2024-06-17"),
]

#: What may be wrong with an archive while REST still has its days.
ARCHIVE_FAULTS = ["status", "checksum", "corrupt", "html", "torn", "reset"]


@functools.cache
def truth(place: Place) -> list[Bar]:
    """Every closed bar of a place, in the shape of `read`."""
    return bars(market_bars(place.series, place.start, place.end, CLOCK))


def between(place: Place, start: int, end: int) -> list[Bar]:
    return [one for one in truth(place) if start <= one[0] < end]


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of warnings are expected here."""
    log = logging.getLogger("ckvd_sql")
    log.disabled = True
    yield
    log.disabled = False


@pytest.fixture(scope="module")
def exchange() -> Iterator[Sandbox]:
    with Sandbox(now=NOW) as running:
        yield running


@contextlib.contextmanager
def fresh(exchange: Sandbox) -> Iterator[tuple[Callable[..., DuckDBPyConnection], Path]]:
    """An empty cache, and a way to open connections on it; the exchange without faults afterwards."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stack.callback(exchange.clear_faults)

        def connect(**more: Any) -> DuckDBPyConnection:
            given_: dict[str, Any] = {**exchange.settings, "retries": 0, "timeout": 10, "cache_dir": folder, **more}
            con = ckvd_sql.connect(**given_)
            stack.callback(con.close)
            return con

        yield connect, Path(folder)


def instants(place: Place) -> st.SearchStrategy[int]:
    """Moments in and around a place, many of them on or beside a bar's or a day's edge."""
    edges = st.integers(0, (place.end - place.start) // HOUR).map(lambda n: place.start + n * HOUR)
    days = st.integers(-1, len(place.days()) + 1).map(lambda n: place.start + n * DAY)
    beside = st.sampled_from([-SECOND, -1, 0, 0, 0, 1, 1000, SECOND])
    inside = st.integers(place.start, place.end)
    return (
        st.builds(lambda instant, off: min(max(instant + off, place.start), place.end), edges | days, beside) | inside
    )


@st.composite
def ranges(draw: st.DrawFn, place: Place) -> tuple[int, int]:
    one, other = draw(instants(place)), draw(instants(place))
    return min(one, other), max(one, other)


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


class TestTheRowsThroughSql:
    @thorough(EXAMPLES)
    @given(place=st.sampled_from(PLACES), data=st.data())
    def test_are_the_closed_bars_of_the_range_once_each_in_order_whatever_the_calendar_and_the_order_of_queries(
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
    def test_are_the_same_warm_as_cold(self, exchange: Sandbox, place: Place, data: st.DataObject) -> None:
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
    def test_of_several_symbols_are_each_symbols_rows(self, exchange: Sandbox, data: st.DataObject) -> None:
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


# Filters.

HOURS = Place("spot", "BTCUSDT", "4h", "2024-05-05", "2024-06-16")
SYMBOLS = ["BTCUSDT", "ETHUSDT"]
CALL = HOURS.call(HOURS.start, HOURS.end).replace("'BTCUSDT'", str(SYMBOLS), 1)
COLUMNS = "symbol, open_time, open, high, low, close, volume, close_time, quote_volume, trades, taker_buy_volume"
OPERATORS = ["=", "!=", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"]
WORDS = {
    "symbol": st.sampled_from([*SYMBOLS, "SOLUSDT", "", "BTC", "btcusdt", "ETHUSDT "]),
    "source": st.sampled_from(["cache", "rest", "vision", "", "CACHE"]),
}


def literals(column: str) -> st.SearchStrategy[str]:
    """Values of a column as SQL has them, near or at those that are there."""
    if column in WORDS:
        return WORDS[column].map(lambda text: f"'{text}'")
    truths = truth(HOURS)
    if column in {"open_time", "close_time"}:
        at = 0 if column == "open_time" else 6
        off = st.sampled_from([-DAY, -1000, -1, 0, 0, 0, 1, 1000, DAY, 400 * DAY, -4000 * DAY])
        moments = st.builds(lambda row, by: moment_of(row[at] + by), st.sampled_from(truths), off)
        days = st.integers(-3, 50).map(lambda n: moment_of(HOURS.start) + timedelta(days=n))
        written = (moments | days).map(lambda moment: f"TIMESTAMPTZ '{moment}'")
        return written | days.map(lambda moment: f"TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S}'")
    if column == "trades":
        there = st.sampled_from(truths).map(lambda row: row[8])
        return (there | st.integers(-1, 10**6)).map(str) | st.floats(0, 10**6).map(repr)
    at = ["open", "high", "low", "close", "volume"].index(column) + 1 if column != "quote_volume" else 7
    there = st.sampled_from(truths).map(lambda row: row[at])
    return (there | st.floats(-1, 10**6)).map(repr) | there.map(lambda value: str(int(value)))


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
        case "prefix" if column in WORDS:
            return f"{column} LIKE '{draw(st.sampled_from(['BTC%', '%USDT', 'c%', '%', '_TH%']))}'"
        case "other" if column not in WORDS:
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


@contextlib.contextmanager
def warmed(exchange: Sandbox) -> Iterator[DuckDBPyConnection]:
    """A cache that has everything but the running day, and the whole as DuckDB's own table."""
    with fresh(exchange) as (connect, _):
        con = connect()
        con.execute("SET TimeZone = 'Asia/Kolkata'")
        con.execute(f"SELECT count(*) FROM {CALL}").fetchall()
        con.execute(f"CREATE TABLE whole AS SELECT * FROM {CALL}")
        yield con


@pytest.fixture(scope="module")
def warm(exchange: Sandbox) -> Iterator[DuckDBPyConnection]:
    with warmed(exchange) as con:
        yield con


class TestAFilter:
    @thorough(4 * EXAMPLES)
    @given(predicate=predicates)
    def test_gives_the_rows_that_duckdb_gives_of_the_whole(self, warm: DuckDBPyConnection, predicate: str) -> None:
        TRIED["queries"] += 1
        found = warm.sql(f"SELECT {COLUMNS}, source FROM {CALL} WHERE {predicate}").fetchall()
        assert found == warm.sql(f"SELECT {COLUMNS}, source FROM whole WHERE {predicate}").fetchall()

    @thorough(2 * EXAMPLES)
    @given(predicate=predicates, columns=st.sampled_from(["count(*)", "max(close), count(*)", "DISTINCT symbol"]))
    def test_on_columns_that_are_not_selected_gives_the_same(
        self, warm: DuckDBPyConnection, predicate: str, columns: str
    ) -> None:
        found = warm.sql(f"SELECT {columns} FROM {CALL} WHERE {predicate} ORDER BY ALL").fetchall()
        assert found == warm.sql(f"SELECT {columns} FROM whole WHERE {predicate} ORDER BY ALL").fetchall()

    @thorough(EXAMPLES)
    @given(predicate=predicates, column=st.sampled_from(["open_time", "close", "trades"]), few=st.integers(0, 9))
    def test_that_duckdb_makes_itself_for_the_first_rows_or_a_join_gives_the_same(
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
    def test_on_a_cold_cache_gives_the_same_and_spoils_nothing(
        self, exchange: Sandbox, warm: DuckDBPyConnection, predicate: str
    ) -> None:
        kept = predicate.replace("source", "symbol")  # a cold answer has other sources
        with fresh(exchange) as (connect, _):
            con = connect()
            con.execute("SET TimeZone = 'Asia/Kolkata'")
            found = con.sql(f"SELECT {COLUMNS} FROM {CALL} WHERE {kept}").fetchall()
            assert found == warm.sql(f"SELECT {COLUMNS} FROM whole WHERE {kept}").fetchall()
            after = con.sql(f"SELECT {COLUMNS} FROM {CALL}").fetchall()
            assert after == warm.sql(f"SELECT {COLUMNS} FROM whole").fetchall()


# The truth that all this is held against.


def test_the_places_have_something_in_them() -> None:
    for place in PLACES:
        assert truth(place)
    assert len(truth(PLACES[2])) == 16 * 24 - 1
    assert day_start(day_of(truth(PLACES[3])[0][0])) == parse_time("2020-08-11", "time")
