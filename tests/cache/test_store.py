"""The day store: files are written atomically with metadata, and anything else at their paths is refused."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections import Counter
from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
import xxhash
from pyarrow import ipc

from ckvd_sql.cache import dayfile
from ckvd_sql.cache.store import DayStore
from ckvd_sql.errors import CacheError
from ckvd_sql.market.bars import BAR_SCHEMA, NO_BARS
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.provenance import GapCheck, Provenance, Source
from ckvd_sql.market.series import INTERVALS, Market, Series
from tests.support.damage import replace, writable
from tests.support.day_files import BARS, DATE, HOURS, hourly_bars

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FETCHED = parse_time("2024-06-02T05:00:00.123456", "time")
ORIGIN = Provenance(
    Source.VISION, "https://archive.example/x.zip", "ab" * 32, FETCHED, verified=True, gaps=GapCheck.CONFIRMED
)


@pytest.fixture
def path(store: DayStore) -> Path:
    store.write(HOURS, DATE, BARS, ORIGIN)
    return store.path(HOURS, DATE)


def test_a_day_is_read_bit_for_bit_as_written(store: DayStore, path: Path) -> None:
    assert path.is_file()
    assert store.read(HOURS, DATE).rows.equals(BARS)


def test_a_day_without_bars_is_read_as_written(store: DayStore) -> None:
    store.write(HOURS, DATE, NO_BARS, ORIGIN)
    assert store.read(HOURS, DATE).rows.equals(NO_BARS)
    assert not store.has_rows(HOURS)


@pytest.mark.parametrize(
    ("market", "interval", "folder"),
    [
        (Market.SPOT, "1h", "binance/spot/BTCUSDT/1h"),
        (Market.UM, "1m", "binance/um/BTCUSDT/1m"),
        (Market.CM, "1mo", "binance/cm/BTCUSDT/1mo"),
    ],
)
def test_a_day_file_has_the_documented_path(store: DayStore, market: Market, interval: str, folder: str) -> None:
    series = Series(market, "BTCUSDT", INTERVALS[interval])
    store.write(series, DATE, BARS.slice(0, 1), ORIGIN)
    assert (store.root / folder / "2024-06-01.arrow").is_file()


def test_a_day_file_is_a_plain_uncompressed_arrow_file(store: DayStore, path: Path) -> None:
    with pa.memory_map(str(path)) as source:
        before = pa.total_allocated_bytes()
        table = ipc.open_file(source).read_all()
        assert pa.total_allocated_bytes() - before < BARS.nbytes / 2  # mapped, not copied
    assert table.schema.equals(BAR_SCHEMA)
    assert table.combine_chunks().to_batches()[0].equals(store.read(HOURS, DATE).rows)


def test_a_day_file_holds_its_provenance(store: DayStore, path: Path) -> None:
    found = store.describe(HOURS, DATE)
    assert found.provenance == ORIGIN
    assert (found.rows, found.stamp.size, found.path) == (24, path.stat().st_size, path)


def test_a_day_file_s_metadata_has_its_series_date_and_a_checksum_of_each_column(path: Path) -> None:
    with pa.memory_map(str(path)) as source:
        metadata = {key.decode(): value.decode() for key, value in ipc.open_file(source).schema.metadata.items()}
    assert metadata["ckvd.series"] == "binance/spot/BTCUSDT/1h"
    assert (metadata["ckvd.date"], metadata["ckvd.rows"]) == ("2024-06-01", "24")
    columns = [BARS.column(name).to_numpy().view("int64").tobytes() for name in BARS.schema.names]
    assert metadata["ckvd.columns"] == "".join(map(xxhash.xxh3_64_hexdigest, columns))
    assert metadata["ckvd.sha256"] == ORIGIN.sha256


def test_the_rows_of_a_slice_are_stored_as_the_same_rows_by_themselves() -> None:
    part = BARS.slice(3, 5)
    alone = pa.RecordBatch.from_pylist(part.to_pylist(), BAR_SCHEMA)
    assert dayfile.encode(HOURS, DATE, part, ORIGIN) == dayfile.encode(HOURS, DATE, alone, ORIGIN)


def test_writing_a_day_leaves_only_the_day_file_in_its_folder(path: Path) -> None:
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 (hidden files too)


def test_a_failed_write_leaves_no_file_and_no_partial_file(store: DayStore) -> None:
    store.folder(HOURS).parent.mkdir(parents=True)
    store.folder(HOURS).write_text("a file in the folder's place")
    with pytest.raises(OSError, match="1h"):
        store.write(HOURS, DATE, BARS, ORIGIN)
    assert store.days(HOURS) == frozenset()
    with pytest.raises((FileNotFoundError, CacheError)):
        store.read(HOURS, DATE)


def test_reading_a_missing_day_raises_file_not_found(store: DayStore) -> None:
    with pytest.raises(FileNotFoundError):
        store.read(HOURS, DATE)
    assert store.days(HOURS) == frozenset()


def foreign(change: Callable[[pa.Schema], pa.Schema], bars: pa.RecordBatch = BARS) -> Callable[[bytes], bytes]:
    """A valid Arrow file that is not a day file."""

    def made(content: bytes) -> bytes:
        schema = change(ipc.open_file(content).schema)
        sink = pa.BufferOutputStream()
        with ipc.new_file(sink, schema) as writer:
            writer.write_batch(bars.cast(schema.remove_metadata()).replace_schema_metadata(schema.metadata))
        written: bytes = sink.getvalue().to_pybytes()
        return written

    return made


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "one byte": lambda content: content[:1],
    "half": lambda content: content[: len(content) // 2],
    "last byte gone": lambda content: content[:-1],
    "first byte gone": lambda content: content[1:],
    "a byte more": lambda content: content + b"\0",
    "zeros": lambda content: b"\0" * len(content),
    "text": lambda _: b"<html>Please sign in</html>" * 50,
    "middle cut out": lambda content: content[:1000] + content[-1000:],
    "magic alone": lambda _: b"ARROW1\0\0ARROW1",
    "no metadata": foreign(lambda schema: schema.remove_metadata()),
    "another writer's": foreign(lambda schema: schema.with_metadata({"pandas": "{}"})),
    "floats of 32 bits": foreign(lambda schema: schema.set(1, pa.field("open", pa.float32(), nullable=False))),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("method", ["read", "describe"])
def test_a_damaged_or_foreign_file_is_an_error_that_names_its_path(
    store: DayStore, path: Path, damage: str, method: str
) -> None:
    replace(path, DAMAGES[damage](path.read_bytes()))
    with pytest.raises(CacheError) as refused:
        getattr(store, method)(HOURS, DATE)
    assert refused.value.path == str(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("series", "day"),
    [
        (Series(Market.SPOT, "ETHUSDT", INTERVALS["1h"]), DATE),
        (Series(Market.UM, "BTCUSDT", INTERVALS["1h"]), DATE),
        (Series(Market.SPOT, "BTCUSDT", INTERVALS["2h"]), DATE),
        (HOURS, date(2024, 6, 2)),
    ],
)
def test_a_day_file_at_the_path_of_another_day_is_refused(
    store: DayStore, path: Path, series: Series, day: date
) -> None:
    place = store.path(series, day)
    place.parent.mkdir(parents=True, exist_ok=True)
    writable(place).write_bytes(path.read_bytes())
    for method in (store.read, store.describe):
        with pytest.raises(CacheError):
            method(series, day)


def test_bars_of_another_day_are_refused_whatever_the_metadata_says(store: DayStore) -> None:
    store.write(HOURS, DATE, hourly_bars(date(2024, 6, 2)), ORIGIN)
    with pytest.raises(CacheError):
        store.read(HOURS, DATE)


def test_a_folder_at_the_path_of_a_day_is_refused(store: DayStore) -> None:
    store.path(HOURS, DATE).mkdir(parents=True)
    with pytest.raises(CacheError):
        store.read(HOURS, DATE)


_DAMAGE_AT_RANDOM = """
import random, sys
from pathlib import Path
from ckvd_sql.cache.store import DayStore
from ckvd_sql.errors import CacheError
from tests.support.damage import replace
from tests.support.day_files import BARS, DATE, HOURS
store, rng = DayStore(Path(sys.argv[1])), random.Random(int(sys.argv[2]))
path = store.path(HOURS, DATE)
valid = path.read_bytes()
for _ in range(500):
    damaged = bytearray(valid)
    for _ in range(rng.choice((1, 2, 8))):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    replace(path, bytes(damaged))
    for read in (store.read, store.describe, store.verify):
        try:
            found = read(HOURS, DATE)
        except CacheError:
            continue
        if read == store.verify:
            assert store.read(HOURS, DATE).rows.equals(BARS), "verify passed what was not written"
        if read == store.read:
            str(found.rows.column("close").to_pylist())
print("survived")
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_random_damage_neither_crashes_the_reader_nor_passes_verify(store: DayStore, path: Path, seed: int) -> None:
    assert path.is_file()
    command = [sys.executable, "-c", _DAMAGE_AT_RANDOM, str(store.root), str(seed)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.stdout.strip(), ended.returncode) == ("survived", 0), ended.stderr


def test_verify_finds_a_single_changed_bit_anywhere(store: DayStore, path: Path) -> None:
    store.verify(HOURS, DATE)
    valid = path.read_bytes()
    rng = random.Random(5)  # noqa: S311 (no secret)
    for position in rng.sample(range(len(valid)), 400):
        damaged = bytearray(valid)
        damaged[position] ^= 1 << rng.randrange(8)
        replace(path, bytes(damaged))
        try:
            store.verify(HOURS, DATE)
        except CacheError:
            continue
        assert store.read(HOURS, DATE).rows.equals(BARS), position  # it was padding


def test_writers_of_the_same_day_do_not_disturb_each_other_or_their_readers(store: DayStore) -> None:
    errors: Counter[str] = Counter()

    def work() -> None:
        for number in range(60):
            try:
                store.write(HOURS, DATE, BARS, Provenance(Source.REST, "u" * (number % 7 * 1000), "", FETCHED))
                if not store.read(HOURS, DATE).rows.equals(BARS):
                    errors["other bars"] += 1
            except Exception as error:  # noqa: BLE001 (whatever it is)
                errors[type(error).__name__] += 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_bars_that_were_read_do_not_change_when_the_file_is_replaced(store: DayStore, path: Path) -> None:
    before = store.read(HOURS, DATE).rows
    store.write(HOURS, DATE, BARS.slice(0, 3), ORIGIN)
    assert store.read(HOURS, DATE).rows.num_rows == 3
    path.unlink()
    assert before.equals(BARS)


def test_the_days_of_a_series_are_those_with_a_file(store: DayStore, path: Path) -> None:
    names = ("2024-06-03.arrow.tmp", ".2024-06-04.arrow.tmp", "2024-6-5.arrow", "2024-13-01.arrow", "x.arrow")
    for name in (*names, "2024-06-01.damaged"):
        (path.parent / name).write_bytes(b"x")
    store.write(HOURS, date(2024, 2, 29), hourly_bars(date(2024, 2, 29)), ORIGIN)
    assert store.days(HOURS) == {DATE, date(2024, 2, 29)}


def test_days_reflects_new_and_deleted_files_at_once(store: DayStore, path: Path) -> None:
    for number in range(2, 20):
        day = date(2024, 6, number)
        store.write(HOURS, day, hourly_bars(day), ORIGIN)
        assert day in store.days(HOURS)
    path.unlink()
    assert DATE not in store.days(HOURS)


def test_set_aside_renames_a_damaged_file_and_frees_its_path(store: DayStore, path: Path) -> None:
    replace(path, b"damaged")
    store.set_aside(HOURS, DATE)
    assert [one.read_bytes() for one in path.parent.iterdir()] == [b"damaged"]
    assert store.days(HOURS) == frozenset()
    store.set_aside(HOURS, DATE)  # another caller was faster


def test_a_damaged_day_does_not_make_a_series_known(store: DayStore, path: Path) -> None:
    assert store.has_rows(HOURS)
    replace(path, b"damaged")
    assert not store.has_rows(HOURS)


def test_the_listing_time_is_stored_to_the_microsecond(store: DayStore) -> None:
    assert store.first_open(HOURS) is None
    store.remember_first_open(HOURS, FETCHED)
    assert store.first_open(HOURS) == FETCHED
    writable(store.folder(HOURS) / ".listed").write_bytes(b"\xff\0damaged")
    assert store.first_open(HOURS) is None


def test_series_lists_the_series_that_have_a_folder(store: DayStore) -> None:
    made = [
        Series(Market.CM, "BTCUSD_PERP", INTERVALS["1mo"]),
        HOURS,
        Series(Market.SPOT, "币安人生USDT", INTERVALS["1m"]),
    ]
    for series in made:
        store.write(series, DATE, NO_BARS, ORIGIN)
    (store.root / "binance" / "spot" / "file").write_text("x")
    (store.root / "binance" / "spot" / "BTCUSDT" / "7h").mkdir()
    assert {series.key for series in store.series()} == {series.key for series in made}
    assert list(DayStore(store.root / "nowhere").series()) == []


@pytest.mark.parametrize("rows", [1, 3, 23])
@pytest.mark.parametrize("first", [0, 1])
def test_a_slice_of_a_month_is_written_as_a_day_of_its_own(store: DayStore, rows: int, first: int) -> None:
    """A slice shares its buffers with the month; only the slice must be written."""
    store.write(HOURS, DATE, BARS.slice(first, rows), ORIGIN)
    assert store.read(HOURS, DATE).rows.equals(BARS.slice(first, rows))
    assert store.verify(HOURS, DATE).rows == rows


def test_days_written_together_each_have_their_own_provenance(store: DayStore) -> None:
    days = [date(2024, 6, 30), date(2024, 7, 1), date(2024, 7, 2)]
    origins = [
        Provenance(Source.VISION, f"https://archive.example/{day}", "ab" * 32, FETCHED, verified=True) for day in days
    ]
    bars = [hourly_bars(day, rows) for day, rows in zip(days, (24, 0, 7), strict=True)]
    store.write_days(HOURS, dict(zip(days, zip(bars, origins, strict=True), strict=True)))
    assert [store.verify(HOURS, day).provenance for day in days] == origins
    assert [store.read(HOURS, day).rows for day in days] == bars
    assert not list(store.folder(HOURS).glob(".*.tmp"))


def test_a_day_that_can_not_be_written_does_not_prevent_the_others(store: DayStore) -> None:
    days = [date(2024, 6, 1), date(2024, 6, 2), date(2024, 6, 3)]
    (store.path(HOURS, days[1]) / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        store.write_days(HOURS, {day: (hourly_bars(day), ORIGIN) for day in days})
    assert store.read(HOURS, days[0]).rows.equals(hourly_bars(days[0]))
    assert store.read(HOURS, days[2]).rows.equals(hourly_bars(days[2]))
    assert not list(store.folder(HOURS).glob(".*.tmp"))


def test_writing_no_days_creates_nothing(store: DayStore) -> None:
    store.write_days(HOURS, {})
    assert not store.root.exists()
