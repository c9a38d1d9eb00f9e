"""Which fetched days are stored, with what provenance, and what happens when the disk refuses."""

from __future__ import annotations

import logging
from datetime import date
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.cache.store import DayStore
from ckvd_sql.fetch.jobs import DayBars
from ckvd_sql.fetch.persist import DayWriter
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import DAY, HOUR, day_start
from ckvd_sql.market.provenance import GapCheck, Provenance, Source
from ckvd_sql.settings import Settings
from ckvd_sql.sources.vision import Archive
from tests.support.bars import series
from tests.support.days import FROM_REST, day_bars

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

HOURS = series("spot", "BTCUSDT", "1h")
WEEKS = series("spot", "BTCUSDT", "1w")
SECONDS = series("spot", "BTCUSDT", "1s")
FIRST, SECOND, THIRD = (date(2024, 6, day) for day in (12, 13, 14))
NOW = parse_time("2024-06-15T12:00:30", "now")


@pytest.fixture
def store(tmp_path: Path) -> DayStore:
    return DayStore(tmp_path / "cache")


@pytest.fixture
def writer(store: DayStore) -> DayWriter:
    return DayWriter(Settings.load(now="2024-06-15T12:00:30", um_url="https://um.example"), store, NOW)


def fetched(*days: date) -> dict[date, tuple[pa.RecordBatch, Provenance]]:
    return {day: (day_bars(HOURS, day), FROM_REST) for day in days}


def archive(**days: pa.RecordBatch) -> Archive:
    by_day = {date(2024, 6, int(day[1:])): bars for day, bars in days.items()}
    return Archive(FIRST, by_day, "ab" * 32, "https://x.zip")


def address(bars: pa.RecordBatch) -> int:
    """Where the values of the first column lie in memory."""
    values = bars.column(0).buffers()[1]
    assert values is not None
    return values.address


def test_complete_days_are_stored_with_their_provenance_and_served(writer: DayWriter, store: DayStore) -> None:
    served = writer.write(HOURS, fetched(FIRST, SECOND), NOW)
    assert served == {day: DayBars(day, day_bars(HOURS, day), Source.REST) for day in (FIRST, SECOND)}
    assert store.days(HOURS) == {FIRST, SECOND}
    assert store.read(HOURS, FIRST).rows.equals(day_bars(HOURS, FIRST))
    assert store.describe(HOURS, FIRST).provenance == FROM_REST


def test_a_day_that_is_not_over_is_served_and_not_stored(writer: DayWriter, store: DayStore) -> None:
    today = date(2024, 6, 15)
    bars = day_bars(HOURS, today).slice(0, 12)  # every one is closed
    served = writer.write(HOURS, {THIRD: (day_bars(HOURS, THIRD), FROM_REST), today: (bars, FROM_REST)}, NOW)
    assert served[today].bars.equals(bars)
    assert store.days(HOURS) == {THIRD}


@pytest.mark.parametrize(("late", "stored"), [(0, {FIRST, SECOND}), (1, {FIRST})])
def test_a_day_is_over_by_the_earlier_of_the_two_clocks(
    writer: DayWriter, store: DayStore, late: int, stored: set[date]
) -> None:
    agreed_now = day_start(THIRD) - late
    served = writer.write(HOURS, fetched(FIRST, SECOND), agreed_now)
    assert set(served) == {FIRST, SECOND}
    assert store.days(HOURS) == stored


def test_a_day_with_a_bar_that_closes_later_is_not_stored(store: DayStore) -> None:
    monday = date(2024, 6, 3)
    settings = Settings.load(now="2024-06-15")
    for now, stored in ((day_start(date(2024, 6, 10)) - 1, set()), (day_start(date(2024, 6, 10)), {monday})):
        days = {monday: (day_bars(WEEKS, monday), FROM_REST)}
        DayWriter(settings, store, now).write(WEEKS, days, day_start(date(2024, 6, 15)))
        assert store.days(WEEKS) == stored


def test_an_empty_day_is_stored_as_one(writer: DayWriter, store: DayStore) -> None:
    writer.write(HOURS, {FIRST: (HOURS.no_rows, FROM_REST)}, NOW)
    assert store.read(HOURS, FIRST).rows.num_rows == 0
    assert store.days(HOURS) == {FIRST}


def test_days_of_archives_without_gaps_are_stored_and_the_gaps_of_others_come_back(
    writer: DayWriter, store: DayStore
) -> None:
    torn = day_bars(HOURS, SECOND).slice(0, 20)
    one, other = archive(d12=day_bars(HOURS, FIRST), d13=torn), archive(d14=day_bars(HOURS, THIRD))
    served, (doubt,) = writer.write_complete(HOURS, [one, other], NOW)
    assert {day: bars.source for day, bars in served.items()} == {FIRST: Source.VISION, THIRD: Source.VISION}
    assert store.days(HOURS) == {FIRST, THIRD}
    (gap,) = doubt.gaps
    assert (doubt.day, doubt.archive is one) == (SECOND, True)
    assert (gap.start, gap.end, gap.count) == (day_start(SECOND) + 20 * HOUR, day_start(SECOND) + DAY, 4)


def test_the_provenance_of_an_archive_is_its_url_and_checksum_and_what_is_known_of_its_gaps(
    writer: DayWriter, store: DayStore
) -> None:
    made = archive(d12=day_bars(HOURS, FIRST))
    expected = Provenance(Source.VISION, "https://x.zip", "ab" * 32, NOW, verified=True)
    assert writer.archive_provenance(made) == expected
    assert writer.archive_provenance(made, GapCheck.CONFIRMED).gaps is GapCheck.CONFIRMED
    writer.write_complete(HOURS, [made], NOW)
    assert store.describe(HOURS, FIRST).provenance == expected


def test_the_provenance_of_rest_is_the_host_of_the_market(writer: DayWriter) -> None:
    found = writer.rest_provenance(series("um", "BTCUSDT", "1h"))
    assert found == Provenance(Source.REST, "https://um.example", "", NOW)


def test_a_large_day_is_served_from_its_file(writer: DayWriter, store: DayStore) -> None:
    bars = day_bars(SECONDS, FIRST)
    served = writer.write(SECONDS, {FIRST: (bars, FROM_REST)}, NOW)
    assert served[FIRST].bars.equals(bars)
    assert served[FIRST].source is Source.REST
    assert address(served[FIRST].bars) != address(bars)
    assert store.days(SECONDS) == {FIRST}


def test_a_disk_that_refuses_is_one_warning_and_the_days_are_served(
    writer: DayWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the cache's folder should be")
    with caplog.at_level(logging.WARNING, logger="ckvd_sql"):
        for day in (FIRST, SECOND):
            served = writer.write(HOURS, fetched(day), NOW)
            assert served[day].bars.equals(day_bars(HOURS, day))
    assert len(caplog.records) == 1
    assert "served but not stored" in caplog.text
