"""Packs: one file that holds a year or a month of days, and reads the same as their day files."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest

import ckvd_sql
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.bars import BAR_SCHEMA, concat_batches
from ckvd_sql.market.periods import HOUR, day_start
from ckvd_sql.market.provenance import Provenance, Source
from tests.support.day_files import HOURS, MARCH, MINUTES, SECONDS, YEAR, bars_of, expected, packs, read, write

if TYPE_CHECKING:
    from datetime import date

    from ckvd_sql.market.series import Series


@pytest.mark.parametrize(
    ("series", "days", "names"),
    [(HOURS, YEAR, ["2023.pack"]), (MINUTES, MARCH, ["2023-03.pack"]), (SECONDS, MARCH[:2], [])],
)
def test_days_that_were_read_are_packed_by_year_or_month_and_read_the_same(
    store: DayStore, series: Series, days: list[date], names: list[str]
) -> None:
    write(store, series, days)
    for _ in range(3):
        assert read(DayStore(store.root), series, days[0], days[-1]).equals(expected(series, days))
        assert packs(store, series) == names


def test_a_pack_is_one_mapped_batch_and_a_part_of_it_is_a_slice(packed: DayStore) -> None:
    before = pa.total_allocated_bytes()
    snapshot = packed.snapshot(HOURS)
    ((_, whole),) = snapshot.read_range(YEAR[0], YEAR[-1])
    ((_, part),) = snapshot.read_range(MARCH[0], MARCH[-1])
    assert pa.total_allocated_bytes() - before < whole.nbytes / 10
    assert whole.num_rows == expected(HOURS, YEAR).num_rows
    assert part.equals(expected(HOURS, MARCH).to_batches()[0])
    assert snapshot.read(MARCH[4]).rows.equals(bars_of(HOURS, MARCH[4]))


def test_days_without_a_bar_can_be_packed(store: DayStore) -> None:
    for day in MARCH:
        store.write(HOURS, day, bars_of(HOURS, day).slice(0, 0), Provenance(Source.REST, "https://api.example", "", 0))
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


def test_a_day_written_after_the_pack_is_read_from_its_day_file(store: DayStore) -> None:
    write(store, HOURS, YEAR[:200])
    read(store, HOURS, YEAR[0], YEAR[199])
    before = (store.folder(HOURS) / ".packs" / "2023.pack").read_bytes()
    write(store, HOURS, YEAR[200:210])
    assert read(DayStore(store.root), HOURS, YEAR[0], YEAR[209]).equals(expected(HOURS, YEAR[:210]))
    assert (store.folder(HOURS) / ".packs" / "2023.pack").read_bytes() == before


@pytest.mark.parametrize("others", [YEAR[200:205], YEAR[95:100]])
def test_single_days_outside_the_pack_are_read_from_their_day_files(store: DayStore, others: list[date]) -> None:
    write(store, HOURS, YEAR[100:200])
    read(store, HOURS, YEAR[100], YEAR[199])
    write(store, HOURS, others)
    snapshot = DayStore(store.root).snapshot(HOURS)
    for _ in range(2):
        for day in [*others, YEAR[150]]:
            assert snapshot.read(day).rows.equals(bars_of(HOURS, day))
        days = sorted(YEAR[100:200] + others)
        parts = [part.rows for part in snapshot.read_range(YEAR[0], YEAR[-1])]
        assert pa.Table.from_batches(parts).combine_chunks().equals(expected(HOURS, days))
    assert snapshot.read_range(others[0], others[-1])[0].rows.num_rows == expected(HOURS, others).num_rows


def test_a_day_that_a_filter_cuts_is_read_in_addition_to_the_pack(store: DayStore) -> None:
    write(store, HOURS, YEAR[:200])
    read(store, HOURS, YEAR[0], YEAR[199])
    write(store, HOURS, YEAR[200:205])
    call = "FROM ckvd_klines('BTCUSDT', '1h', '2023-01-01', '2023-07-25')"
    with ckvd_sql.connect(cache_dir=store.root, offline=True) as con:
        con.execute(f"SELECT count(*) {call}").fetchall()
        found = con.execute(f"SELECT count(*) {call} WHERE open_time >= '2023-07-21 05:00+00'").fetchall()
    assert found == [(91,)]


def test_many_days_written_after_the_pack_make_a_new_pack(store: DayStore) -> None:
    write(store, HOURS, YEAR[100:200])
    read(store, HOURS, YEAR[100], YEAR[199])
    write(store, HOURS, YEAR[:60] + YEAR[250:])
    days = YEAR[:60] + YEAR[100:200] + YEAR[250:]
    for _ in range(2):
        assert read(DayStore(store.root), HOURS, YEAR[0], YEAR[-1]).equals(expected(HOURS, days))
    ((_, pack),) = DayStore(store.root).snapshot(HOURS).read_range(YEAR[0], YEAR[-1])
    assert pack.num_rows == expected(HOURS, days).num_rows


def test_a_replaced_day_is_read_with_its_new_bars(packed: DayStore) -> None:
    other = DayStore(packed.root)
    read(packed, HOURS, YEAR[0], YEAR[-1])
    write(other, HOURS, [MARCH[6]], salt=1)
    right = expected(HOURS, YEAR, {MARCH[6]: 1})
    for store in (packed, other, DayStore(packed.root)):
        assert read(store, HOURS, YEAR[0], YEAR[-1]).equals(right)


def test_a_deleted_day_is_not_read_from_the_pack(packed: DayStore) -> None:
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
        constants = {"symbol": "BTCUSDT", "source": "rest"}
        table = pa.Table.from_batches(days)
        for name, value in constants.items():
            table = table.append_column(name, pa.repeat(value, table.num_rows))
        con.register("bars", table.select(["symbol", *BAR_SCHEMA.names, "source"]))
        for query, found in zip(asked, from_packs, strict=True):
            start, end = query.partition("'1h', ")[2].partition(")")[0].split(", ")
            where = f"(SELECT * FROM bars WHERE open_time >= {start}::TIMESTAMPTZ AND open_time < {end}::TIMESTAMPTZ)"
            plain = query.replace(f"ckvd_klines('BTCUSDT', '1h', {start}, {end})", where)
            assert found == con.execute(plain).fetchall(), query


def test_a_packed_bar_that_closes_after_now_is_left_out(store: DayStore) -> None:
    write(store, HOURS, YEAR)
    late = bars_of(HOURS, YEAR[40]).slice(0, 13)
    at = day_start(YEAR[40]) + 12 * HOUR + HOUR // 2  # off the grid, after a pause
    row = late.slice(12, 1).to_pylist()[0] | {"open_time": at, "close_time": at + HOUR - 1}
    store.write(
        HOURS,
        YEAR[40],
        concat_batches([late.slice(0, 12), pa.RecordBatch.from_pylist([row], BAR_SCHEMA)]),
        Provenance(Source.REST, "https://api.example", "", 0),
    )
    now = f"{YEAR[40]}T13:00:00"
    with ckvd_sql.connect(cache_dir=store.root, offline=True, now=now) as con:
        for end in ("", f", '{YEAR[40]} 12:45'"):
            call = f"ckvd_klines('BTCUSDT', '1h', '2023-01-01'{end})"
            assert con.execute(f"SELECT max(close_time) < '{now}Z' FROM {call}").fetchall() == [(True,)]
