"""Series and ranges in which something happens, their true bars, and connections on an empty cache."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

import ckvd_sql
from ckvd_sql.market.series import DAY, HOUR, SECOND, Series, day_of, days_between, moment_of, parse_time
from ckvd_sql.sandbox import Sandbox, market_bars
from tests.support.bars import Bar, bars, series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    from duckdb import DuckDBPyConnection

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


@functools.cache
def truth(place: Place) -> list[Bar]:
    """Every closed bar of a place, in the shape of `read`."""
    return bars(market_bars(place.series, place.start, place.end, CLOCK))


def between(place: Place, start: int, end: int) -> list[Bar]:
    return [one for one in truth(place) if start <= one[0] < end]


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
