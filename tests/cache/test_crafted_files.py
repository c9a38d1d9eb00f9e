"""Day files and packs that somebody else made, with a seal that fits: right rows or `CacheError`, never a crash."""

from __future__ import annotations

import contextlib
import random
import struct
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.cache.schema_message import read_columns, read_metadata
from ckvd_sql.cache.store import DayStore
from ckvd_sql.errors import CacheError
from ckvd_sql.market.bars import BAR_SCHEMA
from tests.support.damage import forged, read_forged, replace, resealed
from tests.support.day_files import HOURS, YEAR, bars_of, expected, read, write

if TYPE_CHECKING:
    from pathlib import Path

DAY = YEAR[0]


def test_a_day_file_that_was_changed_and_sealed_again_neither_crashes_nor_gives_other_rows(tmp_path: Path) -> None:
    store = DayStore(tmp_path / "cache")
    write(store, HOURS, [DAY])
    content = store.path(HOURS, DAY).read_bytes()
    rng = random.Random(10)  # noqa: S311 (reproducible by its seed)
    refused, other = read_forged(store, DAY, [forged(rng, content, 24) for _ in range(1500)], tmp_path / "files")
    assert other == 0
    assert 150 < refused < 1500  # what Arrow alone would use, padding and the foot, is as good as before


def test_a_pack_that_was_changed_and_sealed_again_gives_the_rows_of_its_day_files(packed: DayStore) -> None:
    path = packed.folder(HOURS) / ".packs" / "2023.pack"
    content = path.read_bytes()
    rows = sum(len(bars_of(HOURS, day)) for day in YEAR)
    rng = random.Random(11)  # noqa: S311 (reproducible by its seed)
    for _ in range(60):
        replace(path, forged(rng, content, rows))
        assert read(DayStore(packed.root), HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, YEAR))


@pytest.mark.parametrize("count", ["-1", "0", "23", "25", "999999999", "1e3", ""])
def test_a_day_file_with_another_number_of_rows_is_refused(tmp_path: Path, count: str) -> None:
    store = DayStore(tmp_path)
    write(store, HOURS, [DAY])
    content = store.path(HOURS, DAY).read_bytes()

    def change(damaged: bytearray) -> None:
        at = damaged.index(b"24", damaged.index(b"ckvd.rows") - 16)
        damaged[at - 4 : at + 2] = len(count[:2]).to_bytes(4, "little") + count[:2].encode().ljust(2, b"\0")

    replace(store.path(HOURS, DAY), resealed(content, 24, change))
    with pytest.raises(CacheError, match="can't be used"):
        store.read(HOURS, DAY)


def test_whatever_the_bytes_of_a_schema_are_reading_it_gives_a_value_or_an_error(tmp_path: Path) -> None:
    store = DayStore(tmp_path)
    write(store, HOURS, [DAY])
    content = store.path(HOURS, DAY).read_bytes()
    message = content[16 : 16 + int.from_bytes(content[12:16], "little")]
    assert len(read_columns(message)) == len(BAR_SCHEMA)
    rng = random.Random(12)  # noqa: S311 (reproducible by its seed)
    for number in range(8_000):
        damaged = bytearray(message)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        if number % 3 == 0:
            del damaged[rng.randrange(len(damaged)) :]
        for parse in (read_metadata, read_columns):
            with contextlib.suppress(ValueError, struct.error):
                assert parse(bytes(damaged)) is not None
