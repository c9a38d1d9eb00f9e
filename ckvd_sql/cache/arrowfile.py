"""Rows in a file: an uncompressed Arrow IPC file of one record batch, with metadata, checksums and a seal.

Not compressed, so that a mapped file is its batch without a copy. Arrow crashes on some damage of what it parses, so it
parses nothing here: the columns lie one after the other behind the head, and only their names and types, the metadata
and the number of rows are read. The seal is a checksum, stored in the metadata, over all bytes but the values; it is
compared before anything else is read. Each column has a checksum of its own, which is compared before the column is
first used. What the metadata means is not known here. Every column must be eight bytes a row and have no nulls.
"""

from __future__ import annotations

import functools
import hashlib
import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import xxhash
from pyarrow import ipc

from ckvd_sql.cache.mapping import map_file
from ckvd_sql.cache.schema_message import read_columns, read_metadata
from ckvd_sql.disk.files import FileStamp, open_regular
from ckvd_sql.market.bars import integers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckvd_sql.cache.schema_message import Column

#: What opening a file that is not valid may raise.
UNREADABLE = (ValueError, KeyError, EOFError, OSError, TypeError, struct.error, pa.ArrowException)

_MAGIC = b"ARROW1"
_SEAL = b"seal:"
_UNSEALED = _SEAL + b"0" * 16
_STREAM_AT = 8  # the magic and its padding; from here on the file is an IPC stream
_MESSAGE = struct.Struct("<4sI")  # what precedes each message: a mark, and the message's size
_CONTINUED = b"\xff" * 4

_WIDTH = 8  # bytes of a value
_MOST_ROWS = 10 * 86_400  # no file has more rows than this
_MOST_HEAD = 1 << 16  # bytes before the values

#: By the identity of a schema, which is faster to look up than the schema itself; there are few.
_KNOWN_COLUMNS: dict[int, tuple[pa.Schema, tuple[Column, ...]]] = {}

_SMALL = 32_768  # bytes; below this, reading a file is cheaper than mapping it

_SUMS = b"ckvd.columns"  # the key of the checksums, in the order of the columns
_SUM_DIGITS = 16
_BODY = b"ckvd.body"  # files of earlier versions have the SHA-256 of all values instead


@dataclass(frozen=True, slots=True)
class ArrowFile:
    """The content of a file.

    Attributes:
        rows: Its rows. Use no column before `check` has accepted it.
        metadata: The metadata of its schema.
        stamp: What tells the file from another one in its place.
        mapped: Whether the rows' memory is the file's.
    """

    rows: pa.RecordBatch
    metadata: dict[bytes, bytes]
    stamp: FileStamp
    mapped: bool
    _checked: set[str] = field(default_factory=set)

    def check(self, columns: Iterable[str]) -> None:
        """Compare the values of some columns with their checksums, each once. Raises `ValueError`.

        Files of earlier versions have no checksum a column; their values are compared by `verify_values` alone.
        """
        new = self._checked.symmetric_difference(columns).difference(self._checked)
        sums = self.metadata.get(_SUMS) if new else None
        if sums is None:
            return
        for number, name in enumerate(self.rows.schema.names):
            if name in new:
                if sums[_SUM_DIGITS * number : _SUM_DIGITS * (number + 1)] != _sum(_values(self.rows, number)):
                    raise ValueError(f"its values of {name} are not those that were written")
                self._checked.add(name)

    def verify_values(self) -> None:
        """Compare all values with those that were written, and that rows are in order. Raises `ValueError`."""
        self._checked.clear()
        self.check(self.rows.schema.names)
        if _SUMS not in self.metadata and self.metadata[_BODY].decode() != _body_hash(self.rows):
            raise ValueError("its values are not those that were written")
        times = integers(self.rows.column(0))
        if not (times[1:] > times[:-1]).all():
            raise ValueError("its rows are not in order")


def encode(rows: pa.RecordBatch, metadata: dict[str, str]) -> list[bytes]:
    """The content of a file: the bytes before the values, the values, and the bytes after them."""
    columns = [_values(rows, number) for number in range(rows.num_columns)]
    sealed = metadata | {
        "ckvd.rows": str(rows.num_rows),
        _SUMS.decode(): b"".join(map(_sum, columns)).decode(),
        "ckvd.seal": _UNSEALED.decode(),
    }
    schema = rows.schema.remove_metadata()
    sink = pa.BufferOutputStream()
    with ipc.new_file(sink, schema.with_metadata(sealed)) as writer:
        writer.write_batch(_zeros(rows.num_rows, schema))  # head and foot don't depend on the values
    content = sink.getvalue().to_pybytes()
    _, begin = _head(content)
    end = begin + _WIDTH * rows.num_rows * rows.num_columns
    head, foot = content[:begin], content[end:]
    seal = _seal(head, foot)
    values = b"".join(columns)  # in one piece, because each step of writing releases the GIL
    return [head.replace(_UNSEALED, seal), values, foot.replace(_UNSEALED, seal)]


def read(path: str, schema: pa.Schema, *, mapped: bool = True, follow: bool = False) -> ArrowFile:
    """A file of rows with this schema, if its seal is right.

    Args:
        path: The file.
        schema: Its columns.
        mapped: Whether to map a file that is not small; else it is read into memory.
        follow: Whether a symbolic link in its place is followed; else it is an error.

    Raises `FileNotFoundError`, else one of `UNREADABLE`.
    """
    with open_regular(path, follow=follow) as (file, status):
        size = status.st_size
        is_mapped = mapped and size > _SMALL
        data = map_file(file, size) if is_mapped else pa.py_buffer(_read_whole(file, size))
    if data[: len(_MAGIC)].to_pybytes() != _MAGIC or data[-len(_MAGIC) :].to_pybytes() != _MAGIC:
        raise ValueError("it is not a whole Arrow file")
    message, begin = _head(data[:_MOST_HEAD].to_pybytes())
    metadata = read_metadata(message)
    rows = int(metadata.get(b"ckvd.rows", b"-1"))
    if not 0 <= rows <= _MOST_ROWS:
        raise ValueError(f"its metadata says {rows} rows")
    end = begin + _WIDTH * rows * len(schema)
    head, foot, seal = data[:begin].to_pybytes(), data[end:].to_pybytes(), metadata.get(b"ckvd.seal", b"")
    if end >= size or seal != _seal(head.replace(seal, _UNSEALED), foot.replace(seal, _UNSEALED)):
        raise ValueError("its head or foot is damaged")
    if _SUMS not in metadata and _BODY not in metadata:
        raise ValueError("its values have no checksums")
    if read_columns(message) != _columns(schema):
        raise ValueError("its columns are not the expected ones")
    return ArrowFile(_batch(data, begin, rows, schema), metadata, FileStamp.of(status), is_mapped)


def _read_whole(file: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.read(file, size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _head(content: bytes) -> tuple[bytes, int]:
    """The schema message of a file that begins with these bytes, and where the values of its rows begin."""
    at, found = _STREAM_AT, []
    for _ in ("schema", "rows"):
        mark, size = _MESSAGE.unpack_from(content, at)
        found.append(content[at + _MESSAGE.size : at + _MESSAGE.size + size])
        at += _MESSAGE.size + size
        if mark != _CONTINUED or len(found[-1]) != size:
            raise ValueError("its head is damaged")
    return found[0], at


def _batch(data: pa.Buffer, begin: int, rows: int, schema: pa.Schema) -> pa.RecordBatch:
    """The rows whose columns lie one after the other in a buffer from `begin` on."""
    width, make = _WIDTH * rows, pa.Array.from_buffers
    columns = [
        make(kind, rows, [None, data.slice(begin + number * width, width)]) for number, kind in enumerate(schema.types)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _values(rows: pa.RecordBatch, number: int) -> memoryview:
    """The values of a column."""
    column = rows.column(number)
    return memoryview(column.buffers()[1] or b"")[_WIDTH * column.offset : _WIDTH * (column.offset + len(column))]


def _sum(values: memoryview) -> bytes:
    return xxhash.xxh3_64_hexdigest(values).encode()


def _body_hash(rows: pa.RecordBatch) -> str:
    """SHA-256 of the values in hex, column after column."""
    return hashlib.sha256(b"".join(_values(rows, number) for number in range(rows.num_columns))).hexdigest()


def _seal(head: bytes, foot: bytes) -> bytes:
    """The seal over head and foot, in which its own place is filled with zeros."""
    return _SEAL + hashlib.blake2b(head + foot, digest_size=8).hexdigest().encode()


def _columns(schema: pa.Schema) -> tuple[Column, ...]:
    """The columns of a schema as a file states them."""
    known = _KNOWN_COLUMNS.get(id(schema))
    if known is None or known[0] is not schema:
        message = schema.remove_metadata().serialize().to_pybytes()[_MESSAGE.size :]
        known = _KNOWN_COLUMNS[id(schema)] = schema, read_columns(message)
    return known[1]


@functools.lru_cache(maxsize=8)
def _zeros(rows: int, schema: pa.Schema) -> pa.RecordBatch:
    """This many rows of which every value is zero; all columns share one buffer."""
    values = pa.py_buffer(bytes(_WIDTH * rows))
    columns = [pa.Array.from_buffers(field.type, rows, [None, values]) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
