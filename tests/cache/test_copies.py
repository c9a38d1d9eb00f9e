"""Day files overwritten in place, as copying tools do: never stale rows, whatever clock the disk has."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.cache.store import DayStore
from ckvd_sql.disk import files
from tests.support.copies import COPIES, make_writable, whole_seconds
from tests.support.day_files import HOURS, MARCH, MINUTES, YEAR, bars_of, expected, packs, read, write

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from ckvd_sql.market.series import Series


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize(("series", "days"), [(HOURS, YEAR), (MINUTES, MARCH)], ids=["years", "months"])
def test_a_day_that_was_overwritten_is_read_with_its_new_bars(
    store: DayStore, tmp_path: Path, way: str, series: Series, days: list[date]
) -> None:
    write(store, series, days)
    for _ in range(2):
        assert read(DayStore(store.root), series, days[0], days[-1]).equals(expected(series, days))
    assert packs(store, series)
    long_lived = DayStore(store.root)
    read(long_lived, series, days[0], days[-1])
    read(store, series, days[0], days[-1])

    make_writable(store, series)
    other, day = DayStore(tmp_path / "other"), days[7]
    write(other, series, [day], salt=1)
    time.sleep(0.02)  # the clock of files has ticked
    COPIES[way](other.folder(series), store.folder(series), f"{day}.arrow")

    for reader in (store, long_lived, DayStore(store.root)):
        assert read(reader, series, days[0], days[-1]).equals(expected(series, days, {day: 1}))
        assert reader.snapshot(series).read(day).rows.equals(bars_of(series, day, 1))


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of files and folders without a fraction of a second, as some disks have them."""
    monkeypatch.setattr(files, "_times", whole_seconds)


@pytest.mark.usefixtures("seconds")
def test_what_was_just_written_is_read_on_a_disk_that_counts_seconds(store: DayStore) -> None:
    reader = DayStore(store.root)
    for number, day in enumerate(YEAR[:40]):
        write(store, HOURS, [day])
        days = YEAR[: number + 1]
        assert reader.days(HOURS) == frozenset(days)
        assert read(reader, HOURS, days[0], days[-1]).equals(expected(HOURS, days))


@pytest.mark.usefixtures("seconds")
def test_what_was_just_overwritten_is_read_on_a_disk_that_counts_seconds(store: DayStore, tmp_path: Path) -> None:
    days = YEAR[:40]
    write(store, HOURS, days)
    make_writable(store, HOURS)
    reader = DayStore(store.root)
    for salt in range(1, 30):
        other = DayStore(tmp_path / str(salt))
        write(other, HOURS, [days[5]], salt=salt)
        shutil.copyfile(other.path(HOURS, days[5]), store.path(HOURS, days[5]))
        assert read(reader, HOURS, days[0], days[-1]).equals(expected(HOURS, days, {days[5]: salt}))


@pytest.mark.usefixtures("seconds")
def test_packs_are_made_and_used_once_a_disk_that_counts_seconds_has_been_quiet(store: DayStore) -> None:
    write(store, HOURS, YEAR)
    read(store, HOURS, YEAR[0], YEAR[-1])
    assert packs(store, HOURS) == []
    time.sleep(3.2)
    for reader in (store, DayStore(store.root)):
        assert read(reader, HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, YEAR))
    assert packs(store, HOURS) == ["2023.pack"]
    before = (store.folder(HOURS) / ".packs" / "2023.pack").stat()
    assert read(DayStore(store.root), HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, YEAR))
    assert (store.folder(HOURS) / ".packs" / "2023.pack").stat() == before
