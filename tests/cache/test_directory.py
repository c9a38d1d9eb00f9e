"""The stored directory listing of a series: used only while the folder is unchanged."""

from __future__ import annotations

import os
import subprocess
from datetime import date
from typing import TYPE_CHECKING

from ckvd_sql.cache.store import DayStore
from ckvd_sql.disk import files
from ckvd_sql.disk.files import FileStamp
from tests.support.day_files import HOURS, YEAR, expected, read, write

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_stored_listing_is_used_only_until_the_folder_changes(packed: DayStore) -> None:
    write(packed, HOURS, [date(2024, 1, 1)])
    packed.path(HOURS, YEAR[0]).unlink()
    assert DayStore(packed.root).days(HOURS) == {*YEAR[1:], date(2024, 1, 1)}


def test_the_listing_of_a_folder_that_has_just_changed_is_not_stored(
    store: DayStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_TICK", 3_600_000_000_000)
    write(store, HOURS, YEAR)
    for _ in range(2):
        read(DayStore(store.root), HOURS, YEAR[0], YEAR[-1])
    assert not (store.folder(HOURS) / ".packs" / "days").exists()


def test_a_folder_overwritten_with_preserved_timestamps_is_listed_again(packed: DayStore, tmp_path: Path) -> None:
    other = DayStore(tmp_path / "other")
    write(other, HOURS, [*YEAR, date(2024, 1, 1)], salt=1)
    subprocess.run(["cp", "-a", "--force", f"{packed.folder(HOURS)}/.", f"{other.folder(HOURS)}/"], check=True)
    right = expected(HOURS, [*YEAR, date(2024, 1, 1)], {date(2024, 1, 1): 1})
    for store in (other, DayStore(other.root)):
        assert read(store, HOURS, YEAR[0], date(2024, 1, 1)).equals(right)


def test_inode_numbers_may_be_of_any_size() -> None:
    for inode in (0, 1, 2**63 - 1, 2**63, 2**64 - 1):
        status = os.stat_result((0, inode, 0, 0, 0, 0, 5, 0, 7, 0))
        assert -(2**63) <= FileStamp.of(status).inode < 2**63
