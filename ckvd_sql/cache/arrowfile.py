"""Rows in a file: an uncompressed Arrow IPC file of one record batch, with metadata and a seal.

Not compressed, so that a mapped file is its batch without a copy. Arrow trusts whatever the head and foot of a file
say, and crashes on some damage. The seal is a checksum, stored in the metadata, over all bytes but the values; it is
compared before Arrow parses schema or rows. What the metadata means is not known here. Every column must be eight bytes
a row and have no nulls.
"""

from __future__ import annotations

import functools
import hashlib
import mmap
import os
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import ipc

from ckvd_sql.cache.files import FileStamp, open_regular
from ckvd_sql.market.bars import integers

#: What opening a file that is not valid may raise.
UNREADABLE = (ValueError, KeyError, EOFError, OSError, TypeError, pa.ArrowException)

_MAGIC = b"ARROW1"
_SEAL = b"seal:"
_UNSEALED = _SEAL + b"0" * 16
_STREAM_AT = 8  # the magic and its padding; from here on the file is an IPC stream

_WIDTH = 8  # bytes of a value
_MOST_ROWS = 10 * 86_400  # no file has more rows than this

_SMALL = 32_768  # bytes; below this, reading a file is cheaper than mapping it


@dataclass(frozen=True, slots=True)
class ArrowFile:
    """The content of a file.

    Attributes:
        rows: Its rows.
        metadata: The metadata of its schema.
        stamp: What tells the file from another one in its place.
        mapped: Whether the rows' memory is the file's.
    """

    rows: pa.RecordBatch
    metadata: dict[bytes, bytes]
    stamp: FileStamp
    mapped: bool

    def verify_values(self) -> None:
        """Compare the values with the hash of those that were written. Raises `ValueError`."""
        if self.metadata[b"ckvd.body"].decode() != body_hash(self.rows):
            raise ValueError("its values are not those that were written")
        times = integers(self.rows.column(0))
        if not (times[1:] > times[:-1]).all():
            raise ValueError("its rows are not in order")


def encode(rows: pa.RecordBatch, metadata: dict[str, str]) -> list[bytes]:
    """The content of a file: the bytes before the values, the values, and the bytes after them."""
    values = _values(rows)
    sealed = metadata | {
        "ckvd.rows": str(rows.num_rows),
        "ckvd.body": _hash(values),
        "ckvd.seal": _UNSEALED.decode(),
    }
    schema = rows.schema.remove_metadata()
    sink = pa.BufferOutputStream()
    with ipc.new_file(sink, schema.with_metadata(sealed)) as writer:
        writer.write_batch(_zeros(rows.num_rows, schema))  # head and foot don't depend on the values
    _, _, head, foot = _split(sink.getvalue())
    seal = _seal(head, foot)
    return [head.replace(_UNSEALED, seal), values, foot.replace(_UNSEALED, seal)]


def read(path: str, schema: pa.Schema) -> ArrowFile:
    """A file of rows with this schema, if its seal is right. Raises `FileNotFoundError`, else one of `UNREADABLE`."""
    data, stamp = _content(path)
    first, second, head, foot = _split(pa.py_buffer(data))
    at = head.find(_SEAL)
    seal = head[at : at + len(_UNSEALED)]
    if at < 0 or seal != _seal(head.replace(seal, _UNSEALED), foot.replace(seal, _UNSEALED)):
        raise ValueError("its head or foot is damaged")
    found = ipc.read_schema(first)
    metadata: dict[bytes, bytes] = found.metadata or {}
    if not found.equals(schema):
        raise ValueError("its columns are not the expected ones")
    if not second.metadata.equals(_layout(int(metadata[b"ckvd.rows"]), len(schema))):
        raise ValueError("its rows are laid out differently from what its metadata says")
    return ArrowFile(ipc.read_record_batch(second, schema), metadata, stamp, isinstance(data, mmap.mmap))


def body_hash(rows: pa.RecordBatch) -> str:
    """SHA-256 of the values in hex, column after column."""
    return _hash(_values(rows))


def _values(rows: pa.RecordBatch) -> bytes:
    """The values, column after column. In one piece, because each step of hashing or writing releases the GIL."""
    columns = (
        memoryview(column.buffers()[1] or b"")[_WIDTH * column.offset : _WIDTH * (column.offset + len(column))]
        for column in rows.columns
    )
    return b"".join(columns)


def _hash(values: bytes) -> str:
    return hashlib.sha256(values).hexdigest()


def _content(path: str) -> tuple[bytes | mmap.mmap, FileStamp]:
    """A file's bytes, mapped, or read where it is so small that mapping costs more; and its stamp."""
    with open_regular(path) as (file, status):
        size = status.st_size
        data = os.read(file, size) if size <= _SMALL else mmap.mmap(file, size, access=mmap.ACCESS_READ)
    if data[: len(_MAGIC)] != _MAGIC or data[-len(_MAGIC) :] != _MAGIC:
        raise ValueError("it is not a whole Arrow file")
    return data, FileStamp.of(status)


def _split(content: pa.Buffer) -> tuple[ipc.Message, ipc.Message, bytes, bytes]:
    """A file's two messages, schema and rows, and its bytes before and after the values of the rows."""
    stream = pa.BufferReader(content.slice(_STREAM_AT))
    first, second = ipc.read_message(stream), ipc.read_message(stream)
    end = _STREAM_AT + stream.tell()
    return first, second, content[: end - len(second.body or b"")].to_pybytes(), content[end:].to_pybytes()


def _seal(head: bytes, foot: bytes) -> bytes:
    """The seal over head and foot, in which its own place is filled with zeros."""
    return _SEAL + hashlib.blake2b(head + foot, digest_size=8).hexdigest().encode()


@functools.lru_cache(maxsize=64)
def _layout(rows: int, columns: int) -> pa.Buffer:
    """The metadata of a message with this many rows. It says where the values lie, and Arrow does not validate it."""
    if not 0 <= rows <= _MOST_ROWS:
        raise ValueError(f"its metadata says {rows} rows")
    schema = pa.schema([(str(number), pa.int64()) for number in range(columns)])  # the layout is any column's
    message = ipc.read_message(_zeros(rows, schema).serialize())
    return pa.py_buffer(message.metadata.to_pybytes())  # not a slice, which would hold all of the message


@functools.lru_cache(maxsize=8)
def _zeros(rows: int, schema: pa.Schema) -> pa.RecordBatch:
    """This many rows of which every value is zero; all columns share one buffer."""
    values = pa.py_buffer(bytes(_WIDTH * rows))
    columns = [pa.Array.from_buffers(field.type, rows, [None, values]) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
