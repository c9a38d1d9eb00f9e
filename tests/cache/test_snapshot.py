"""A series' folder at one moment: which days it has, their rows by day and by range, and what it keeps open."""

from __future__ import annotations

import gc
import logging
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from ckvd_sql.cache.folder import SeriesFolder
from ckvd_sql.cache.snapshot import Snapshot
from ckvd_sql.cache.store import DayStore
from ckvd_sql.disk.files import changed_at
from ckvd_sql.errors import CacheError
from ckvd_sql.market.bars import BAR_SCHEMA
from ckvd_sql.market.periods import day_number, day_start, days_between
from tests.support.bars import series
from tests.support.damage import writable
from tests.support.days import day_bars, write_days
from tests.support.open_files import CountedFiles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckvd_sql.market.series import Series

HOURS = series("spot", "BTCUSDT", "1h")
MINUTES = series("spot", "BTCUSDT", "1m")
WEEKS = series("spot", "BTCUSDT", "1w")
FIRST, SECOND, THIRD, FIFTH = (date(2024, 1, day) for day in (1, 2, 3, 5))
DAYS = [FIRST, SECOND, THIRD, FIFTH]


@pytest.fixture
def store(tmp_path: Path) -> DayStore:
    return DayStore(tmp_path)


def take(store: DayStore, one: Series = HOURS, files: CountedFiles | None = None) -> Snapshot:
    folder = SeriesFolder(str(store.root), one)
    return Snapshot.take(folder, one, changed_at(folder.path), files or CountedFiles())


def written(store: DayStore, days: Iterable[date] = DAYS, one: Series = HOURS) -> Snapshot:
    write_days(store, one, days)
    return take(store, one)


def joined(batches: list[pa.RecordBatch]) -> pa.Table:
    return pa.Table.from_batches(batches, schema=BAR_SCHEMA).combine_chunks()


def expected(days: Iterable[date], one: Series = HOURS) -> pa.Table:
    return joined([day_bars(one, day) for day in days])


def test_the_days_are_those_that_have_a_file_and_none_is_opened(store: DayStore) -> None:
    write_days(store, HOURS, DAYS)
    writable(store.path(HOURS, SECOND)).write_bytes(b"damaged")
    assert take(store).days == frozenset(DAYS)


def test_a_folder_that_is_not_there_is_an_os_error(store: DayStore) -> None:
    with pytest.raises(FileNotFoundError):
        Snapshot.take(SeriesFolder(str(store.root), HOURS), HOURS, 0, CountedFiles())


def test_a_day_reads_back_as_it_was_written(store: DayStore) -> None:
    snapshot = written(store)
    for day in DAYS:
        assert snapshot.read(day).rows.equals(day_bars(HOURS, day))


def test_a_day_without_a_file_is_not_found(store: DayStore) -> None:
    with pytest.raises(FileNotFoundError, match="2024-01-04"):
        written(store).read(date(2024, 1, 4))


def test_a_damaged_day_is_a_cache_error_alone_and_in_a_range(store: DayStore) -> None:
    snapshot = written(store)
    writable(store.path(HOURS, SECOND)).write_bytes(b"damaged")
    with pytest.raises(CacheError, match="2024-01-02"):
        snapshot.read(SECOND)
    with pytest.raises(CacheError, match="2024-01-02"):
        snapshot.read_range(FIRST, THIRD)
    assert snapshot.read(FIRST).rows.equals(day_bars(HOURS, FIRST))


def test_a_range_has_the_rows_of_its_days_in_order_without_those_that_have_no_file(store: DayStore) -> None:
    snapshot = written(store)
    assert joined([part.rows for part in snapshot.read_range(FIRST, FIFTH)]).equals(expected(DAYS))
    assert joined([part.rows for part in snapshot.read_range(SECOND, date(2024, 1, 4))]).equals(
        expected([SECOND, THIRD])
    )
    assert joined([part.rows for part in snapshot.read_range(date(2000, 1, 1), date(2100, 1, 1))]).equals(
        expected(DAYS)
    )
    assert joined([part.rows for part in snapshot.read_range(date(2024, 1, 4), date(2024, 1, 4))]).num_rows == 0


def test_small_days_come_in_one_batch_and_large_ones_each_in_its_own(store: DayStore) -> None:
    assert len(written(store).read_range(FIRST, THIRD)) == 1
    assert len(written(store, [FIRST, SECOND], MINUTES).read_range(FIRST, SECOND)) == 2


def test_a_range_over_years_reads_the_same_day_by_day_and_out_of_packs(store: DayStore) -> None:
    days = list(days_between(date(2023, 11, 15), date(2024, 2, 15)))
    snapshot = written(store, days)
    found = [snapshot.read_range(days[0], days[-1]), take(store).read_range(days[0], days[-1])]
    assert sorted(path.name for path in store.folder(HOURS).glob(".packs/*.pack")) == ["2023.pack", "2024.pack"]
    for parts in found:
        assert len(parts) == 2
        assert joined([part.rows for part in parts]).equals(expected(days))
    assert take(store).read(days[50]).rows.equals(day_bars(HOURS, days[50]))


def test_a_range_is_read_once(store: DayStore) -> None:
    snapshot = written(store)
    assert snapshot.read_range(FIRST, THIRD) is snapshot.read_range(FIRST, THIRD)


def test_a_snapshot_is_complete_where_every_day_has_a_file(store: DayStore) -> None:
    snapshot = written(store)
    assert snapshot.has_all(FIRST, THIRD)
    assert snapshot.has_all(FIFTH, FIFTH)
    assert not snapshot.has_all(THIRD, FIFTH)
    assert not snapshot.has_all(date(2023, 12, 31), FIRST)
    assert not snapshot.has_all(FIFTH, date(2024, 1, 6))


def test_of_bars_longer_than_a_day_only_those_days_count_on_which_one_opens(store: DayStore) -> None:
    snapshot = written(store, [date(2024, 1, 1), date(2024, 1, 8)], WEEKS)  # Mondays
    assert snapshot.has_all(date(2023, 12, 30), date(2024, 1, 14))
    assert snapshot.has_all(date(2024, 1, 2), date(2024, 1, 7))
    assert not snapshot.has_all(date(2024, 1, 8), date(2024, 1, 15))


def test_the_first_open_time_is_that_of_the_folder(store: DayStore) -> None:
    assert written(store).first_open is None
    store.remember_first_open(HOURS, day_start(FIRST))
    assert take(store).first_open == day_start(FIRST)


def test_a_snapshot_stays_as_it_is_when_days_come_and_opened_ones_go(store: DayStore) -> None:
    snapshot = written(store, [FIRST, SECOND])
    snapshot.read(FIRST)
    write_days(store, HOURS, [THIRD])
    store.path(HOURS, FIRST).unlink()
    assert snapshot.days == {FIRST, SECOND}
    assert snapshot.read(FIRST).rows.equals(day_bars(HOURS, FIRST))
    assert take(store).days == {SECOND, THIRD}


def test_a_stored_listing_is_used_only_while_the_folder_is_unchanged(store: DayStore) -> None:
    days = list(days_between(date(2024, 1, 1), date(2024, 1, 31)))
    write_days(store, HOURS, days)
    folder = store.folder(HOURS)
    take(store).read_range(days[0], days[-1])  # makes a pack
    time.sleep(2.1)  # a listing is stored when nothing has changed just before
    take(store).read_range(days[0], days[-1])
    assert (folder / ".packs" / "days").exists()
    assert take(store).days == frozenset(days)
    store.path(HOURS, days[7]).unlink()
    assert take(store).days == frozenset(days) - {days[7]}


def test_the_inventory_describes_the_files_and_reports_those_that_can_t_be_read(
    store: DayStore, caplog: pytest.LogCaptureFixture
) -> None:
    snapshot = written(store)
    writable(store.path(HOURS, SECOND)).write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING, logger="ckvd_sql"):
        table = snapshot.inventory([FIRST, SECOND, FIFTH])
    assert table.column("number").to_pylist() == [day_number(FIRST), day_number(FIFTH)]
    assert table.column("rows").to_pylist() == [24, 24]
    assert "2024-01-02" in caplog.text
    assert snapshot.inventory([THIRD, FIFTH]).column("number").to_pylist() == [day_number(THIRD), day_number(FIFTH)]
    assert snapshot.inventory([]).num_rows == 0


def test_what_is_kept_open_is_counted_once(store: DayStore) -> None:
    write_days(store, HOURS, [FIRST])
    size = store.path(HOURS, FIRST).stat().st_size
    for free, exceeded in ((size, False), (size - 1, True)):
        files = CountedFiles()
        files.add(size=100_000_000 - free)
        snapshot = take(store, files=files)
        for _ in range(3):
            snapshot.read(FIRST)
        assert files.is_exceeded() is exceeded


def test_mapped_files_are_counted_as_maps_and_not_as_bytes(store: DayStore) -> None:
    write_days(store, MINUTES, [FIRST, SECOND])
    for free, exceeded in ((2, False), (1, True)):
        files = CountedFiles()
        files.add(maps=20_000 - free, size=100_000_000)
        take(store, MINUTES, files).read_range(FIRST, SECOND)
        assert files.is_exceeded() is exceeded


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not list a process's maps")
def test_a_large_day_is_mapped_for_as_long_as_its_snapshot_lives(store: DayStore) -> None:
    path = str(store.path(MINUTES, FIRST))
    snapshot = written(store, [FIRST], MINUTES)
    snapshot.read(FIRST)
    gc.collect()
    assert path in Path("/proc/self/maps").read_text()
    del snapshot
    gc.collect()
    assert path not in Path("/proc/self/maps").read_text()


def test_a_store_gives_the_same_snapshot_until_the_folder_changes(store: DayStore) -> None:
    write_days(store, HOURS, [FIRST])
    time.sleep(0.1)  # a folder that changed just now may change again within the tick of a clock
    known = store.snapshot(HOURS)
    assert store.snapshot(HOURS) is known
    write_days(store, HOURS, [SECOND])
    assert store.snapshot(HOURS) is not known
    assert store.snapshot(HOURS).days == {FIRST, SECOND}
