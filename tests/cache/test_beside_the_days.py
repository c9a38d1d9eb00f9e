"""What lies beside the day files, damaged in every way: nothing waits, no row is missing, and what is outside stays."""

from __future__ import annotations

import os
import random
import shutil
import threading
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from ckvd_sql import CryptoKlineVisionData
from ckvd_sql.cache import directory, inventory
from ckvd_sql.cache.folder import SeriesFolder
from ckvd_sql.cache.store import DayStore
from ckvd_sql.disk.files import with_digest, write_whole
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import DAY, day_number, day_start
from tests.support.arrow import table_bars
from tests.support.bars import series
from tests.support.cache_state import sandbox_settings, wrong_days
from tests.support.damage import writable
from tests.support.day_files import HOURS, YEAR, describe_all, expected, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import Truth

#: SOLUSDT was listed on 2020-08-11; the days before it are unlisted.
SOL = series("spot", "SOLUSDT", "1h")
SPAN = ("2020-08-01", "2020-09-20")
GONE = date(2020, 8, 20)

#: Each kind of file or folder below the cache, by a pattern. What a fetch leaves none of is put there by the damage.
KINDS = {
    "first open": f"{SOL.key}/.listed",
    "first open, temporary": f"{SOL.key}/..listed.tmp",
    "listing": f"{SOL.key}/.packs/days",
    "inventory": f"{SOL.key}/.packs/inventory",
    "pack": f"{SOL.key}/.packs/2020.pack",
    "pack, temporary": f"{SOL.key}/.packs/.2020.pack.tmp",
    "derived files": f"{SOL.key}/.packs",
    "day, temporary": f"{SOL.key}/.{GONE}.arrow.tmp",
    "day, set aside": f"{SOL.key}/{GONE}.damaged",
    "weight": ".rest/weight-*.json",
    "weight's lock": ".rest/weight-*.lock",
    "weights": ".rest",
    "locks": ".locks/*.lock",
    "all locks": ".locks",
}


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes() or b"\0")
    content[len(content) // 2] ^= 16
    writable(path).write_bytes(content)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _later_text(path: Path) -> None:
    """What earlier builds wrote, with a first bar that is far too late."""
    writable(path).write_bytes(b"2020-09-15T00:00:00+00:00")


#: Damage to a file that is there; a folder has none of it.
TO_CONTENT: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: writable(path).write_bytes(b""),
    "random": lambda path: writable(path).write_bytes(random.Random(5).randbytes(999)),  # noqa: S311
    "cut": lambda path: os.truncate(writable(path), path.stat().st_size // 2),
    "one bit": _flip,
    "huge": lambda path: os.truncate(writable(path), 1 << 42),
    "plain text": _later_text,
    "no permission": lambda path: path.chmod(0),
}

#: Something else in its place; `mine` is a folder outside of the cache.
IN_ITS_PLACE: dict[str, Callable[[Path, Path], object]] = {
    "folder": lambda path, _: (path / "full").mkdir(parents=True),
    "pipe": lambda path, _: os.mkfifo(path),
    "link": lambda path, mine: path.symlink_to(mine / "file"),
    "link to a folder": lambda path, mine: path.symlink_to(mine),
    "dangling link": lambda path, mine: path.symlink_to(mine / "nowhere"),
    "link to itself": lambda path, _: path.symlink_to(path),
}


def bars(exchange: Sandbox, cache: Path, **more: Any) -> list[Any]:
    client = CryptoKlineVisionData(cache_dir=cache, **sandbox_settings(exchange, timeout=5, retries=0, **more))
    return table_bars(client.klines("SOLUSDT", *SPAN, "1h"))


@pytest.fixture
def filled(exchange: Sandbox, tmp_path: Path) -> Path:
    """A cache with the span, its first bar, its weight, its pack and its inventory."""
    cache = tmp_path / "cache"
    bars(exchange, cache)
    store = DayStore(cache)
    store.snapshot(SOL).read_range(date(2020, 8, 12), date(2020, 9, 19))
    store.snapshot(SOL).inventory(store.days(SOL))
    for name in ("first open", "inventory", "pack"):
        assert (cache / KINDS[name]).is_file()
    return cache


@pytest.mark.timeout(30)
@pytest.mark.parametrize("damage", [*TO_CONTENT, *IN_ITS_PLACE])
@pytest.mark.parametrize("kind", KINDS)
def test_damage_beside_the_days_costs_no_row(
    exchange: Sandbox, filled: Path, tmp_path: Path, truth: Truth, kind: str, damage: str
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("mine")
    for path in list(filled.glob(KINDS[kind])) or [filled / KINDS[kind]]:
        if damage in IN_ITS_PLACE:
            _remove(path)
            path.parent.mkdir(exist_ok=True)
            IN_ITS_PLACE[damage](path, mine)
        elif not path.is_dir():
            path.touch()
            TO_CONTENT[damage](path)
    DayStore(filled).path(SOL, GONE).unlink()
    for _ in range(2):
        assert bars(exchange, filled) == truth("SOLUSDT", "1h", *SPAN)
        assert DayStore(filled).snapshot(SOL).inventory(DayStore(filled).days(SOL)).num_rows == 40
    assert wrong_days(filled) == []
    assert (mine / "file").read_text() == "mine"
    assert not (mine / "nowhere").exists()


@pytest.mark.parametrize("damage", [*TO_CONTENT, *(name for name in IN_ITS_PLACE if name != "folder")])
def test_a_damaged_first_open_time_is_stored_again(
    exchange: Sandbox, filled: Path, tmp_path: Path, damage: str
) -> None:
    path = filled / KINDS["first open"]
    if damage in IN_ITS_PLACE:
        path.unlink()
        IN_ITS_PLACE[damage](path, tmp_path)
    elif damage != "no permission" or os.getuid():
        TO_CONTENT[damage](path)
    bars(exchange, filled)
    assert DayStore(filled).first_open(SOL) == parse_time("2020-08-11T06:00", "listed")
    assert path.is_file()
    assert not path.is_symlink()


@pytest.mark.parametrize("text", ["2010-01-01", "2016-12-31T23:59:59", "2286-11-20", "9999-12-31", "", "soon", "\xff"])
def test_a_first_open_time_that_can_not_be_is_unknown(tmp_path: Path, text: str) -> None:
    folder = SeriesFolder(str(tmp_path), SOL)
    folder.write_first_open(day_start(GONE))
    assert folder.read_first_open() == day_start(GONE)
    write_whole(Path(folder.path, ".listed"), [with_digest(text.encode("latin-1"), SOL.key)])
    assert folder.read_first_open() is None


def test_a_first_open_time_of_another_series_is_unknown(tmp_path: Path) -> None:
    folder, other = (SeriesFolder(str(tmp_path), one) for one in (SOL, HOURS))
    folder.write_first_open(day_start(GONE))
    Path(other.path).mkdir(parents=True)
    shutil.copy(Path(folder.path, ".listed"), Path(other.path, ".listed"))
    assert other.read_first_open() is None


@pytest.mark.timeout(30)
def test_a_first_open_time_that_is_overwritten_while_it_is_read_is_right_or_unknown(tmp_path: Path) -> None:
    folder = SeriesFolder(str(tmp_path), SOL)
    instants = [day_start(GONE), day_start(GONE) + 400 * DAY]
    contents = []
    for instant in instants:
        folder.write_first_open(instant)
        contents.append(Path(folder.path, ".listed").read_bytes())
    ended = threading.Event()

    def overwrite() -> None:
        while not ended.is_set():
            for content in contents:
                writable(Path(folder.path, ".listed")).write_bytes(content)

    writer = threading.Thread(target=overwrite)
    writer.start()
    try:
        found = {folder.read_first_open() for _ in range(3000)}
    finally:
        ended.set()
        writer.join()
    assert found <= {None, *instants}


def stamps_of(*numbers: int) -> np.ndarray[Any, Any]:
    return np.array([(number, 1, 1, 2, 3) for number in numbers], dtype=np.int64).reshape(-1, 5)


@pytest.mark.parametrize(
    "numbers", [(20_000, 19_999), (20_000, 20_000), (-(2**63), 20_000), (20_000, 2**62), (-800_000,), (3_000_000,)]
)
def test_a_stored_listing_that_can_not_be_is_none(numbers: tuple[int, ...]) -> None:
    right = directory.serialize(7, stamps_of(19_999, 20_000), "key")
    assert directory.deserialize(right, "key", 7) is not None
    assert directory.deserialize(directory.serialize(7, stamps_of(*numbers), "key"), "key", 7) is None


@pytest.mark.parametrize("extra", [1, 8, 31])
def test_a_stored_listing_with_a_part_of_a_row_is_none(extra: int) -> None:
    content = np.int64(7).tobytes() + stamps_of(20_000).tobytes() + bytes(extra)
    assert directory.deserialize(with_digest(content, "key"), "key", 7) is None


@pytest.mark.parametrize("content", [b"", b"1234567", np.int64(7).tobytes() * 2])
def test_a_stored_listing_too_short_for_a_row_is_none_or_another_time(content: bytes) -> None:
    assert directory.deserialize(with_digest(content, "key"), "key", 7) is None


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("rows", [-1, 24]),
        ("rows", [24, 10**12]),
        ("number", [2, 1]),
        ("number", [1, 1]),
        ("source", ["vision", ""]),
        ("source", ["vision", "cache "]),
    ],
)
def test_a_stored_inventory_that_can_not_be_is_none(column: str, values: list[int | str]) -> None:
    right: dict[str, list[Any]] = {name: [1, 2] for name in inventory.INVENTORY_SCHEMA.names[:6]}
    right |= {"source": ["rest"] * 2, "url": [""] * 2, "fetched_at": [0, 0]}
    right |= {name: [None, None] for name in ("sha256", "checksum", "gaps", "duplicates")}

    def stored(columns: dict[str, list[Any]]) -> bytes:
        return inventory.serialize(pa.table(columns, schema=inventory.INVENTORY_SCHEMA), "key")

    assert inventory.deserialize(stored(right), "key") is not None
    assert inventory.deserialize(stored(right | {column: values}), "key") is None


WIDTHS = np.array([6] * 6, dtype="<u2").tobytes()
ROW = bytes(7 * 8 + 6 * 6)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"ARROW1",
        WIDTHS[:-1],
        WIDTHS + ROW[:-1],
        bytes(12),
        b"\xff" * 12,
        WIDTHS + ROW.replace(bytes(7 * 8), bytes(7 * 8 - 8) + b"\xff" * 7 + b"\x7f"),
        WIDTHS + bytes(7 * 8) + b"\xff" * 36,
    ],
)
def test_a_stored_inventory_of_other_bytes_is_none(content: bytes) -> None:
    assert inventory.deserialize(with_digest(content, "3 key"), "key") is None
    rest = b"rest".ljust(6, b"\0")
    assert inventory.deserialize(with_digest(WIDTHS + bytes(7 * 8) + rest + bytes(30), "3 key"), "key") is not None


def test_links_to_the_cache_a_series_and_a_day_are_read_and_not_written_through(packed: DayStore) -> None:
    outside = packed.root.with_name("outside")
    outside.mkdir()
    day = packed.path(HOURS, YEAR[5])
    before = day.read_bytes()
    day.rename(outside / "day")
    day.symlink_to(outside / "day")
    folder = packed.folder(HOURS)
    folder.rename(outside / "series")
    folder.symlink_to(outside / "series")
    packed.root.rename(outside / "cache")
    packed.root.symlink_to(outside / "cache")
    store = DayStore(packed.root)
    assert read(store, HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, YEAR))
    assert len(describe_all(store)) == len(YEAR)
    file = store.describe(HOURS, YEAR[5])
    store.write(HOURS, YEAR[5], store.read(HOURS, YEAR[5]).rows, file.provenance)
    assert not day.is_symlink()
    assert (outside / "day").read_bytes() == before
    assert store.snapshot(HOURS).has_all(YEAR[0], YEAR[-1])
    assert day_number(YEAR[5]) == day_number(file.day)
