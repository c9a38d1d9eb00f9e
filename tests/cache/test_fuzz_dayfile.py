"""Day files with random content: each is read as its day, or refused with a `CkvdError` that names it."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ipc

from ckvd_sql import CkvdError
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.bars import BAR_SCHEMA
from ckvd_sql.market.provenance import Provenance, Source
from tests.support.examples import TRIED
from tests.support.fuzz import DATE, EXAMPLES, JSON, NOW, SERIES, URL, edited, fuzz
from tests.support.rows import rest_bars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    from ckvd_sql.market.series import Series


def provenance() -> Provenance:
    return Provenance(Source.VISION, URL, "0" * 64, NOW)


@functools.cache
def day_file() -> bytes:
    """The bytes of a valid day file."""
    with tempfile.TemporaryDirectory() as folder:
        store = DayStore(Path(folder))
        store.write(SERIES, DATE, rest_bars(JSON, URL), provenance())
        return store.path(SERIES, DATE).read_bytes()


@pytest.fixture(scope="module")
def store() -> Iterator[DayStore]:
    with tempfile.TemporaryDirectory() as folder:
        yield DayStore(Path(folder))


def read_in_every_way(store: DayStore, data: bytes) -> int:
    """Write bytes to the path of a day file and read it in every way; in how many ways it was accepted."""
    TRIED["bad inputs"] += 1
    path = store.path(SERIES, DATE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    accepted = 0
    for way in (store.read, store.describe, store.verify):
        ask: Callable[[Series, date], Any] = way
        try:
            found = ask(SERIES, DATE)
        except CkvdError as error:
            if str(path) not in str(error):
                raise
            continue
        accepted += 1
        if isinstance(found, pa.RecordBatch):
            found.to_pylist()
    return accepted


class TestDayFiles:
    @fuzz
    @given(st.binary(max_size=400).flatmap(lambda data: st.sampled_from([data, b"ARROW1" + data + b"ARROW1"])))
    def test_any_bytes(self, store: DayStore, data: bytes) -> None:
        assert read_in_every_way(store, data) == 0

    @fuzz
    @given(st.data())
    def test_a_valid_file_with_bytes_changed(self, store: DayStore, data: st.DataObject) -> None:
        changed = data.draw(edited(day_file()))
        accepted = read_in_every_way(store, changed)
        if accepted == 3:
            assert changed == day_file()

    @fuzz
    @given(
        st.dictionaries(
            st.sampled_from(["ckvd.format", "ckvd.series", "ckvd.date", "ckvd.rows", "ckvd.body", "ckvd.fetched_at"]),
            st.sampled_from(["1", SERIES.key, str(DATE), "0", "-1", "24", "99", "x", "", "\x00"]) | st.text(max_size=9),
        ),
        st.sampled_from([BAR_SCHEMA, pa.schema([("open_time", pa.string())]), pa.schema([])]),
        st.integers(0, 3),
    )
    def test_arrow_files_with_any_metadata(
        self, store: DayStore, metadata: dict[str, str], schema: pa.Schema, batches: int
    ) -> None:
        sink = pa.BufferOutputStream()
        with ipc.new_file(sink, schema.with_metadata(metadata)) as writer:
            for _ in range(batches):
                writer.write_batch(pa.RecordBatch.from_pylist([], schema=schema))
        read_in_every_way(store, sink.getvalue().to_pybytes())

    def test_reading_a_randomly_damaged_file_does_not_crash_the_process(self, tmp_path: Path) -> None:
        original = tmp_path / "day.arrow"
        original.write_bytes(day_file())
        ended = subprocess.run(
            [sys.executable, "-c", DAMAGED_AT_RANDOM, str(original), str(tmp_path / "cache"), str(10 * EXAMPLES)],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr[-2000:]


#: Damages a day file at random and reads it, repeatedly. Arguments: the file, a folder, how often.
DAMAGED_AT_RANDOM = """
import pathlib, random, sys
from datetime import date
import pyarrow as pa
from ckvd_sql import CkvdError
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.series import INTERVALS, Market, Series

series, day = Series(Market.SPOT, "BTCUSDT", INTERVALS["1h"]), date(2024, 1, 2)
original = pathlib.Path(sys.argv[1]).read_bytes()
store = DayStore(pathlib.Path(sys.argv[2]))
path = store.path(series, day)
path.parent.mkdir(parents=True)
rng = random.Random(1)
for _ in range(int(sys.argv[3])):
    data = bytearray(original)
    for _ in range(rng.choice([1, 2, 4, 16])):
        data[rng.randrange(8, len(data) - 6)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    for ask in (store.read, store.describe, store.verify):
        try:
            found = ask(series, day)
            if ask == store.read:
                found.rows.validate()
                [float(column.view(pa.int64()).to_numpy().sum()) for column in found.rows.columns]
        except CkvdError:
            pass
"""
