"""Packs, stored listings and inventories that are damaged, foreign or not writable: day files are read instead."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ckvd_sql.cache.store import DayStore
from ckvd_sql.disk.locks import LockFile
from ckvd_sql.errors import CacheError
from ckvd_sql.maintenance import verify
from ckvd_sql.market.series import INTERVALS, Market, Series
from ckvd_sql.scan.resolver import Resolver
from ckvd_sql.settings import Settings
from tests.support.damage import writable
from tests.support.day_files import HOURS, MARCH, MINUTES, YEAR, bars_of, describe_all, expected, packs, read, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def damages() -> dict[str, Callable[[bytes], bytes]]:
    def flipped(at: float) -> Callable[[bytes], bytes]:
        return lambda content: bytes(
            byte ^ (64 if number == int(at * (len(content) - 1)) else 0) for number, byte in enumerate(content)
        )

    return {
        "empty": lambda _: b"",
        "cut": lambda content: content[: len(content) // 2],
        "first byte": flipped(0),
        "head": flipped(0.0005),
        "foot": flipped(0.9995),
        "last byte": flipped(1),
        "text": lambda _: b"<html>Please sign in</html>" * 50,
    }


@pytest.mark.parametrize("damage", damages())
@pytest.mark.parametrize("name", ["2023.pack", "days", "inventory"])
def test_a_damaged_derived_file_is_ignored(packed: DayStore, name: str, damage: str) -> None:
    describe_all(packed)
    path = packed.folder(HOURS) / ".packs" / name
    writable(path).write_bytes(damages()[damage](path.read_bytes()))
    store = DayStore(packed.root)
    assert read(store, HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, YEAR))
    assert describe_all(store) == [(day, bars_of(HOURS, day).num_rows) for day in YEAR]


@pytest.mark.parametrize("name", ["2023.pack", "days"])
def test_derived_files_of_another_series_are_ignored(packed: DayStore, name: str) -> None:
    other = Series(Market.SPOT, "ETHUSDT", INTERVALS["1h"])
    write(packed, other, YEAR[1:], salt=1)
    place = packed.folder(other) / ".packs"
    place.mkdir()
    shutil.copy2(packed.folder(HOURS) / ".packs" / name, place / name)
    assert read(DayStore(packed.root), other, YEAR[0], YEAR[-1]).equals(
        expected(other, YEAR[1:], dict.fromkeys(YEAR, 1))
    )


def test_a_pack_of_another_year_is_ignored(packed: DayStore) -> None:
    place = packed.folder(HOURS) / ".packs"
    days = [day + timedelta(days=365) for day in YEAR]
    write(packed, HOURS, days)
    (place / "2023.pack").rename(place / "2024.pack")
    assert read(DayStore(packed.root), HOURS, days[0], days[-1]).equals(expected(HOURS, days))


def test_reading_works_where_packs_can_not_be_written(store: DayStore) -> None:
    write(store, HOURS, YEAR)
    (store.folder(HOURS) / ".packs").write_text("a file in the folder's place")
    for _ in range(2):
        assert read(store, HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, YEAR))
    write(store, MINUTES, MARCH)
    (store.folder(MINUTES) / ".packs").write_text("a file in the folder's place")
    for _ in range(2):
        assert read(store, MINUTES, MARCH[0], MARCH[-1]).equals(expected(MINUTES, MARCH))


def test_a_period_with_a_damaged_day_is_not_packed(store: DayStore) -> None:
    write(store, HOURS, YEAR)
    path = store.path(HOURS, MARCH[6])
    writable(path).write_bytes(path.read_bytes()[:-1])
    for _ in range(2):
        with pytest.raises(CacheError, match=str(MARCH[6])):
            read(store, HOURS, YEAR[0], YEAR[-1])
    assert packs(store, HOURS) == []


def damage_pack(store: DayStore) -> Path:
    """Change a byte among the values of the only pack; the value is one of `MARCH[6]`."""
    path = store.folder(HOURS) / ".packs" / "2023.pack"
    content = bytearray(path.read_bytes())
    value = np.float64(bars_of(HOURS, MARCH[6]).column("close")[3].as_py()).tobytes()
    content[content.index(value)] ^= 1
    writable(path).write_bytes(content)
    return path


def test_verify_deletes_a_pack_whose_values_are_damaged_and_says_so(packed: DayStore) -> None:
    path = damage_pack(packed)
    found = list(verify(Resolver(Settings.load(cache_dir=packed.root))))
    assert not path.exists()
    (problem,) = [one for one in found if one.problem]
    assert problem.problem == f"pack {path} had other bars than the day file; it was deleted"
    assert problem.repaired
    assert len(found) == len(YEAR)
    assert read(DayStore(packed.root), HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, YEAR))


def test_a_query_does_not_use_a_pack_whose_values_are_damaged(
    packed: DayStore, caplog: pytest.LogCaptureFixture
) -> None:
    path = damage_pack(packed)
    assert read(DayStore(packed.root), HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, YEAR))
    assert f"pack {path} can't be used: its values of close are not those that were written" in caplog.text


@pytest.mark.parametrize("name", ["days", "inventory", "2023.pack", ".2023.pack.tmp"])
def test_a_named_pipe_among_the_packs_does_not_block(packed: DayStore, name: str) -> None:
    place = packed.folder(HOURS) / ".packs"
    shutil.rmtree(place)
    place.mkdir()
    os.mkfifo(place / name)
    store = DayStore(packed.root)
    assert read(store, HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, YEAR))
    assert len(describe_all(store)) == len(YEAR)


def test_a_reader_does_not_wait_for_pack_write_locks(store: DayStore) -> None:
    write(store, HOURS, YEAR)
    with ExitStack() as held:
        for number in range(32):
            path = store.root / ".locks" / f"write-{number:02d}.lock"
            assert held.enter_context(LockFile(path, store.root).hold()).held
        assert read(store, HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, YEAR))
    assert packs(store, HOURS) == []
