"""Day files that are damaged, foreign or in the wrong place: found, set aside and fetched again.

Measured, not asserted (2 cores, a day of 1,440 bars of 1m, medians, files in memory): mapping a day takes 150 µs,
the SHA-256 of its body 160 µs, even a CRC-32 of it 46 µs. All are more than the tenth of the mapping that reading may
spend on checks, so a flipped byte in the body is found by `verify`, not by the first mapping.
"""

from __future__ import annotations

import functools
import os
import random
import resource
from datetime import date
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

import ckvd_sql
from ckvd_sql import CacheError, Settings, maintenance
from ckvd_sql.cache.dayfile import Provenance
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.bars import BAR_SCHEMA
from ckvd_sql.scan.resolver import Resolver
from tests.support.bars import read
from tests.support.cache_state import CALL, HOURS, MINUTES, ON, WEEKS, hosts, truth, whole_day, wrong_days
from tests.support.damage import flips_taken, is_refused, replace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox


def foreign_arrow(path: Path) -> None:
    with ipc.new_file(path, pa.schema([("x", pa.int64())])) as writer:
        writer.write_batch(pa.RecordBatch.from_pydict({"x": [1, 2, 3]}))


def bars_without_metadata(path: Path) -> None:
    with ipc.new_file(path, BAR_SCHEMA) as writer:
        writer.write_batch(whole_day(HOURS, ON))


def compressed(path: Path) -> None:
    kept = ipc.open_file(pa.py_buffer(path.read_bytes()))
    options = ipc.IpcWriteOptions(compression="zstd")
    with ipc.new_file(path, kept.schema, options=options) as writer:
        writer.write_batch(kept.get_batch(0))


def cut_at(share: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = path.read_bytes()
        replace(path, data[: int(len(data) * share)])

    return damage


def flipped_at(share: float) -> Callable[[Path], None]:
    """A bit flipped in the head (0 to 1) or, counted from the end, in the foot (-1 to 0)."""

    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(share * 1200)] ^= 0x10
        replace(path, bytes(data))

    return damage


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").write_text("in it")


def another(series: str, day: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        replace(path, (path.parents[4] / "binance" / "spot" / series / f"{day}.arrow").read_bytes())

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    **{f"cut at {share:.0%}": cut_at(share) for share in (0.001, 0.1, 0.4, 0.5, 0.8, 0.95, 0.999)},
    **{
        f"a bit flipped at {share:+.0%} of head or foot": flipped_at(share)
        for share in (0, 0.006, 0.3, 0.9, -0.01, -0.5)
    },
    "empty": lambda path: replace(path, b""),
    "text": lambda path: replace(path, b"open_time,open\n1,2\n"),
    "zeros": lambda path: replace(path, bytes(path.stat().st_size)),
    "a folder": a_folder,
    "a foreign Arrow file": foreign_arrow,
    "an Arrow file of bars that says nothing": bars_without_metadata,
    "a compressed Arrow file": compressed,
    "a Parquet file": lambda path: parquet.write_table(pa.table({"open_time": [1]}), path),
    "of another symbol": another("ETHUSDT/1h", str(ON)),
    "of another interval": another("BTCUSDT/1m", str(ON)),
    "of another date": another("BTCUSDT/1h", "2024-01-02"),
}


class TestADamagedDayFile:
    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
    def test_is_set_aside_warned_of_and_fetched_again(
        self, exchange: Sandbox, cache: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        path = DayStore(cache).path(HOURS, ON)
        damage(path)
        with ckvd_sql.connect(cache_dir=cache, **hosts(exchange)) as con:
            assert read(con, CALL) == truth(HOURS, "2024-01-01", "2024-01-06")
            assert wrong_days(cache) == []
            warnings = [note.getMessage() for note in caplog.records if note.name == "ckvd_sql"]
            assert len(warnings) == 1
            assert str(path) in warnings[0]
            assert path.with_suffix(".damaged").exists()
            exchange.forget()
            assert read(con, CALL) == truth(HOURS, "2024-01-01", "2024-01-06")
        assert exchange.requests == ()
        assert len(caplog.records) == 1

    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
    def test_offline_is_an_error_that_names_the_file(
        self, exchange: Sandbox, cache: Path, damage: Callable[[Path], None]
    ) -> None:
        path = DayStore(cache).path(HOURS, ON)
        damage(path)
        said = path.read_bytes() if path.is_file() else b""
        with ckvd_sql.connect(cache_dir=cache, offline=True, **hosts(exchange)) as con:
            with pytest.raises(duckdb.Error, match=f"CacheError: .*{path}"):
                read(con, CALL)
            days = "ckvd_klines('BTCUSDT', '1h', '2024-01-04', '2024-01-06')"
            assert read(con, days) == truth(HOURS, "2024-01-04", "2024-01-06")
        assert path.exists()
        assert not path.is_file() or path.read_bytes() == said

    def test_is_healed_again_and_again_whatever_was_set_aside_before(self, exchange: Sandbox, cache: Path) -> None:
        path = DayStore(cache).path(HOURS, ON)
        for damage in (a_folder, a_folder, DAMAGES["empty"], a_folder):
            damage(path)
            with ckvd_sql.connect(cache_dir=cache, **hosts(exchange)) as con:
                assert read(con, CALL) == truth(HOURS, "2024-01-01", "2024-01-06")
            assert wrong_days(cache) == []

    def test_of_a_week_comes_from_its_month_s_archive_again(self, exchange: Sandbox, tmp_path: Path) -> None:
        call = "ckvd_klines('BTCUSDT', '1w', '2024-01-01', '2024-03-01')"
        with ckvd_sql.connect(cache_dir=tmp_path, **hosts(exchange)) as con:
            before = read(con, call)
            DayStore(tmp_path).path(WEEKS, date(2024, 1, 8)).write_bytes(b"")
            exchange.forget()
            assert read(con, call) == before
        asked = [request.path for request in exchange.requests]
        assert asked
        assert all("/monthly/klines/BTCUSDT/1w/BTCUSDT-1w-2024-01.zip" in path for path in asked)

    def test_is_not_what_a_process_short_of_open_files_has_met(self, cache: Path) -> None:
        store = DayStore(cache)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        try:
            with pytest.raises(CacheError, match="Too many open files") as refused:
                store.read(HOURS, ON)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert not refused.value.damaged
        assert wrong_days(cache) == []

    def test_among_whole_months_of_minutes_is_found_too(
        self, exchange: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        call = "ckvd_klines('BTCUSDT', '1m', '2024-01-01', '2024-03-01')"
        with ckvd_sql.connect(cache_dir=tmp_path, **hosts(exchange)) as con:
            whole = read(con, call)
        path = DayStore(tmp_path).path(MINUTES, ON)
        for damage in (cut_at(0.5), flipped_at(0.5), flipped_at(-0.5)):
            damage(path)
            caplog.clear()
            with ckvd_sql.connect(cache_dir=tmp_path, **hosts(exchange)) as con:
                assert read(con, call) == whole
            assert [str(path) in note.getMessage() for note in caplog.records] == [True]


class TestEveryByteOfADayFile:
    """Each one, on the reading alone; `DAMAGES` shows what follows."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> tuple[DayStore, Path]:
        store = DayStore(tmp_path)
        store.write(HOURS, ON, whole_day(HOURS, ON), Provenance("vision", "http://127.0.0.1", "0" * 64, 0))
        return store, store.path(HOURS, ON)

    def test_cut_anywhere_it_is_refused(self, place: tuple[DayStore, Path]) -> None:
        store, path = place
        original = path.read_bytes()
        for size in range(len(original) - 1, -1, -1):
            os.truncate(path, size)
            assert is_refused(store.read), size
            assert is_refused(store.describe), size

    def test_flipped_in_head_or_foot_it_is_refused_by_the_first_look(self, place: tuple[DayStore, Path]) -> None:
        store, path = place
        original = path.read_bytes()
        body = original.index(whole_day(HOURS, ON).column(0).buffers()[1].to_pybytes())
        values = range(body, body + whole_day(HOURS, ON).nbytes)
        assert (
            flips_taken(
                functools.partial(store.read, HOURS), path, [at for at in range(len(original)) if at not in values]
            )
            == []
        )

    def test_flipped_anywhere_it_is_found_by_verify(self, place: tuple[DayStore, Path]) -> None:
        store, path = place
        assert flips_taken(functools.partial(store.verify, HOURS), path, list(range(path.stat().st_size))) == []

    def test_flipped_anywhere_in_a_day_of_minutes_it_is_found_by_verify(self, tmp_path: Path) -> None:
        store = DayStore(tmp_path)
        store.write(MINUTES, ON, whole_day(MINUTES, ON), Provenance("rest", "http://127.0.0.1", "", 0))
        path = store.path(MINUTES, ON)
        chance = random.Random(3)  # noqa: S311 (a fixed choice)
        places = chance.sample(range(path.stat().st_size), 400)
        assert flips_taken(functools.partial(store.verify, MINUTES), path, places) == []

    def test_flipped_in_the_values_is_a_finding_of_cache_verify(self, cache: Path) -> None:
        path = DayStore(cache).path(HOURS, ON)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x01
        replace(path, bytes(data))
        findings = list(maintenance.verify(Resolver(Settings.load(cache_dir=cache))))
        assert [(found.series, found.day) for found in findings if found.problem] == [(HOURS, ON)]
