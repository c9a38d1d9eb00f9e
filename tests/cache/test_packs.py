"""Packs, the kept look and the inventory: what is derived from day files answers as they do, or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from filelock import FileLock

import ckvd_sql
from ckvd_sql.cache import directory
from ckvd_sql.cache.dayfile import Provenance
from ckvd_sql.cache.store import DayStore
from ckvd_sql.errors import CacheError
from ckvd_sql.market.bars import BAR_SCHEMA
from ckvd_sql.market.series import DAY, HOUR, INTERVALS, Market, Series, day_start, days_between

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

HOURS = Series(Market.SPOT, "BTCUSDT", INTERVALS["1h"])
MINUTES = Series(Market.SPOT, "BTCUSDT", INTERVALS["15m"])
SECONDS = Series(Market.SPOT, "BTCUSDT", INTERVALS["1s"])

YEAR = list(days_between(date(2023, 1, 1), date(2023, 12, 31)))
MARCH = list(days_between(date(2023, 3, 1), date(2023, 3, 31)))


def bars_of(series: Series, day: date, salt: int = 0) -> pa.RecordBatch:
    """A day's bars whose values tell the day, the row, the column and the salt."""
    assert series.interval.step
    opens = np.arange(day_start(day), day_start(day) + DAY, series.interval.step)
    if day.day == 13:  # a day with a gap, and one without a bar
        opens = opens[5:]
    elif day.day == 17:
        opens = opens[:0]
    arrays = [
        pa.array(opens + salt + number if not pa.types.is_timestamp(field.type) else opens).cast(field.type)
        for number, field in enumerate(BAR_SCHEMA)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=BAR_SCHEMA)


def expected(series: Series, days: Iterable[date], salts: dict[date, int] | None = None) -> pa.Table:
    salts = salts or {}
    return pa.Table.from_batches([bars_of(series, day, salts.get(day, 0)) for day in days]).combine_chunks()


def write(store: DayStore, series: Series, days: Iterable[date], salt: int = 0) -> None:
    for day in days:
        store.write(series, day, bars_of(series, day, salt), Provenance("rest", "https://api.example", "", 0))


def read(store: DayStore, series: Series, first: date, last: date) -> pa.Table:
    found = store.snapshot(series).stretch(first, last)
    return pa.Table.from_batches(found, schema=BAR_SCHEMA).combine_chunks()


def packs(store: DayStore, series: Series) -> list[str]:
    return sorted(path.name for path in (store.folder(series) / ".packs").glob("*.pack"))


@pytest.fixture
def store(tmp_path: Path) -> DayStore:
    return DayStore(tmp_path / "cache")


@pytest.fixture
def packed(store: DayStore, monkeypatch: pytest.MonkeyPatch) -> DayStore:
    """A store with a year of 1h in a pack, and a look that is kept without waiting for the folder to settle."""
    monkeypatch.setattr(directory, "_SETTLED", 0)
    write(store, HOURS, YEAR)
    for _ in range(2):
        read(DayStore(store.root), HOURS, YEAR[0], YEAR[-1])
    assert (store.folder(HOURS) / ".packs" / "days").is_file()
    return DayStore(store.root)


@pytest.mark.parametrize(
    ("series", "days", "names"),
    [(HOURS, YEAR, ["2023.pack"]), (MINUTES, MARCH, ["2023-03.pack"]), (SECONDS, MARCH[:2], [])],
)
def test_what_was_read_once_is_packed_by_year_or_month_and_reads_the_same(
    store: DayStore, series: Series, days: list[date], names: list[str]
) -> None:
    write(store, series, days)
    for _ in range(3):
        assert read(DayStore(store.root), series, days[0], days[-1]).equals(expected(series, days))
        assert packs(store, series) == names


def test_a_pack_is_one_mapped_batch_and_a_part_of_it_is_a_slice(packed: DayStore) -> None:
    before = pa.total_allocated_bytes()
    snapshot = packed.snapshot(HOURS)
    (whole,) = snapshot.stretch(YEAR[0], YEAR[-1])
    (part,) = snapshot.stretch(MARCH[0], MARCH[-1])
    assert pa.total_allocated_bytes() - before < whole.nbytes / 10
    assert whole.num_rows == expected(HOURS, YEAR).num_rows
    assert part.equals(expected(HOURS, MARCH).to_batches()[0])
    assert snapshot.read(MARCH[4]).equals(bars_of(HOURS, MARCH[4]))


def test_days_without_a_bar_can_be_packed(store: DayStore) -> None:
    for day in MARCH:
        store.write(HOURS, day, bars_of(HOURS, day).slice(0, 0), Provenance("rest", "https://api.example", "", 0))
    for _ in range(2):
        assert read(DayStore(store.root), HOURS, MARCH[0], MARCH[-1]).num_rows == 0
        assert packs(store, HOURS) == ["2023.pack"]


def test_a_few_days_make_no_pack(store: DayStore) -> None:
    write(store, HOURS, MARCH[:20])
    read(store, HOURS, MARCH[0], MARCH[19])
    assert packs(store, HOURS) == []


def test_a_small_part_of_a_period_makes_no_pack(store: DayStore) -> None:
    write(store, HOURS, YEAR)
    read(store, HOURS, MARCH[0], MARCH[-1])
    assert packs(store, HOURS) == []


def test_a_day_that_comes_later_is_read_beside_the_pack(store: DayStore) -> None:
    write(store, HOURS, YEAR[:200])
    read(store, HOURS, YEAR[0], YEAR[199])
    before = (store.folder(HOURS) / ".packs" / "2023.pack").read_bytes()
    write(store, HOURS, YEAR[200:210])
    assert read(DayStore(store.root), HOURS, YEAR[0], YEAR[209]).equals(expected(HOURS, YEAR[:210]))
    assert (store.folder(HOURS) / ".packs" / "2023.pack").read_bytes() == before


@pytest.mark.parametrize("others", [YEAR[200:205], YEAR[95:100]])
def test_one_day_beside_the_pack_is_read_from_its_file(store: DayStore, others: list[date]) -> None:
    write(store, HOURS, YEAR[100:200])
    read(store, HOURS, YEAR[100], YEAR[199])
    write(store, HOURS, others)
    snapshot = DayStore(store.root).snapshot(HOURS)
    for _ in range(2):
        for day in [*others, YEAR[150]]:
            assert snapshot.read(day).equals(bars_of(HOURS, day))
        days = sorted(YEAR[100:200] + others)
        assert pa.Table.from_batches(snapshot.stretch(YEAR[0], YEAR[-1])).combine_chunks().equals(expected(HOURS, days))
    assert snapshot.stretch(others[0], others[-1])[0].num_rows == expected(HOURS, others).num_rows


def test_a_day_cut_by_a_filter_is_there_beside_the_pack(store: DayStore) -> None:
    write(store, HOURS, YEAR[:200])
    read(store, HOURS, YEAR[0], YEAR[199])
    write(store, HOURS, YEAR[200:205])
    call = "FROM ckvd_klines('BTCUSDT', '1h', '2023-01-01', '2023-07-25')"
    with ckvd_sql.connect(cache_dir=store.root, offline=True) as con:
        con.execute(f"SELECT count(*) {call}").fetchall()
        found = con.execute(f"SELECT count(*) {call} WHERE open_time >= '2023-07-21 05:00+00'").fetchall()
    assert found == [(91,)]


def test_many_days_that_come_later_make_a_new_pack(store: DayStore) -> None:
    write(store, HOURS, YEAR[100:200])
    read(store, HOURS, YEAR[100], YEAR[199])
    write(store, HOURS, YEAR[:60] + YEAR[250:])
    days = YEAR[:60] + YEAR[100:200] + YEAR[250:]
    for _ in range(2):
        assert read(DayStore(store.root), HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, days))
    (pack,) = DayStore(store.root).snapshot(HOURS).stretch(YEAR[0], YEAR[-1])
    assert pack.num_rows == expected(HOURS, days).num_rows


def test_a_day_that_is_replaced_is_read_as_it_is_now(packed: DayStore) -> None:
    other = DayStore(packed.root)
    read(packed, HOURS, YEAR[0], YEAR[-1])
    write(other, HOURS, [MARCH[6]], salt=1)
    right = expected(HOURS, YEAR, {MARCH[6]: 1})
    for store in (packed, other, DayStore(packed.root)):
        assert read(store, HOURS, YEAR[0], YEAR[-1]).equals(right)


def test_a_day_that_is_deleted_is_gone(packed: DayStore) -> None:
    packed.path(HOURS, MARCH[6]).unlink()
    right = expected(HOURS, [day for day in YEAR if day != MARCH[6]])
    for store in (packed, DayStore(packed.root)):
        assert read(store, HOURS, YEAR[0], YEAR[-1]).equals(right)
        with pytest.raises(FileNotFoundError):
            store.snapshot(HOURS).read(MARCH[6])


def test_a_day_that_fills_a_gap_in_the_pack_is_read(store: DayStore) -> None:
    write(store, HOURS, [day for day in YEAR if day != MARCH[6]])
    read(store, HOURS, YEAR[0], YEAR[-1])
    write(store, HOURS, [MARCH[6]])
    assert read(DayStore(store.root), HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, YEAR))


def test_packs_are_safe_to_delete(packed: DayStore) -> None:
    read(packed, HOURS, YEAR[0], YEAR[-1])
    shutil.rmtree(packed.folder(HOURS) / ".packs")
    for store in (packed, DayStore(packed.root)):
        assert read(store, HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, YEAR))


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
def test_what_is_damaged_is_not_believed(packed: DayStore, name: str, damage: str) -> None:
    describe_all(packed)
    path = packed.folder(HOURS) / ".packs" / name
    path.write_bytes(damages()[damage](path.read_bytes()))
    store = DayStore(packed.root)
    assert read(store, HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, YEAR))
    assert describe_all(store) == [(day, bars_of(HOURS, day).num_rows) for day in YEAR]


@pytest.mark.parametrize("name", ["2023.pack", "days"])
def test_another_series_files_are_not_believed(packed: DayStore, name: str) -> None:
    other = Series(Market.SPOT, "ETHUSDT", INTERVALS["1h"])
    write(packed, other, YEAR[1:], salt=1)
    place = packed.folder(other) / ".packs"
    place.mkdir()
    shutil.copy2(packed.folder(HOURS) / ".packs" / name, place / name)
    assert read(DayStore(packed.root), other, YEAR[0], YEAR[-1]).equals(
        expected(other, YEAR[1:], dict.fromkeys(YEAR, 1))
    )


def test_another_year_s_pack_is_not_believed(packed: DayStore) -> None:
    place = packed.folder(HOURS) / ".packs"
    days = [day + timedelta(days=365) for day in YEAR]
    write(packed, HOURS, days)
    (place / "2023.pack").rename(place / "2024.pack")
    assert read(DayStore(packed.root), HOURS, days[0], days[-1]).equals(expected(HOURS, days))


def test_a_disk_that_refuses_packs_costs_nothing_but_time(store: DayStore) -> None:
    write(store, HOURS, YEAR)
    (store.folder(HOURS) / ".packs").write_text("a file in the folder's place")
    for _ in range(2):
        assert read(store, HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, YEAR))
    write(store, MINUTES, MARCH)
    (store.folder(MINUTES) / ".packs").write_text("a file in the folder's place")
    for _ in range(2):
        assert read(store, MINUTES, MARCH[0], MARCH[-1]).equals(expected(MINUTES, MARCH))


def test_a_damaged_day_keeps_its_period_unpacked(store: DayStore) -> None:
    write(store, HOURS, YEAR)
    path = store.path(HOURS, MARCH[6])
    path.write_bytes(path.read_bytes()[:-1])
    for _ in range(2):
        with pytest.raises(CacheError, match=str(MARCH[6])):
            read(store, HOURS, YEAR[0], YEAR[-1])
    assert packs(store, HOURS) == []


def test_verify_finds_other_values_in_a_pack_and_deletes_it(packed: DayStore, caplog: pytest.LogCaptureFixture) -> None:
    path = packed.folder(HOURS) / ".packs" / "2023.pack"
    content = bytearray(path.read_bytes())
    value = np.float64(bars_of(HOURS, MARCH[6]).column("close")[3].as_py()).tobytes()
    content[content.index(value)] ^= 1
    path.write_bytes(content)
    store = DayStore(packed.root)
    assert store.verify(HOURS, MARCH[5]).rows == 24
    assert path.exists()
    assert store.verify(HOURS, MARCH[6]).rows == 24
    assert not path.exists()
    assert "2023.pack has other bars of 2023-03-07" in caplog.text
    assert read(store, HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, YEAR))


def test_a_kept_look_holds_only_until_the_folder_changes(packed: DayStore) -> None:
    write(packed, HOURS, [date(2024, 1, 1)])
    packed.path(HOURS, YEAR[0]).unlink()
    assert DayStore(packed.root).days(HOURS) == {*YEAR[1:], date(2024, 1, 1)}


def test_a_look_at_a_folder_that_has_just_changed_is_not_kept(store: DayStore) -> None:
    write(store, HOURS, YEAR)
    for _ in range(2):
        read(DayStore(store.root), HOURS, YEAR[0], YEAR[-1])
        store.folder(HOURS).chmod(0o755)
    assert not (store.folder(HOURS) / ".packs" / "days").exists()


def describe_all(store: DayStore) -> list[tuple[Any, ...]]:
    with ckvd_sql.connect(cache_dir=store.root, offline=True) as con:
        return con.execute("SELECT date, rows FROM ckvd_cache_days ORDER BY ALL").fetchall()


def test_the_inventory_is_kept_and_follows_the_files(packed: DayStore) -> None:
    rows = {day: bars_of(HOURS, day).num_rows for day in YEAR}
    assert describe_all(packed) == sorted(rows.items())
    assert (packed.folder(HOURS) / ".packs" / "inventory").is_file()
    packed.path(HOURS, YEAR[3]).unlink()
    provenance = Provenance("vision", "https://archive.example/x.zip", "ab" * 32, 0, "verified")
    packed.write(HOURS, YEAR[4], bars_of(HOURS, YEAR[4]).slice(0, 7), provenance)
    rows |= {YEAR[4]: 7}
    del rows[YEAR[3]]
    assert describe_all(packed) == sorted(rows.items())
    with ckvd_sql.connect(cache_dir=packed.root, offline=True) as con:
        found = con.execute("SELECT source, sha256, checksum FROM ckvd_cache_days WHERE date = ?", [YEAR[4]]).fetchall()
    assert found == [("vision", "ab" * 32, "verified")]


def test_the_inventory_says_what_each_file_says(packed: DayStore) -> None:
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
            file.size,
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
        packed.path(HOURS, day).write_bytes(b"")  # would be warned of
    with ckvd_sql.connect(cache_dir=packed.root, offline=True) as con:
        assert con.execute(f"SELECT rows FROM ckvd_cache_days WHERE date = DATE '{YEAR[0]}'").fetchall() == [(24,)]


def test_sql_reads_the_same_from_packs_and_from_day_files(packed: DayStore) -> None:
    queries = [
        "SELECT count(*), max(close), min(open_time) FROM ckvd_klines('BTCUSDT', '1h', {range}) {where}",
        "SELECT * EXCLUDE source FROM ckvd_klines('BTCUSDT', '1h', {range}) {where} ORDER BY open_time",
    ]
    ranges = ["'2023-01-01', '2024-01-01'", "'2023-02-13 05:30', '2023-07-17 12:00'", "'2023-03-16', '2023-03-18'"]
    wheres = [
        "",
        "WHERE open_time >= '2023-03-05 07:00+00' AND open_time < '2023-05-01 00:00+00'",
        "WHERE close % 7 = 0 OR open_time < '2023-02-20 00:00+00'",
        "WHERE symbol = 'ETHUSDT'",
    ]
    asked = [query.format(range=one, where=where) for query in queries for one in ranges for where in wheres]
    with ckvd_sql.connect(cache_dir=packed.root, offline=True) as con:
        con.execute("SET TimeZone = 'UTC'")
        from_packs = [con.execute(query).fetchall() for query in asked]
    shutil.rmtree(packed.folder(HOURS) / ".packs")
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        days = [bars_of(HOURS, day) for day in YEAR]
        words = {"symbol": "BTCUSDT", "source": "cache"}
        table = pa.Table.from_batches(days)
        for name, value in words.items():
            table = table.append_column(name, pa.repeat(value, table.num_rows))
        con.register("bars", table.select(["symbol", *BAR_SCHEMA.names, "source"]))
        for query, found in zip(asked, from_packs, strict=True):
            start, end = query.partition("'1h', ")[2].partition(")")[0].split(", ")
            where = f"(SELECT * FROM bars WHERE open_time >= {start}::TIMESTAMPTZ AND open_time < {end}::TIMESTAMPTZ)"
            plain = query.replace(f"ckvd_klines('BTCUSDT', '1h', {start}, {end})", where)
            assert found == con.execute(plain).fetchall(), query


def test_threads_that_ask_for_the_inventory_at_once_agree(packed: DayStore) -> None:
    (packed.folder(HOURS) / ".packs" / "inventory").unlink(missing_ok=True)
    snapshot = DayStore(packed.root).snapshot(HOURS)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: snapshot.inventory(YEAR).num_rows, range(8)))
    assert found == [len(YEAR)] * 8
    assert describe_all(DayStore(packed.root)) == [(day, bars_of(HOURS, day).num_rows) for day in YEAR]


def test_a_folder_merged_into_another_with_its_times_is_looked_at_again(packed: DayStore, tmp_path: Path) -> None:
    other = DayStore(tmp_path / "other")
    write(other, HOURS, [*YEAR, date(2024, 1, 1)], salt=1)
    subprocess.run(["cp", "-a", f"{packed.folder(HOURS)}/.", f"{other.folder(HOURS)}/"], check=True)
    right = expected(HOURS, [*YEAR, date(2024, 1, 1)], {date(2024, 1, 1): 1})
    for store in (other, DayStore(other.root)):
        assert read(store, HOURS, YEAR[0], date(2024, 1, 1)).equals(right)


def test_a_moved_folder_s_inventory_is_not_another_series(packed: DayStore) -> None:
    describe_all(packed)
    packed.folder(HOURS).rename(packed.folder(HOURS).with_name("2h"))
    assert describe_all(packed) == []


@pytest.mark.parametrize("name", ["days", "inventory", "2023.pack", ".2023.pack.tmp"])
def test_a_pipe_among_the_packs_is_not_waited_for(packed: DayStore, name: str) -> None:
    place = packed.folder(HOURS) / ".packs"
    shutil.rmtree(place)
    place.mkdir()
    os.mkfifo(place / name)
    store = DayStore(packed.root)
    assert read(store, HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, YEAR))
    assert len(describe_all(store)) == len(YEAR)


def test_a_reader_waits_for_nobody_who_writes_packs(store: DayStore) -> None:
    write(store, HOURS, YEAR)
    with ExitStack() as held:
        for number in range(32):
            held.enter_context(FileLock(store.root / ".locks" / f"write-{number:02d}.lock"))
        assert read(store, HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, YEAR))
    assert packs(store, HOURS) == []


def test_inode_numbers_may_be_of_any_size() -> None:
    for inode in (0, 1, 2**63 - 1, 2**63, 2**64 - 1):
        status = os.stat_result((0, inode, 0, 0, 0, 0, 5, 0, 7, 0))
        assert -(2**63) <= directory.stamp_of(status)[2] < 2**63


def test_a_packed_bar_that_closes_after_now_is_left_out(store: DayStore) -> None:
    write(store, HOURS, YEAR)
    late = bars_of(HOURS, YEAR[40]).slice(0, 13)
    at = day_start(YEAR[40]) + 12 * HOUR + HOUR // 2  # off the grid, after a pause
    row = late.slice(12, 1).to_pylist()[0] | {"open_time": at, "close_time": at + HOUR - 1}
    store.write(
        HOURS,
        YEAR[40],
        pa.concat_batches([late.slice(0, 12), pa.RecordBatch.from_pylist([row], BAR_SCHEMA)]),
        Provenance("rest", "https://api.example", "", 0),
    )
    now = f"{YEAR[40]}T13:00:00"
    with ckvd_sql.connect(cache_dir=store.root, offline=True, now=now) as con:
        for end in ("", f", '{YEAR[40]} 12:45'"):
            call = f"ckvd_klines('BTCUSDT', '1h', '2023-01-01'{end})"
            assert con.execute(f"SELECT max(close_time) < '{now}Z' FROM {call}").fetchall() == [(True,)]
