"""A series' folder: its paths, its small files, its locks, and the budget of what is kept open."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from ckvd_sql.cache.folder import SeriesFolder
from ckvd_sql.market.periods import DAY, Month, day_start
from tests.support.bars import series
from tests.support.damage import writable
from tests.support.open_files import CountedFiles

HOURS = series("spot", "BTCUSDT", "1h")
LISTED = day_start(date(2017, 8, 17))


@pytest.fixture
def folder(tmp_path: Path) -> SeriesFolder:
    return SeriesFolder(str(tmp_path), HOURS)


def test_day_files_and_derived_files_have_their_places(folder: SeriesFolder, tmp_path: Path) -> None:
    assert folder.path == f"{tmp_path}/binance/spot/BTCUSDT/1h"
    assert folder.day_path(date(2024, 1, 2)) == f"{folder.path}/2024-01-02.arrow"
    assert folder.derived_path("2024.pack") == f"{folder.path}/.packs/2024.pack"
    assert not list(tmp_path.iterdir())  # naming them makes none


def test_the_first_open_time_reads_back(folder: SeriesFolder) -> None:
    assert folder.read_first_open() is None
    for instant in (LISTED + 5 * DAY + 1, LISTED + 3 * DAY):
        folder.write_first_open(instant)
        assert folder.read_first_open() == instant


@pytest.mark.parametrize("text", ["", "soon", "2024-13-01", "\0"])
def test_a_first_open_time_that_is_damaged_is_unknown(folder: SeriesFolder, text: str) -> None:
    folder.write_first_open(LISTED)
    writable(Path(folder.path, ".listed")).write_text(text)
    assert folder.read_first_open() is None


def test_series_do_not_share_a_first_open_time(folder: SeriesFolder, tmp_path: Path) -> None:
    folder.write_first_open(LISTED)
    assert SeriesFolder(str(tmp_path), series("spot", "BTCUSDT", "1d")).read_first_open() is None
    assert SeriesFolder(str(tmp_path), series("um", "BTCUSDT", "1h")).read_first_open() is None


def test_a_derived_file_is_written_whole(folder: SeriesFolder, tmp_path: Path) -> None:
    (tmp_path / HOURS.key).mkdir(parents=True)
    assert folder.write_derived("2024.pack", [b"one ", b"two"])
    with open(folder.derived_path("2024.pack"), "rb") as file:  # noqa: PTH123
        assert file.read() == b"one two"


def test_a_derived_file_is_not_written_where_there_are_no_day_files(folder: SeriesFolder, tmp_path: Path) -> None:
    assert not folder.write_derived("2024.pack", [b"one"])
    assert not (tmp_path / "binance").exists()


def test_a_disk_that_refuses_a_derived_file_is_no_error(folder: SeriesFolder, tmp_path: Path) -> None:
    (tmp_path / HOURS.key).mkdir(parents=True)
    (tmp_path / HOURS.key / ".packs").write_text("a file in the way")
    assert not folder.write_derived("2024.pack", [b"one"])


@pytest.mark.timeout(10)
def test_a_derived_file_that_another_writes_is_not_waited_for(folder: SeriesFolder, tmp_path: Path) -> None:
    (tmp_path / HOURS.key).mkdir(parents=True)
    with SeriesFolder(str(tmp_path), HOURS).lock(".packs/2024.pack").hold():
        assert not folder.write_derived("2024.pack", [b"one"])
    assert folder.write_derived("2024.pack", [b"one"])


def test_a_lock_is_for_one_writer_of_a_name_in_a_folder(folder: SeriesFolder, tmp_path: Path) -> None:
    again = SeriesFolder(str(tmp_path), HOURS)
    with folder.lock("2024-01").hold(), again.lock("2024-01").hold(wait=False) as second:
        assert not second.held
    with again.lock("2024-01").hold(wait=False) as second:
        assert second.held


def test_the_number_of_lock_files_stays_bounded(tmp_path: Path) -> None:
    for number in range(20):
        one = SeriesFolder(str(tmp_path), series("spot", f"COIN{number}USDT", "1h"))
        for month in (Month(2020 + number, 1 + number % 12), Month(2019, 5)):
            with one.lock(str(month)).hold():
                pass
    assert 10 < len(list((tmp_path / ".locks").iterdir())) <= 32


def test_a_lock_is_made_again_in_a_folder_that_was_deleted(folder: SeriesFolder, tmp_path: Path) -> None:
    with folder.lock("2024-01").hold():
        pass
    shutil.rmtree(tmp_path / ".locks")
    with folder.lock("2024-01").hold():
        assert (tmp_path / ".locks").is_dir()


def test_files_are_released_when_there_are_too_many_maps_or_bytes_and_the_count_starts_over() -> None:
    files = CountedFiles()
    assert not files.is_exceeded()
    for kind in ("maps", "size"):
        for _ in range(5):
            files.add(**{kind: 10_000})
            if kind == "size":
                files.add(size=30_000_000)
        assert files.is_exceeded()
        assert not files.is_exceeded()


def test_a_process_never_has_more_maps_than_the_system_allows() -> None:
    files = CountedFiles()
    files.add(maps=15_000, size=90_000_000)
    assert not files.is_exceeded()
    files.add(maps=10_000)
    assert files.is_exceeded()
