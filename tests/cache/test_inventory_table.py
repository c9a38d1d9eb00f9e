"""The inventory: the metadata of day files as a table, whose rows are valid as long as the files are the same."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ckvd_sql.cache.dayfile import DayFile
from ckvd_sql.cache.inventory import INVENTORY_SCHEMA, deserialize, from_files, serialize, valid_rows
from ckvd_sql.disk.files import FileStamp, with_digest
from ckvd_sql.market.periods import day_number, moment_of
from ckvd_sql.market.provenance import GapCheck, Provenance, Source
from tests.support.bars import series

HOURS = series("spot", "BTCUSDT", "1h")
FETCHED_AT = 1_718_452_830_000_001

ARCHIVED = Provenance(
    Source.VISION, "https://data/x.zip", "ab" * 32, FETCHED_AT, verified=True, gaps=GapCheck.CONFIRMED
)
LIVE = Provenance(Source.REST, "https://api", "", FETCHED_AT)


def file(number: int, provenance: Provenance = ARCHIVED) -> DayFile:
    day = date(2024, 1, number)
    return DayFile(
        HOURS, day, Path(f"{day}.arrow"), 24 - number, FileStamp(900, 1000 + number, 2000, -number), provenance
    )


def stamps(*files: DayFile) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return np.array([(day_number(one.day), *one.stamp) for one in files], dtype=np.int64).reshape(-1, 5)


def test_a_row_has_the_stamp_and_the_metadata_of_its_file() -> None:
    table = from_files([file(1), file(2, LIVE)])
    assert table.schema.equals(INVENTORY_SCHEMA)
    first, second = table.to_pylist()
    assert first == {
        "number": day_number(date(2024, 1, 1)),
        "modified": 900,
        "changed": 1001,
        "bytes": 2000,
        "inode": -1,
        "rows": 23,
        "source": "vision",
        "url": "https://data/x.zip",
        "sha256": "ab" * 32,
        "checksum": "verified",
        "gaps": "confirmed",
        "duplicates": None,
        "fetched_at": moment_of(FETCHED_AT),
    }
    assert (second["source"], second["sha256"], second["checksum"], second["gaps"]) == ("rest", None, None, None)


def test_an_inventory_of_no_files_has_the_same_columns() -> None:
    assert from_files([]).schema.equals(INVENTORY_SCHEMA)
    assert from_files([]).num_rows == 0


def test_rows_are_valid_while_their_files_are_in_their_places() -> None:
    files = [file(1), file(2), file(3)]
    table = from_files(files)
    assert valid_rows(table, stamps(*files)).equals(table)
    assert valid_rows(table, stamps(*files, file(4))).equals(table)  # a new file
    assert valid_rows(table, stamps(files[0], files[2])).equals(table.take([0, 2]))  # a file that is gone


def test_no_row_is_valid_where_all_files_are_others() -> None:
    table = from_files([file(1), file(2)])
    for now in (stamps(), stamps(file(3))):
        found = valid_rows(table, now)
        assert found.schema.equals(INVENTORY_SCHEMA)
        assert found.num_rows == 0


@pytest.mark.parametrize("field", range(5))
def test_a_row_is_not_valid_for_a_file_that_differs_in_any_part_of_its_stamp(field: int) -> None:
    table, now = from_files([file(1), file(2)]), stamps(file(1), file(2))
    now[1, field] += 1
    assert valid_rows(table, now).equals(table.take([0]))


def test_a_stored_inventory_reads_back() -> None:
    for table in (from_files([]), from_files([file(1), file(2, LIVE)])):
        found = deserialize(serialize(table, HOURS.key), HOURS.key)
        assert found is not None
        assert found.equals(table)


def test_a_stored_inventory_in_several_chunks_reads_back() -> None:
    table = pa.concat_tables([from_files([file(1)]), from_files([file(2)])])
    found = deserialize(serialize(table, HOURS.key), HOURS.key)
    assert found is not None
    assert found.equals(table)


def test_a_stored_inventory_with_damage_or_of_another_series_is_none() -> None:
    stored = serialize(from_files([file(1)]), HOURS.key)
    assert deserialize(stored, "binance/um/BTCUSDT/1h") is None
    assert deserialize(stored[:-1], HOURS.key) is None
    assert deserialize(b"", HOURS.key) is None
    for number in range(0, len(stored), 50):
        damaged = bytearray(stored)
        damaged[number] ^= 1
        assert deserialize(bytes(damaged), HOURS.key) is None


def test_an_inventory_of_an_earlier_format_is_none() -> None:
    table = from_files([file(1)])
    content = serialize(table, HOURS.key)[16:]
    assert deserialize(with_digest(content, f"3 {HOURS.key}"), HOURS.key) is not None
    for earlier in (HOURS.key, f"2 {HOURS.key}"):
        assert deserialize(with_digest(content, earlier), HOURS.key) is None
