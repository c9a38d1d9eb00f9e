"""The listing of a folder's day files, read from the disk or stored."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ckvd_sql.cache.directory import Directory, deserialize, read_names, read_stats, serialize
from ckvd_sql.disk import files
from ckvd_sql.disk.files import FileStamp, changed_at
from ckvd_sql.market.periods import day_number

if TYPE_CHECKING:
    from pathlib import Path

KEY = "binance/spot/BTCUSDT/1h"
DAYS = [date(2023, 12, 31), date(2024, 1, 1), date(2024, 1, 3)]
NUMBERS = [day_number(day) for day in DAYS]

OTHER_NAMES = [
    ".2024-01-05.arrow.tmp",
    ".packs",
    ".listed",
    "2024-01-05.damaged",
    "2024-01-05.arrow.bak",
    "2024-1-05.arrow",
    "2024-02-30.arrow",
    "notes.arrow",
    ".arrow",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for day in (DAYS[2], DAYS[0], DAYS[1]):
        (tmp_path / f"{day}.arrow").write_text(str(day))
    return tmp_path


def test_names_give_the_days_in_order(folder: Path) -> None:
    listing = read_names(str(folder), 5)
    assert listing.numbers.tolist() == NUMBERS
    assert listing.changed == 5
    assert listing.stamps is None


def test_other_names_are_skipped(folder: Path) -> None:
    for name in OTHER_NAMES:
        (folder / name).touch()
    assert read_names(str(folder), 0).numbers.tolist() == NUMBERS
    assert read_stats(str(folder))[0].numbers.tolist() == NUMBERS


def test_a_date_in_another_spelling_is_no_day_file(folder: Path) -> None:
    (folder / "2024-W01-1.arrow").touch()
    assert read_names(str(folder), 0).numbers.tolist() == NUMBERS


def test_stats_give_the_stamp_of_each_file_and_the_time_of_the_folder(folder: Path) -> None:
    listing, _ = read_stats(str(folder))
    assert listing.changed == changed_at(str(folder))
    assert listing.stamps is not None
    found = [FileStamp.of((folder / f"{day}.arrow").stat()) for day in DAYS]
    expected = [(number, *stamp) for number, stamp in zip(NUMBERS, found, strict=True)]
    assert [tuple(row) for row in listing.stamps.tolist()] == expected


def test_a_file_that_is_gone_or_never_was_is_skipped(folder: Path) -> None:
    (folder / "2024-01-04.arrow").symlink_to(folder / "nowhere")
    assert read_stats(str(folder))[0].numbers.tolist() == NUMBERS


def test_an_empty_folder_has_no_days_and_a_missing_one_is_an_os_error(tmp_path: Path) -> None:
    assert read_names(str(tmp_path), 0).numbers.tolist() == []
    listing, _ = read_stats(str(tmp_path))
    assert listing.stamps is not None
    assert listing.stamps.shape == (0, 5)
    for read in (lambda path: read_names(path, 0), read_stats):
        with pytest.raises(FileNotFoundError):
            read(str(tmp_path / "nowhere"))


def test_a_listing_is_stored_only_when_a_later_change_of_the_folder_would_have_another_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_TICK", 3_600_000_000_000)
    assert not read_stats(str(folder))[1]
    monkeypatch.setattr(files, "_TICK", 0)
    assert read_stats(str(folder))[1]


def test_a_range_of_days_is_a_slice(folder: Path) -> None:
    listing = read_names(str(folder), 0)

    def between(first: date, last: date) -> list[int]:
        found: list[int] = listing.numbers[listing.between(day_number(first), day_number(last))].tolist()
        return found

    assert between(DAYS[0], DAYS[-1]) == NUMBERS
    assert between(date(2024, 1, 1), date(2024, 1, 2)) == [NUMBERS[1]]
    assert between(date(2024, 1, 2), date(2024, 1, 2)) == []
    assert between(date(2000, 1, 1), date(2100, 1, 1)) == NUMBERS
    assert Directory.empty().between(0, 10**6) == slice(0, 0)


def test_a_stored_listing_reads_back_with_its_stamps(folder: Path) -> None:
    listing, _ = read_stats(str(folder))
    assert listing.stamps is not None
    found = deserialize(serialize(listing.changed, listing.stamps, KEY), KEY, listing.changed)
    assert found is not None
    assert found.changed == listing.changed
    assert found.numbers.tolist() == NUMBERS
    assert found.stamps is not None
    assert np.array_equal(found.stamps, listing.stamps)


def test_a_stored_listing_of_another_series_or_another_time_or_with_damage_is_none(folder: Path) -> None:
    listing, _ = read_stats(str(folder))
    assert listing.stamps is not None
    stored = serialize(listing.changed, listing.stamps, KEY)
    assert deserialize(stored, "binance/um/BTCUSDT/1h", listing.changed) is None
    assert deserialize(stored, KEY, listing.changed + 1) is None
    assert deserialize(stored[:-1], KEY, listing.changed) is None
    assert deserialize(stored[:-1] + b"\x7f", KEY, listing.changed) is None
    assert deserialize(b"", KEY, listing.changed) is None
