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
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pyarrow.dataset as ds

from ckvd_sql.errors import CkvdError, remember

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

    def to_reader(self) -> LazyReader:
        """The scan as a stream."""
        return LazyReader(self.projected_schema, self._batches())

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
    """Carries an error's class name and message through Arrow."""


class _CStream(ctypes.Structure):
    """`struct ArrowArrayStream` of the Arrow C stream interface."""

    _fields_: ClassVar = [
        (name, ctypes.c_void_p) for name in ("get_schema", "get_next", "get_last_error", "release", "private_data")
    ]


_LastError = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
_pointer.restype = ctypes.c_void_p


class _ErrorText:
    """The text of a stream's error. The stream's iterator refers to it, so that it lives as long as the stream."""

    def __init__(self) -> None:
        self._text: ctypes.Array[ctypes.c_char] | None = None
        self._function = _LastError(self._last_error)

    def set(self, text: str) -> None:
        """The text that the stream gives from now on."""
        self._text = ctypes.create_string_buffer(text.encode())

    def use(self, stream: _CStream) -> None:
        """Have the C stream give this text, and its own where there is none."""
        self._original = _LastError(stream.get_last_error)
        stream.get_last_error = ctypes.cast(self._function, ctypes.c_void_p).value

    def _last_error(self, stream: int) -> int | None:
        return self._original(stream) if self._text is None else ctypes.addressof(self._text)


class LazyReader:
    """The part of a `pyarrow.RecordBatchReader` that DuckDB and pyarrow use, over lists of batches.

    The iterator is closed when the reader is released. Its first list is taken at once: an error there is raised as it
    is, and most errors occur with the first batch. No Python runs between the batches of a list.

    pyarrow puts the traceback of an exception that ends an iterator into the text of its C stream's error, twice with
    the message, so the function of the stream that gives the text is replaced.
    """

    def __init__(self, schema: pa.Schema, parts: Iterator[list[pa.RecordBatch]]) -> None:
        self._text = _ErrorText()
        try:
            first = list(itertools.islice(parts, 1))
        except CkvdError as error:
            remember(error)
            raise
        batches = itertools.chain.from_iterable(_guarded(first, parts, self._text))
        self._reader = pa.RecordBatchReader.from_batches(schema, batches)

    def read_all(self) -> pa.Table:
        """All batches as a table."""
        return self._reader.read_all()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The batches as an Arrow C stream, in a capsule."""
        capsule: object = self._reader.__arrow_c_stream__(requested_schema)  # type: ignore[no-untyped-call] # pyarrow-stubs
        self._text.use(_CStream.from_address(_pointer(capsule, b"arrow_array_stream")))
        return capsule


def _guarded(
    first: list[list[pa.RecordBatch]], parts: Iterator[list[pa.RecordBatch]], text: _ErrorText
) -> Iterator[list[pa.RecordBatch]]:
    """The lists of batches; an error that ends them becomes the stream's text."""
    try:
        while first:
            yield first.pop()
        yield from parts
    except CkvdError as error:
        remember(error)
        text.set(error.sentence)
        raise StreamError(error.sentence) from error
