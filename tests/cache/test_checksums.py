"""The memory of archives whose published checksum is wrong for good: shared, bounded, ignored where damaged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.provenance import WrongChecksum
from tests.support.damage import writable
from tests.support.day_files import HOURS, MINUTES

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://archive.example/BTCUSDT-1h-2024-06-01.zip"
WRONG = WrongChecksum("a" * 64, "b" * 64)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def recalled(root: Path, url: str = URL) -> WrongChecksum | None:
    return DayStore(root).wrong_checksums.recall(HOURS, url)


def test_it_is_kept_in_the_folder_of_its_series(root: Path) -> None:
    store = DayStore(root)
    assert store.wrong_checksums.recall(HOURS, URL) is None
    store.wrong_checksums.remember(HOURS, URL, WRONG)
    assert store.wrong_checksums.recall(HOURS, URL) == recalled(root) == WRONG
    assert recalled(root, f"{URL}?") is None
    assert DayStore(root).wrong_checksums.recall(MINUTES, URL) is None
    assert [path.name for path in store.folder(HOURS).iterdir()] == [".checksums"]
    assert store.days(HOURS) == frozenset()


def test_the_last_one_of_an_archive_counts(root: Path) -> None:
    later = WrongChecksum("c" * 64, "d" * 64)
    for wrong in (WRONG, later):
        DayStore(root).wrong_checksums.remember(HOURS, URL, wrong)
    assert recalled(root) == later
    assert len((DayStore(root).folder(HOURS) / ".checksums").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"<html>", f"{'a' * 63} {'b' * 64} {URL}\n".encode(), f"{'a' * 64} {URL}".encode()],
)
def test_a_damaged_memory_is_ignored_and_written_anew(root: Path, content: bytes) -> None:
    path = DayStore(root).folder(HOURS) / ".checksums"
    path.parent.mkdir(parents=True)
    writable(path).write_bytes(content)
    assert recalled(root) is None
    DayStore(root).wrong_checksums.remember(HOURS, URL, WRONG)
    assert recalled(root) == WRONG


def test_a_folder_in_its_place_is_no_error_and_the_process_still_remembers(root: Path) -> None:
    store = DayStore(root)
    (store.folder(HOURS) / ".checksums").mkdir(parents=True)
    store.wrong_checksums.remember(HOURS, URL, WRONG)
    assert store.wrong_checksums.recall(HOURS, URL) == WRONG
    assert recalled(root) is None


def test_a_url_that_no_line_can_hold_harms_no_other(root: Path) -> None:
    strange = f"folder\n{'c' * 64} {'d' * 64} {URL}"
    for url in (URL, strange, "folder\udcff"):
        DayStore(root).wrong_checksums.remember(HOURS, url, WRONG)
    assert recalled(root) == WRONG


def test_concurrent_writers_lose_nothing(root: Path) -> None:
    urls = [f"{URL}/{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda url: DayStore(root).wrong_checksums.remember(HOURS, url, WRONG), urls))
    assert [recalled(root, url) for url in urls] == [WRONG] * 24


def test_its_size_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckvd_sql.cache.checksums._MOST", 3)
    store = DayStore(root)
    for number in range(5):
        store.wrong_checksums.remember(HOURS, f"{URL}/{number}", WRONG)
    for known in (store, DayStore(root)):
        found = [known.wrong_checksums.recall(HOURS, f"{URL}/{number}") is not None for number in range(5)]
        assert found == [False, False, True, True, True]
