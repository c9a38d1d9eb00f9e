"""Lazy Arrow datasets: rows that are made when DuckDB or pyarrow scans them, with errors that read well in SQL.

DuckDB accepts a subclass of `pyarrow.dataset.Dataset` and calls `scanner(columns=, filter=)` once a scan. It removes
the filter from its own plan, so the rows that come back must be exactly those for which it is true. Nothing here
knows klines or SQL.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from ckvd_sql.errors import CkvdError

if TYPE_CHECKING:
    import pyarrow.compute as pc

Scan = Callable[[Sequence[str], "pc.Expression | None"], Iterator[list[pa.RecordBatch]]]


class LazyDataset(ds.Dataset):
    """A dataset whose rows are made when it is scanned.

    Args:
        schema: The columns.
        scan: Yields lists of batches of the named columns, with the rows for which the filter is true. It is called
            once a scan, in the scanning thread, and its iterator is closed when the reader is.
    """

    def __new__(cls, *_: Any) -> LazyDataset:  # noqa: PYI034 (Dataset's own constructor refuses)
        """Make the object without `Dataset.__init__`, which only pyarrow's own datasets can use."""
        made: LazyDataset = ds.Dataset.__new__(cls)
        return made

    def __init__(self, schema: pa.Schema, scan: Scan) -> None:
        self._lazy_schema = schema
        self._scan = scan

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._lazy_schema

    def scanner(  # type: ignore[override] # DuckDB passes these two alone, and needs no pyarrow Scanner
        self,
        columns: list[str] | None = None,
        filter: pc.Expression | None = None,  # noqa: A002 (the name that pyarrow and DuckDB use)
        **_: Any,
    ) -> LazyScanner:
        """One scan: these columns, the rows for which the filter is true."""
        names = self._lazy_schema.names if columns is None else columns
        schema = pa.schema([self._lazy_schema.field(name) for name in names])
        return LazyScanner(schema, functools.partial(self._scan, names, filter))


class LazyScanner:
    """The part of a pyarrow scanner that DuckDB and pyarrow use."""

    def __init__(self, schema: pa.Schema, batches: Callable[[], Iterator[list[pa.RecordBatch]]]) -> None:
        self.projected_schema = schema
        self._batches = batches

    def to_reader(self) -> pa.RecordBatchReader:
        """The scan as a stream."""
        return _reader(self.projected_schema, self._batches())

    def to_table(self) -> pa.Table:
        """The scan as a table."""
        return self.to_reader().read_all()


def filter_batches(batches: list[pa.RecordBatch], filter_: pc.Expression | None) -> list[pa.RecordBatch]:
    """The rows for which the filter is true; all of them where there is none."""
    return batches if filter_ is None else [batch.filter(filter_) for batch in batches]


def rows_dataset(schema: pa.Schema, rows: Callable[[], Iterable[dict[str, Any]]]) -> LazyDataset:
    """A dataset of a few rows that are made when it is scanned."""

    def scan(columns: Sequence[str], filter_: pc.Expression | None) -> Iterator[list[pa.RecordBatch]]:
        table = pa.Table.from_pylist(list(rows()), schema=schema)
        if filter_ is not None:
            table = table.filter(filter_)
        yield table.select(list(columns)).to_batches()

    return LazyDataset(schema, scan)


class StreamError(OSError):
    """Carries an error's class name and message through Arrow to DuckDB."""


# pyarrow puts the traceback of an exception that ends an iterator into the message, beginning with the frame that
# raised it. Raised by a C function called from a C iterator, it has no frame and so no traceback.
_raise = ctypes.pythonapi.PyErr_SetObject
_raise.argtypes = (ctypes.py_object, ctypes.py_object)
_raise.restype = None


def _reader(schema: pa.Schema, parts: Iterator[list[pa.RecordBatch]]) -> pa.RecordBatchReader:
    """A reader of lists of batches, which closes the iterator when it is released.

    The first list is taken at once: an error there is raised as it is, and most errors occur with the first batch.
    No Python runs between the batches of a list.
    """
    first = list(itertools.islice(parts, 1))
    failed: list[StreamError] = []

    def guarded() -> Iterator[list[pa.RecordBatch]]:
        try:
            while first:
                yield first.pop()
            yield from parts
        except CkvdError as error:
            failed.append(StreamError(error.sentence))

    ending = map(_raise, map(type, failed), failed)  # evaluated after the batches; empty if all went well
    batches = itertools.chain(itertools.chain.from_iterable(guarded()), ending)
    return pa.RecordBatchReader.from_batches(schema, batches)
