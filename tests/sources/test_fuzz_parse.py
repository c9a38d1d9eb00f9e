"""Random CSV, zips and JSON: each is read as valid bars, or refused with a `CkvdError`.

`CKVD_EXAMPLES` sets how many inputs each test tries.
"""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckvd_sql import CkvdError
from ckvd_sql.market.bars import BAR_SCHEMA, open_times
from ckvd_sql.market.periods import DAY, Month
from ckvd_sql.sources.parse import read_archive, read_rest
from tests.support.bars import csv_text, zipped
from tests.support.examples import TRIED
from tests.support.fuzz import (
    CSV,
    DATE,
    JSON,
    MEMBER,
    SCALARS,
    SERIES,
    START,
    URL,
    VALUES,
    ZIP,
    edited,
    fuzz,
    rows_with_invalid_cells,
)
from tests.support.rows import rest_bars

if TYPE_CHECKING:
    from datetime import date

    import pyarrow as pa


def assert_valid(bars: pa.RecordBatch) -> None:
    """The bars are sorted and distinct, and no value is missing or infinite."""
    assert bars.schema.equals(BAR_SCHEMA)
    times = open_times(bars)
    assert (times[1:] > times[:-1]).all()
    bars.validate(full=True)
    for row in bars.to_pylist():
        assert None not in row.values()
        assert all(value - value == 0 for value in row.values() if isinstance(value, float))


def read_zip(data: bytes, period: date | Month = DATE) -> None:
    TRIED["bad inputs"] += 1
    try:
        days = read_archive(data, SERIES, period, URL)
    except CkvdError:
        return
    for day, bars in days.items():
        assert day == period or (isinstance(period, Month) and Month.of(day) == period)
        assert bars.num_rows
        assert_valid(bars)


def read_json(body: bytes) -> None:
    TRIED["bad inputs"] += 1
    for read in (rest_bars, lambda body, url: read_rest(body, url, START, START + DAY, 1000)[0]):
        try:
            bars = read(body, URL)
        except CkvdError:
            continue
        assert_valid(bars)


class TestArchives:
    @fuzz
    @given(st.text(max_size=400).map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=400))
    def test_any_text_in_a_valid_zip(self, text: bytes) -> None:
        read_zip(zipped(MEMBER, text))

    @fuzz
    @given(edited(CSV))
    def test_a_csv_with_bytes_changed(self, text: bytes) -> None:
        read_zip(zipped(MEMBER, text))

    @fuzz
    @given(rows_with_invalid_cells(), st.booleans(), st.sampled_from(["\n", "\r\n", "\r", "\n\n"]))
    def test_rows_with_invalid_cells(self, rows: list[list[Any]], header: bool, line_end: str) -> None:
        text = csv_text(rows, header=header).decode(errors="surrogatepass").replace("\n", line_end)
        read_zip(zipped(MEMBER, text.encode("utf-8", "surrogatepass")))

    @fuzz
    @given(st.binary(max_size=300) | edited(ZIP))
    def test_any_bytes_for_a_zip(self, data: bytes) -> None:
        read_zip(data)
        read_zip(data, Month(2024, 1))

    @fuzz
    @given(
        st.lists(
            st.tuples(st.just(MEMBER) | st.text(min_size=1, max_size=20), st.just(CSV) | st.binary(max_size=50)),
            max_size=3,
        ),
        st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
    )
    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_any_members_in_a_zip(self, members: list[tuple[str, bytes]], method: int) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, text in members:
                with contextlib.suppress(UnicodeEncodeError):
                    archive.writestr(f"a{name}" if name.startswith("\x00") else name, text)
        read_zip(buffer.getvalue())


class TestRestAnswers:
    @fuzz
    @given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
    def test_any_bytes(self, body: bytes) -> None:
        read_json(body)

    @fuzz
    @given(VALUES | st.lists(st.lists(SCALARS, min_size=12, max_size=12), min_size=1, max_size=3))
    def test_any_json(self, value: object) -> None:
        read_json(json.dumps(value).encode())

    @fuzz
    @given(edited(JSON))
    def test_an_answer_with_bytes_changed(self, body: bytes) -> None:
        read_json(body)

    @fuzz
    @given(rows_with_invalid_cells())
    def test_rows_with_invalid_cells(self, rows: list[list[Any]]) -> None:
        read_json(json.dumps(rows).encode())

    @pytest.mark.parametrize("depth", [100, 100_000])
    def test_deeply_nested_json(self, depth: int) -> None:
        read_json(b"[" * depth)
        read_json(b'{"a":' * depth + b"1" + b"}" * depth)
