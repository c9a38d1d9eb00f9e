"""Day files that are damaged, foreign or at the wrong path: detected, set aside and fetched again.

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
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.bars import BAR_SCHEMA, open_times
from ckvd_sql.market.provenance import Provenance, Source
from ckvd_sql.scan.resolver import Resolver
from tests.support.bars import read
from tests.support.cache_state import (
    CALL,
    DATE,
    HOURS,
    MINUTES,
    WEEKS,
    expected_bars,
    expected_day,
    sandbox_settings,
    wrong_days,
)
from tests.support.damage import is_refused, replace, undetected_flips, writable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox


def foreign_arrow(path: Path) -> None:
    with ipc.new_file(str(writable(path)), pa.schema([("x", pa.int64())])) as writer:
        writer.write_batch(pa.RecordBatch.from_pydict({"x": [1, 2, 3]}))


def bars_without_metadata(path: Path) -> None:
    with ipc.new_file(str(writable(path)), BAR_SCHEMA) as writer:
        writer.write_batch(expected_day(HOURS, DATE))


def compressed(path: Path) -> None:
    file = ipc.open_file(pa.py_buffer(path.read_bytes()))
    options = ipc.IpcWriteOptions(compression="zstd")
    with ipc.new_file(str(writable(path)), file.schema, options=options) as writer:
        writer.write_batch(file.get_batch(0))


def cut_at(share: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = path.read_bytes()
        replace(path, data[: int(len(data) * share)])

    return damage


def flipped_at(share: float) -> Callable[[Path], None]:
    """A bit flipped in the header (0 to 1) or, counted from the end, in the footer (-1 to 0)."""

    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(share * 1200)] ^= 0x10
        replace(path, bytes(data))

    return damage


def replaced_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").write_text("in it")


def copied_from(series: str, day: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        replace(path, (path.parents[4] / "binance" / "spot" / series / f"{day}.arrow").read_bytes())

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    **{f"cut at {share:.0%}": cut_at(share) for share in (0.001, 0.1, 0.4, 0.5, 0.8, 0.95, 0.999)},
    **{
        f"a bit flipped at {share:+.0%} of header or footer": flipped_at(share)
        for share in (0, 0.006, 0.3, 0.9, -0.01, -0.5)
    },
    "empty": lambda path: replace(path, b""),
    "text": lambda path: replace(path, b"open_time,open\n1,2\n"),
    "zeros": lambda path: replace(path, bytes(path.stat().st_size)),
    "a folder": replaced_by_folder,
    "a foreign Arrow file": foreign_arrow,
    "an Arrow file of bars without metadata": bars_without_metadata,
    "a compressed Arrow file": compressed,
    "a Parquet file": lambda path: parquet.write_table(pa.table({"open_time": [1]}), writable(path)),
    "of another symbol": copied_from("ETHUSDT/1h", str(DATE)),
    "of another interval": copied_from("BTCUSDT/1m", str(DATE)),
    "of another date": copied_from("BTCUSDT/1h", "2024-01-02"),
}


class TestDamagedDayFile:
    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
    def test_is_set_aside_with_one_warning_and_fetched_again(
        self, exchange: Sandbox, cache: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        path = DayStore(cache).path(HOURS, DATE)
        damage(path)
        with ckvd_sql.connect(cache_dir=cache, **sandbox_settings(exchange)) as con:
            assert read(con, CALL) == expected_bars(HOURS, "2024-01-01", "2024-01-06")
            assert wrong_days(cache) == []
            warnings = [note.getMessage() for note in caplog.records if note.name == "ckvd_sql"]
            assert len(warnings) == 1
            assert str(path) in warnings[0]
            assert path.with_suffix(".damaged").exists()
            exchange.forget()
            assert read(con, CALL) == expected_bars(HOURS, "2024-01-01", "2024-01-06")
        assert exchange.requests == ()
        assert len(caplog.records) == 1

    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
    def test_is_an_error_that_names_the_file_when_offline(
        self, exchange: Sandbox, cache: Path, damage: Callable[[Path], None]
    ) -> None:
        path = DayStore(cache).path(HOURS, DATE)
        damage(path)
        content = path.read_bytes() if path.is_file() else b""
        with ckvd_sql.connect(cache_dir=cache, offline=True, **sandbox_settings(exchange)) as con:
            with pytest.raises(duckdb.Error, match=f"CacheError: .*{path}"):
                read(con, CALL)
            days = "ckvd_klines('BTCUSDT', '1h', '2024-01-04', '2024-01-06')"
            assert read(con, days) == expected_bars(HOURS, "2024-01-04", "2024-01-06")
        assert path.exists()
        assert not path.is_file() or path.read_bytes() == content

    def test_is_replaced_each_time_even_if_an_earlier_one_was_set_aside(self, exchange: Sandbox, cache: Path) -> None:
        path = DayStore(cache).path(HOURS, DATE)
        for damage in (replaced_by_folder, replaced_by_folder, DAMAGES["empty"], replaced_by_folder):
            damage(path)
            with ckvd_sql.connect(cache_dir=cache, **sandbox_settings(exchange)) as con:
                assert read(con, CALL) == expected_bars(HOURS, "2024-01-01", "2024-01-06")
            assert wrong_days(cache) == []

    def test_of_a_weekly_bar_is_fetched_again_from_its_month_s_archive(self, exchange: Sandbox, tmp_path: Path) -> None:
        call = "ckvd_klines('BTCUSDT', '1w', '2024-01-01', '2024-03-01')"
        with ckvd_sql.connect(cache_dir=tmp_path, **sandbox_settings(exchange)) as con:
            before = read(con, call)
            writable(DayStore(tmp_path).path(WEEKS, date(2024, 1, 8))).write_bytes(b"")
            exchange.forget()
            assert read(con, call) == before
        requested = [request.path for request in exchange.requests]
        assert requested
        assert all("/monthly/klines/BTCUSDT/1w/BTCUSDT-1w-2024-01.zip" in path for path in requested)

    def test_is_not_reported_when_the_process_is_out_of_file_descriptors(self, cache: Path) -> None:
        store = DayStore(cache)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        try:
            with pytest.raises(CacheError, match="Too many open files") as refused:
                store.read(HOURS, DATE)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert not refused.value.damaged
        assert wrong_days(cache) == []

    def test_is_found_among_whole_months_of_minutes(
        self, exchange: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        call = "ckvd_klines('BTCUSDT', '1m', '2024-01-01', '2024-03-01')"
        with ckvd_sql.connect(cache_dir=tmp_path, **sandbox_settings(exchange)) as con:
            whole = read(con, call)
        path = DayStore(tmp_path).path(MINUTES, DATE)
        for damage in (cut_at(0.5), flipped_at(0.5), flipped_at(-0.5)):
            damage(path)
            caplog.clear()
            with ckvd_sql.connect(cache_dir=tmp_path, **sandbox_settings(exchange)) as con:
                assert read(con, call) == whole
            assert [str(path) in note.getMessage() for note in caplog.records] == [True]


class TestEveryByteOfADayFile:
    """Detection alone; `TestDamagedDayFile` tests what follows from it."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> tuple[DayStore, Path]:
        store = DayStore(tmp_path)
        store.write(HOURS, DATE, expected_day(HOURS, DATE), Provenance(Source.VISION, "http://127.0.0.1", "0" * 64, 0))
        return store, store.path(HOURS, DATE)

    def test_a_file_truncated_anywhere_is_refused(self, place: tuple[DayStore, Path]) -> None:
        store, path = place
        original = path.read_bytes()
        for size in range(len(original) - 1, -1, -1):
            os.truncate(writable(path), size)
            assert is_refused(store.read), size
            assert is_refused(store.describe), size

    def test_a_bit_flipped_in_header_or_footer_is_found_by_the_first_read(self, place: tuple[DayStore, Path]) -> None:
        store, path = place
        original = path.read_bytes()
        body = original.index(open_times(expected_day(HOURS, DATE)).tobytes())
        values = range(body, body + expected_day(HOURS, DATE).nbytes)
        assert (
            undetected_flips(
                functools.partial(store.read, HOURS), path, [at for at in range(len(original)) if at not in values]
            )
            == []
        )

    def test_a_bit_flipped_anywhere_is_found_by_verify(self, place: tuple[DayStore, Path]) -> None:
        store, path = place
        assert undetected_flips(functools.partial(store.verify, HOURS), path, list(range(path.stat().st_size))) == []

    def test_a_bit_flipped_anywhere_in_a_day_of_minutes_is_found_by_verify(self, tmp_path: Path) -> None:
        store = DayStore(tmp_path)
        store.write(MINUTES, DATE, expected_day(MINUTES, DATE), Provenance(Source.REST, "http://127.0.0.1", "", 0))
        path = store.path(MINUTES, DATE)
        rng = random.Random(3)  # noqa: S311 (a fixed choice)
        places = rng.sample(range(path.stat().st_size), 400)
        assert undetected_flips(functools.partial(store.verify, MINUTES), path, places) == []

    def test_a_bit_flipped_in_the_values_is_reported_by_cache_verification(self, cache: Path) -> None:
        path = DayStore(cache).path(HOURS, DATE)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x01
        replace(path, bytes(data))
        findings = list(maintenance.verify(Resolver(Settings.load(cache_dir=cache))))
        assert [(found.series, found.day) for found in findings if found.problem] == [(HOURS, DATE)]
