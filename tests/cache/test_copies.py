"""Day files overwritten in place, as copying tools do: never stale rows, whatever clock the disk has."""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.cache.store import DayStore
from ckvd_sql.disk import files
from tests.support.day_files import HOURS, MARCH, MINUTES, YEAR, bars_of, expected, packs, read, write

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path

    from ckvd_sql.market.series import Series

#: Ways of copying: `$FROM` is the folder of the other cache, `$TO` the one that is overwritten, `$FILE` a file's name.
WAYS = {
    "cp": "cp $FROM/$FILE $TO/$FILE",
    "cp -p": "cp -p $FROM/$FILE $TO/$FILE",
    "cp -r": "cp -r $FROM/. $TO/",
    "cp -a": "cp -a $FROM/. $TO/",
    "cp --reflink=auto": "cp --reflink=auto $FROM/$FILE $TO/$FILE",
    "cat": "cat $FROM/$FILE > $TO/$FILE",
    "dd": "dd if=$FROM/$FILE of=$TO/$FILE conv=notrunc status=none",
    "dd, times kept": "dd if=$FROM/$FILE of=$TO/$FILE conv=notrunc status=none; touch -r $FROM/$FILE $TO/$FILE",
    "tar": "tar -C $FROM -cf - $FILE | tar -C $TO -xf -",
    "tar --overwrite": "tar -C $FROM -cf - $FILE | tar -C $TO --overwrite -xf -",
    "mv": "cp -p $FROM/$FILE $TO/other; mv $TO/other $TO/$FILE",
}


def shell(command: str) -> Callable[[Path, Path, str], None]:
    def copy(source: Path, target: Path, file: str) -> None:
        named = command.replace("$FROM", str(source)).replace("$TO", str(target)).replace("$FILE", file)
        subprocess.run(["sh", "-ec", named], check=True)

    return copy


COPIES: dict[str, Callable[[Path, Path, str], object]] = {
    **{way: shell(command) for way, command in WAYS.items()},
    "shutil.copy": lambda source, target, file: shutil.copy(source / file, target / file),
    "shutil.copy2": lambda source, target, file: shutil.copy2(source / file, target / file),
    "shutil.copyfile": lambda source, target, file: shutil.copyfile(source / file, target / file),
}


def make_writable(store: DayStore, series: Series) -> None:
    """As the files of earlier versions are, and all files are to the superuser."""
    for path in store.folder(series).glob("*.arrow"):
        path.chmod(0o644)


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

    def whole_seconds(status: os.stat_result) -> tuple[int, int]:
        return tuple(at // 1_000_000_000 * 1_000_000_000 for at in (status.st_mtime_ns, status.st_ctime_ns))  # type: ignore[return-value]

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
