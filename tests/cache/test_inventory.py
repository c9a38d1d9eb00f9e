"""The inventory: the metadata of all day files of a series in one file, updated as they change."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import ckvd_sql
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.provenance import Provenance, Source
from tests.support.damage import writable
from tests.support.day_files import HOURS, YEAR, bars_of, describe_all


def test_the_inventory_is_stored_and_follows_the_day_files(packed: DayStore) -> None:
    rows = {day: bars_of(HOURS, day).num_rows for day in YEAR}
    assert describe_all(packed) == sorted(rows.items())
    assert (packed.folder(HOURS) / ".packs" / "inventory").is_file()
    packed.path(HOURS, YEAR[3]).unlink()
    provenance = Provenance(Source.VISION, "https://archive.example/x.zip", "ab" * 32, 0, verified=True)
    packed.write(HOURS, YEAR[4], bars_of(HOURS, YEAR[4]).slice(0, 7), provenance)
    rows |= {YEAR[4]: 7}
    del rows[YEAR[3]]
    assert describe_all(packed) == sorted(rows.items())
    with ckvd_sql.connect(cache_dir=packed.root, offline=True) as con:
        found = con.execute("SELECT source, sha256, checksum FROM ckvd_cache_days WHERE date = ?", [YEAR[4]]).fetchall()
    assert found == [("vision", "ab" * 32, "verified")]


def test_the_inventory_equals_the_metadata_of_the_day_files(packed: DayStore) -> None:
    describe_all(packed)
    with ckvd_sql.connect(cache_dir=packed.root, offline=True) as con:
        found = con.execute(
            "SELECT date, rows, bytes, source, url, path, epoch_us(fetched_at) FROM ckvd_cache_days ORDER BY date"
        ).fetchall()
    files = [packed.describe(HOURS, day) for day in YEAR]
    assert found == [
        (
            file.day,
            file.rows,
            file.stamp.size,
            file.provenance.source,
            file.provenance.url,
            str(file.path),
            file.provenance.fetched_at,
        )
        for file in files
    ]


def test_one_day_of_a_cache_is_described_without_opening_the_others(packed: DayStore) -> None:
    shutil.rmtree(packed.folder(HOURS) / ".packs")
    for day in YEAR[1:]:
        writable(packed.path(HOURS, day)).write_bytes(b"")  # opening it would log a warning
    with ckvd_sql.connect(cache_dir=packed.root, offline=True) as con:
        assert con.execute(f"SELECT rows FROM ckvd_cache_days WHERE date = DATE '{YEAR[0]}'").fetchall() == [(24,)]


def test_concurrent_threads_read_the_same_inventory(packed: DayStore) -> None:
    (packed.folder(HOURS) / ".packs" / "inventory").unlink(missing_ok=True)
    snapshot = DayStore(packed.root).snapshot(HOURS)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: snapshot.inventory(YEAR).num_rows, range(8)))
    assert found == [len(YEAR)] * 8
    assert describe_all(DayStore(packed.root)) == [(day, bars_of(HOURS, day).num_rows) for day in YEAR]


def test_the_inventory_of_a_renamed_folder_is_ignored(packed: DayStore) -> None:
    describe_all(packed)
    packed.folder(HOURS).rename(packed.folder(HOURS).with_name("2h"))
    assert describe_all(packed) == []
