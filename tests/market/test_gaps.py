"""The gaps of a day: which bars of the grid are missing."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ckvd_sql.market.bars import BAR_SCHEMA, NO_BARS
from ckvd_sql.market.gaps import Gap, find_gaps, gaps_of_day
from ckvd_sql.market.periods import DAY, HOUR, Span, day_start
from ckvd_sql.market.series import INTERVALS

DATE = date(2024, 6, 1)
BEGIN = day_start(DATE)
ONE_HOUR = INTERVALS["1h"]
GRID = [BEGIN + number * HOUR for number in range(24)]


def bars_at(opens: list[int]) -> pa.RecordBatch:
    times = pa.array(opens, pa.int64())
    return pa.RecordBatch.from_arrays([times.cast(field.type, safe=False) for field in BAR_SCHEMA], schema=BAR_SCHEMA)


def test_a_full_day_has_no_gaps() -> None:
    assert gaps_of_day(ONE_HOUR, DATE, bars_at(GRID)) == []


def test_a_day_without_bars_is_one_gap() -> None:
    assert gaps_of_day(ONE_HOUR, DATE, NO_BARS) == [Gap(BEGIN, BEGIN + DAY, 24)]


def test_a_gap_is_found_even_if_the_number_of_bars_is_complete() -> None:
    doubled = sorted({*GRID, GRID[3] + 1} - {GRID[9]})
    assert len(doubled) == 24
    assert gaps_of_day(ONE_HOUR, DATE, bars_at(doubled)) == [Gap(GRID[9], GRID[10], 1)]


def test_bars_longer_than_a_day_have_no_gap_within_a_day() -> None:
    assert gaps_of_day(INTERVALS["1w"], DATE, NO_BARS) == []


@given(st.sets(st.integers(0, 23)), st.integers(0, HOUR - 1))
def test_the_gaps_of_a_day_equal_those_of_its_range(missing: set[int], shift: int) -> None:
    bars = bars_at([opens + shift for number, opens in enumerate(GRID) if number not in missing])
    found = list(find_gaps(ONE_HOUR, Span(BEGIN, BEGIN + DAY), BEGIN + DAY, [bars]))
    assert gaps_of_day(ONE_HOUR, DATE, bars) == found
