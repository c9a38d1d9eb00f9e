"""Instants, UTC days and months."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ckvd_sql.market.periods import DAY, Month, consecutive, day_of, day_start, format_days, instant_of, moment_of


@given(st.dates(date(1, 1, 1), date(9999, 12, 31)))
def test_every_instant_of_a_day_maps_to_that_day(day: date) -> None:
    assert day_of(day_start(day)) == day_of(day_start(day) + DAY - 1) == day


@given(st.datetimes(timezones=st.just(UTC)))
def test_conversion_to_an_instant_and_back_is_lossless(moment: datetime) -> None:
    assert moment_of(instant_of(moment)) == moment


def test_a_month_has_a_first_day_a_last_day_and_a_next_month() -> None:
    assert (Month(2024, 2).first, Month(2024, 2).last) == (date(2024, 2, 1), date(2024, 2, 29))
    assert Month(2023, 12).next == Month(2024, 1)
    assert str(Month(2024, 3)) == "2024-03"


def test_days_are_written_as_runs() -> None:
    days = [date(2024, 1, 1) + timedelta(days=n) for n in (4, 0, 1, 2, 6)]
    assert consecutive(days)[0] == (date(2024, 1, 1), date(2024, 1, 3))
    assert format_days(days) == "2024-01-01 to 2024-01-03, 2024-01-05, 2024-01-07"
