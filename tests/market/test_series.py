"""Intervals and their grids, and where the files of a series are."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import DAY, HOUR, Month, Span, day_start
from ckvd_sql.market.series import INTERVALS, Market, Series

INSTANTS = st.integers(day_start(date(2009, 1, 1)), day_start(date(2099, 1, 1)))


@given(INSTANTS, st.sampled_from(list(INTERVALS)))
def test_every_instant_is_in_one_slot_of_the_grid(instant: int, name: str) -> None:
    interval = INTERVALS[name]
    slot = interval.slot(instant)
    assert interval.open_time(slot) <= instant < interval.open_time(slot + 1)


@given(INSTANTS, st.integers(0, 40 * DAY), st.sampled_from([name for name in INTERVALS if name != "1s"]))
def test_slots_are_those_that_open_in_the_half_open_range(start: int, length: int, name: str) -> None:
    interval, end = INTERVALS[name], start + length
    slots = interval.slots(start, end)
    assert all(start <= interval.open_time(slot) < end for slot in (*slots[:1], *slots[-1:]))
    assert interval.open_time(slots.start - 1) < start
    assert interval.open_time(slots.stop) >= end


def test_weeks_open_on_monday_months_on_the_first_and_3d_bars_every_third_day_from_a_bar_on() -> None:
    first, last = date(2023, 11, 1), date(2024, 12, 31)
    assert {day.weekday() for day in INTERVALS["1w"].open_days(first, last)} == {0}
    assert {day.day for day in INTERVALS["1mo"].open_days(first, last)} == {1}
    three_days = INTERVALS["3d"].with_bar_at(day_start(date(2020, 8, 11)))
    assert {(day - date(2020, 8, 11)).days % 3 for day in three_days.open_days(first, last)} == {0}
    assert len(list(INTERVALS["3d"].open_days(first, last))) == (last - first).days + 1  # not known before a bar is


@pytest.mark.parametrize(
    ("name", "day", "closed"),
    [
        ("1m", "2024-02-28", "2024-02-29"),
        ("1d", "2024-02-29", "2024-03-01"),
        ("1w", "2024-02-26", "2024-03-04"),
        ("1w", "2024-02-27", "2024-02-28"),
        ("1mo", "2024-02-01", "2024-03-01"),
        ("1mo", "2023-12-01", "2024-01-01"),
    ],
)
def test_a_day_is_closed_when_its_last_bar_is(name: str, day: str, closed: str) -> None:
    assert INTERVALS[name].closed_at(date.fromisoformat(day)) == parse_time(closed, "time")


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.sampled_from(list(INTERVALS)))
def test_no_day_is_closed_before_it_is_over(day: date, name: str) -> None:
    assert INTERVALS[name].closed_at(day) >= day_start(day) + DAY


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        ("2024-06-01", "2024-06-01", 0),
        ("2024-06-01", "2024-06-02", 1),
        ("2024-06-01", "2024-06-02T00:00:00.000001", 2),
        ("2024-06-01T23:59:59.999999", "2024-06-02", 1),
    ],
)
def test_a_range_has_every_day_of_which_it_has_an_instant(start: str, end: str, days: int) -> None:
    span = Span(parse_time(start, "start"), parse_time(end, "end"))
    assert len(list(INTERVALS["1h"].days_in(span))) == days


@pytest.mark.parametrize(
    ("market", "symbol", "interval", "period", "path"),
    [
        (Market.SPOT, "BTCUSDT", "1h", date(2024, 1, 31), "spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01-31"),
        (Market.UM, "BTCUSDT", "1mo", Month(2024, 1), "futures/um/monthly/klines/BTCUSDT/1mo/BTCUSDT-1mo-2024-01"),
        (Market.CM, "A_PERP", "1d", Month(999, 9), "futures/cm/monthly/klines/A_PERP/1d/A_PERP-1d-0999-09"),
    ],
)
def test_archive_paths_are_those_of_binance(market: Market, symbol: str, interval: str, period: Any, path: str) -> None:
    assert Series(market, symbol, INTERVALS[interval]).archive_path(period) == f"data/{path}.zip"


def test_no_two_series_share_a_key_even_where_file_names_ignore_case() -> None:
    keys = [Series(market, "BTCUSDT", interval).key.lower() for market in Market for interval in INTERVALS.values()]
    assert len(set(keys)) == len(keys)


def test_12h_bars_open_at_midnight_and_noon() -> None:
    opens = [INTERVALS["12h"].open_time(slot) for slot in INTERVALS["12h"].slots(0, DAY)]
    assert opens == [0, 12 * HOUR]
