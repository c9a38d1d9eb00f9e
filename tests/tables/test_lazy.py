"""Datasets whose rows are made when they are scanned: what a scan is told, when it runs, and how it ends."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ckvd_sql.errors import CacheError, CkvdError
from ckvd_sql.tables.lazy import LazyDataset, rows_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duckdb import DuckDBPyConnection

KINDS: dict[str, pa.DataType] = {"number": pa.int64(), "name": pa.string(), "half": pa.float64()}
SCHEMA = pa.schema([pa.field(name, kind) for name, kind in KINDS.items()])
ERROR = CacheError("day 3 can't be used; fetch it again", "/cache/3")


class Scans:
    """Ten lists of two batches of 5,000 rows, with a log of what was asked and how far each scan came."""

    def __init__(self, fail_at: int | None = None, error: Exception = ERROR) -> None:
        self.asked: list[tuple[list[str], str | None]] = []
        self.made: list[int] = []
        self.closed = 0
        self._fail_at = fail_at
        self._error = error

    def __call__(self, columns: Sequence[str], filter_: pc.Expression | None) -> Iterator[list[pa.RecordBatch]]:
        self.asked.append((list(columns), None if filter_ is None else str(filter_)))
        try:
            for part in range(10):
                if part == self._fail_at:
                    raise self._error
                self.made.append(part)
                yield [self._batch(part * 2 + half, columns, filter_) for half in (0, 1)]
        finally:
            self.closed += 1

    def _batch(self, number: int, columns: Sequence[str], filter_: pc.Expression | None) -> pa.RecordBatch:
        numbers = list(range(number * 5000, (number + 1) * 5000))
        values: dict[str, list[Any]] = {
            "number": numbers,
            "name": [str(one) for one in numbers],
            "half": [one / 2 for one in numbers],
        }
        table = pa.table(values, schema=SCHEMA)
        kept = table if filter_ is None else table.filter(filter_)
        return kept.select(list(columns)).combine_chunks().to_batches()[0] if kept.num_rows else _empty(columns)


def _empty(columns: Sequence[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=pa.schema([SCHEMA.field(name) for name in columns]))


@pytest.fixture
def con() -> Iterator[DuckDBPyConnection]:
    connection = duckdb.connect()
    yield connection
    connection.close()


def registered(con: DuckDBPyConnection, scans: Scans) -> DuckDBPyConnection:
    con.register("lazy", LazyDataset(SCHEMA, scans))
    return con


def test_binding_a_query_scans_nothing(con: DuckDBPyConnection) -> None:
    scans = Scans()
    registered(con, scans)
    assert con.sql("FROM lazy").columns == SCHEMA.names
    con.execute("EXPLAIN SELECT sum(number) FROM lazy WHERE name > 'x'")
    assert LazyDataset(SCHEMA, scans).schema is SCHEMA
    LazyDataset(SCHEMA, scans).scanner()
    assert not scans.asked


def test_a_scan_is_told_the_columns_that_the_query_needs(con: DuckDBPyConnection) -> None:
    scans = Scans()
    assert registered(con, scans).sql("SELECT sum(half) FROM lazy").fetchall() == [(100_000 * 99_999 / 4,)]
    assert con.sql("SELECT max(name), min(number) FROM lazy").fetchall() == [("99999", 0)]
    assert [sorted(columns) for columns, _ in scans.asked] == [["half"], ["name", "number"]]


def test_a_scan_is_told_the_filter_and_duckdb_does_not_repeat_it(con: DuckDBPyConnection) -> None:
    scans = Scans()
    rows = registered(con, scans).sql("SELECT number FROM lazy WHERE number BETWEEN 4999 AND 5000").fetchall()
    assert rows == [(4999,), (5000,)]
    ((_, filter_),) = scans.asked
    assert filter_ is not None
    assert "number >= 4999" in filter_
    assert "number <= 5000" in filter_


def test_each_use_of_a_dataset_is_a_scan_of_its_own(con: DuckDBPyConnection) -> None:
    scans = Scans()
    found = registered(con, scans).sql("SELECT count(*) FROM lazy JOIN lazy AS other USING (number)").fetchall()
    assert found == [(100_000,)]
    assert len(scans.asked) == scans.closed == 2


def test_pyarrow_can_scan_it_too() -> None:
    scans = Scans()
    scanner = LazyDataset(SCHEMA, scans).scanner(columns=["half"], filter=pc.field("number") < 3)
    assert scanner.projected_schema.names == ["half"]
    assert not scans.asked
    assert scanner.to_table().column("half").to_pylist() == [0.0, 0.5, 1.0]
    assert scans.closed == 1


def test_a_column_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError, match="nothing"):
        LazyDataset(SCHEMA, Scans()).scanner(columns=["nothing"])


def test_a_scan_without_rows_has_the_columns(con: DuckDBPyConnection) -> None:
    def scan(columns: Sequence[str], filter_: pc.Expression | None) -> Iterator[list[pa.RecordBatch]]:
        del columns, filter_
        yield from ()

    con.register("nothing", LazyDataset(SCHEMA, scan))
    assert con.sql("FROM nothing").fetchall() == []
    assert LazyDataset(SCHEMA, scan).scanner().to_table().schema.equals(SCHEMA)


def test_a_limit_closes_the_scan_early(con: DuckDBPyConnection) -> None:
    scans = Scans()
    con.execute("SET threads = 1")
    assert len(registered(con, scans).sql("FROM lazy LIMIT 3").fetchall()) == 3
    assert scans.closed == 1
    assert len(scans.made) < 10


def test_a_reader_that_is_released_closes_the_scan() -> None:
    scans = Scans()
    reader = pa.RecordBatchReader.from_stream(LazyDataset(SCHEMA, scans).scanner().to_reader())
    assert reader.read_next_batch().num_rows == 5000
    assert scans.made == [0]  # a list of batches at a time, and none ahead
    assert scans.closed == 0
    del reader
    gc.collect()
    assert scans.closed == 1


@pytest.mark.parametrize("fail_at", [1, 5, 9])
def test_an_error_after_the_first_rows_is_its_class_and_sentence_in_sql(con: DuckDBPyConnection, fail_at: int) -> None:
    scans = Scans(fail_at)
    with pytest.raises(duckdb.Error) as raised:
        registered(con, scans).sql("FROM lazy").fetchall()
    prefix = "Invalid Input Error: reading the stream registered as 'lazy' failed: "
    assert str(raised.value).removeprefix(prefix) == "CacheError: day 3 can't be used; fetch it again"
    assert scans.closed == 1


def test_an_error_before_the_first_rows_reads_the_same(con: DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.Error, match="CacheError: day 3 can't be used; fetch it again"):
        registered(con, Scans(0)).sql("FROM lazy").fetchall()


def test_an_error_before_the_first_rows_is_itself_in_python() -> None:
    with pytest.raises(CacheError) as raised:
        LazyDataset(SCHEMA, Scans(0)).scanner().to_reader()
    assert raised.value is ERROR


def test_rows_before_an_error_have_been_yielded() -> None:
    reader = pa.RecordBatchReader.from_stream(LazyDataset(SCHEMA, Scans(2)).scanner().to_reader())
    for number in range(4):
        assert reader.read_next_batch().column("number")[0].as_py() == number * 5000
    with pytest.raises(OSError, match=r"^CacheError: day 3 can't be used; fetch it again"):
        reader.read_next_batch()


def test_the_connection_works_after_an_error(con: DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.Error):
        registered(con, Scans(3)).sql("FROM lazy").fetchall()
    assert registered(con, Scans()).sql("SELECT count(*) FROM lazy").fetchall() == [(100_000,)]


def test_an_error_that_is_not_on_purpose_is_not_hidden(con: DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.Error, match="ZeroDivisionError"):
        registered(con, Scans(3, ZeroDivisionError("a defect"))).sql("FROM lazy").fetchall()


def test_a_few_rows_are_made_anew_at_each_scan_filtered_and_projected(con: DuckDBPyConnection) -> None:
    calls: list[int] = []

    def rows() -> Iterator[dict[str, Any]]:
        calls.append(len(calls))
        yield {"number": len(calls), "name": "first", "half": None}
        yield {"number": 10, "name": "second", "half": 0.5}

    dataset = rows_dataset(SCHEMA, rows)
    assert not calls
    con.register("rows", dataset)
    assert con.sql("FROM rows").fetchall() == [(1, "first", None), (10, "second", 0.5)]
    assert con.sql("SELECT number FROM rows WHERE name = 'first'").fetchall() == [(2,)]
    assert con.sql("SELECT name FROM rows WHERE half IS NULL AND number < 5").fetchall() == [("first",)]
    assert con.sql("SELECT count(*) FROM rows").fetchall() == [(2,)]


def test_an_error_of_a_few_rows_reads_well_in_sql(con: DuckDBPyConnection) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        raise CkvdError("no rows today")
        yield {}

    con.register("rows", rows_dataset(SCHEMA, rows))
    with pytest.raises(duckdb.Error, match="CkvdError: no rows today"):
        con.sql("FROM rows").fetchall()
