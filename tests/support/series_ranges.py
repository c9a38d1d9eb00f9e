"""Ranges of series for property tests, their expected bars, and connections on an empty cache."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

import ckvd_sql
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import DAY, HOUR, SECOND, day_of, days_between, moment_of
from ckvd_sql.sandbox import Sandbox, market_bars
from tests.support.bars import Bar, bars, series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    from duckdb import DuckDBPyConnection

    from ckvd_sql.market.series import Series

NOW = "2024-06-15T12:00:30"
CLOCK = parse_time(NOW, "now")


@dataclass(frozen=True)
class SeriesRange:
    """A series and a range of it, some weeks around an event."""

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
        """The start of the range, in microseconds since the epoch."""
        return parse_time(self.first, "start")

    @property
    def end(self) -> int:
        """Its end."""
        return parse_time(self.last, "end")

    def days(self) -> list[date]:
        return list(days_between(day_of(self.start), day_of(self.end - 1)))

    def call(self, start: int, end: int) -> str:
        """The SQL call for the bars of the series in `[start, end)`."""
        arguments = f"'{self.symbol}', '{self.interval}', '{moment_of(start)}', '{moment_of(end)}'"
        return f"ckvd_klines({arguments}, market := '{self.market}')"


SERIES_RANGES = [
    SeriesRange("spot", "BTCUSDT", "1h", "2024-05-25", "2024-06-17"),  # two months, days of REST, the future
    SeriesRange("spot", "BTCUSDT", "4h", "2024-03-28", "2024-05-04"),  # contains a whole month
    SeriesRange("spot", "BTCUSDT", "1h", "2023-03-18", "2023-04-03"),  # an outage on 03-24
    SeriesRange("spot", "SOLUSDT", "1h", "2020-07-28", "2020-08-20"),  # listed on 08-11
    SeriesRange("um", "BTCUSDT", "1d", "2024-05-20", "2024-06-16"),
    SeriesRange("cm", "BTCUSD_PERP", "4h", "2024-05-25", "2024-06-16"),
    SeriesRange("spot", "ETHUSDT", "1w", "2024-02-20", "2024-06-17"),
    SeriesRange("spot", "ETHUSDT", "3d", "2024-04-20", "2024-06-17"),
    SeriesRange("spot", "ETHUSDT", "1mo", "2024-01-10", "2024-06-17"),
]


@functools.cache
def expected_bars(scope: SeriesRange) -> list[Bar]:
    """Every closed bar of a range, in the shape of `tests.support.bars.read`."""
    return bars(market_bars(scope.series, scope.start, scope.end, CLOCK))


def expected_between(scope: SeriesRange, start: int, end: int) -> list[Bar]:
    """Those of them that open in `[start, end)`."""
    return [one for one in expected_bars(scope) if start <= one[0] < end]


@contextlib.contextmanager
def empty_cache(exchange: Sandbox) -> Iterator[tuple[Callable[..., DuckDBPyConnection], Path]]:
    """A function that opens connections on an empty cache folder, and that folder; clears the faults afterwards."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stack.callback(exchange.clear_faults)

        def connect(**more: Any) -> DuckDBPyConnection:
            given_: dict[str, Any] = {**exchange.settings, "retries": 0, "timeout": 10, "cache_dir": folder, **more}
            con = ckvd_sql.connect(**given_)
            stack.callback(con.close)
            return con

        yield connect, Path(folder)


def instants(scope: SeriesRange) -> st.SearchStrategy[int]:
    """Instants of a range, many of them at or next to the start of a bar or a day."""
    edges = st.integers(0, (scope.end - scope.start) // HOUR).map(lambda n: scope.start + n * HOUR)
    days = st.integers(-1, len(scope.days()) + 1).map(lambda n: scope.start + n * DAY)
    beside = st.sampled_from([-SECOND, -1, 0, 0, 0, 1, 1000, SECOND])
    inside = st.integers(scope.start, scope.end)
    return (
        st.builds(lambda instant, off: min(max(instant + off, scope.start), scope.end), edges | days, beside) | inside
    )


@st.composite
def ranges(draw: st.DrawFn, scope: SeriesRange) -> tuple[int, int]:
    """A start and an end within a range."""
    one, other = draw(instants(scope)), draw(instants(scope))
    return min(one, other), max(one, other)
