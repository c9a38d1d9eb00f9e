"""Whatever a day file holds: it is read as its day, or refused by a `CkvdError` that names it."""

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
from ckvd_sql.cache.dayfile import Provenance
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.bars import BAR_SCHEMA, read_rest
from tests.support.examples import TRIED
from tests.support.fuzz import EXAMPLES, JSON, NOW, ON, SERIES, URL, edited, fuzz

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    from ckvd_sql.market.series import Series


def provenance() -> Provenance:
    return Provenance("vision", URL, "0" * 64, NOW)


@functools.cache
def day_file() -> bytes:
    """A sound day file."""
    with tempfile.TemporaryDirectory() as folder:
        store = DayStore(Path(folder))
        store.write(SERIES, ON, read_rest(JSON, URL), provenance())
        return store.path(SERIES, ON).read_bytes()


@pytest.fixture(scope="module")
def store() -> Iterator[DayStore]:
    with tempfile.TemporaryDirectory() as folder:
        yield DayStore(Path(folder))


def look(store: DayStore, data: bytes) -> int:
    """Put bytes in a day file's place and read them in every way; how often they were taken for the day."""
    TRIED["bad inputs"] += 1
    path = store.path(SERIES, ON)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    taken = 0
    for way in (store.read, store.describe, store.verify):
        ask: Callable[[Series, date], Any] = way
        try:
            found = ask(SERIES, ON)
        except CkvdError as error:
            if str(path) not in str(error):
                raise
            continue
        taken += 1
        if isinstance(found, pa.RecordBatch):
            found.to_pylist()
    return taken


class TestDayFiles:
    @fuzz
    @given(st.binary(max_size=400).flatmap(lambda data: st.sampled_from([data, b"ARROW1" + data + b"ARROW1"])))
    def test_any_bytes(self, store: DayStore, data: bytes) -> None:
        assert look(store, data) == 0

    @fuzz
    @given(st.data())
    def test_a_sound_file_with_bytes_changed(self, store: DayStore, data: st.DataObject) -> None:
        changed = data.draw(edited(day_file()))
        taken = look(store, changed)
        if taken == 3:
            assert changed == day_file()

    @fuzz
    @given(
        st.dictionaries(
            st.sampled_from(["ckvd.format", "ckvd.series", "ckvd.date", "ckvd.rows", "ckvd.body", "ckvd.fetched_at"]),
            st.sampled_from(["1", SERIES.key, str(ON), "0", "-1", "24", "99", "x", "", "\x00"]) | st.text(max_size=9),
        ),
        st.sampled_from([BAR_SCHEMA, pa.schema([("open_time", pa.string())]), pa.schema([])]),
        st.integers(0, 3),
    )
    def test_arrow_files_that_claim_anything(
        self, store: DayStore, said: dict[str, str], schema: pa.Schema, batches: int
    ) -> None:
        sink = pa.BufferOutputStream()
        with ipc.new_file(sink, schema.with_metadata(said)) as writer:
            for _ in range(batches):
                writer.write_batch(pa.RecordBatch.from_pylist([], schema=schema))
        look(store, sink.getvalue().to_pybytes())

    def test_a_file_damaged_at_random_does_not_end_the_process(self, tmp_path: Path) -> None:
        original = tmp_path / "day.arrow"
        original.write_bytes(day_file())
        ended = subprocess.run(
            [sys.executable, "-c", RESEALED, str(original), str(tmp_path / "cache"), str(10 * EXAMPLES)],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr[-2000:]


#: Damages a day file at random, and reads it. Arguments: the file, a folder, how often.
RESEALED = """
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
chance = random.Random(1)
for _ in range(int(sys.argv[3])):
    data = bytearray(original)
    for _ in range(chance.choice([1, 2, 4, 16])):
        data[chance.randrange(8, len(data) - 6)] = chance.choice([0, 1, 0x7F, 0x80, 0xFF])
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    for ask in (store.read, store.describe, store.verify):
        try:
            found = ask(series, day)
            if ask == store.read:
                found.validate()
                [float(column.view(pa.int64()).to_numpy().sum()) for column in found.columns]
        except CkvdError:
            pass
"""
