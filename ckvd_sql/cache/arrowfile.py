"""Bars in a file: an Arrow IPC file of one record batch, with metadata and a seal.

It is not compressed, so that a mapped file is its batch without a copy. Arrow believes whatever a file's head and
foot say and crashes on some damage; the seal, which stands in the metadata, covers both, all but the values, and is
looked at before Arrow reads schema and bars. What the metadata means is not known here.
"""

from __future__ import annotations

import functools
import hashlib
import mmap
import os
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import ipc

from ckvd_sql.cache.directory import opened, stamp_of
from ckvd_sql.market.bars import BAR_SCHEMA, open_times

#: What opening a file that is not as it should be may raise.
UNREADABLE = (ValueError, KeyError, EOFError, OSError, TypeError, pa.ArrowException)

_MAGIC = b"ARROW1"
_SEAL = b"seal:"
_UNSEALED = _SEAL + b"0" * 16
_STREAM_AT = 8  # the magic and its padding; from here on the file is an IPC stream

_MOST_ROWS = 10 * 86_400  # no file has more bars than this

_SMALL = 32_768  # bytes; below this, reading a file is cheaper than mapping it


@dataclass(frozen=True, slots=True)
class SealedBars:
    """What a file holds.

    Attributes:
        bars: Its bars.
        said: Its metadata.
        stamp: What tells the file from another in its place, as `look.stamp_of`.
        mapped: Whether the bars' memory is the file's.
    """

    bars: pa.RecordBatch
    said: dict[bytes, bytes]
    stamp: tuple[int, int, int]
    mapped: bool

    @property
    def size(self) -> int:
        """The file's size in bytes."""
        return self.stamp[1]

    def check_values(self) -> None:
        """Hold the values too against what was written. Raises `ValueError`."""
        if self.said[b"ckvd.body"].decode() != body_hash(self.bars):
            raise ValueError("its bars are not those that were written")
        times = open_times(self.bars)
        if not (times[1:] > times[:-1]).all():
            raise ValueError("its bars are not in order")


def seal(bars: pa.RecordBatch, metadata: dict[str, str]) -> list[bytes]:
    """The file's content: what stands before the values, the values, what stands behind them."""
    values = _values(bars)
    said = metadata | {
        "ckvd.rows": str(bars.num_rows),
        "ckvd.body": _hash(values),
        "ckvd.seal": _UNSEALED.decode(),
    }
    sink = pa.BufferOutputStream()
    with ipc.new_file(sink, BAR_SCHEMA.with_metadata(said)) as writer:
        writer.write_batch(_zeros(bars.num_rows))  # head and foot don't depend on the values
    _, _, head, foot = _taken_apart(sink.getvalue())
    stated = _seal(head, foot)
    return [head.replace(_UNSEALED, stated), values, foot.replace(_UNSEALED, stated)]


def unseal(path: str) -> SealedBars:
    """What a file holds, if its seal does. Raises `FileNotFoundError`, else one of `UNREADABLE`."""
    data, stamp = _content(path)
    content = pa.py_buffer(data)
    first, second, head, foot = _taken_apart(content)
    at = head.find(_SEAL)
    stated = head[at : at + len(_UNSEALED)]
    if at < 0 or stated != _seal(head.replace(stated, _UNSEALED), foot.replace(stated, _UNSEALED)):
        raise ValueError("its head or foot is damaged")
    schema = ipc.read_schema(first)
    said: dict[bytes, bytes] = schema.metadata or {}
    if not schema.equals(BAR_SCHEMA):
        raise ValueError("its columns are not those of bars")
    if not second.metadata.equals(_layout(int(said[b"ckvd.rows"]))):
        raise ValueError("its bars are laid out otherwise than it says")
    return SealedBars(ipc.read_record_batch(second, BAR_SCHEMA), said, stamp, isinstance(data, mmap.mmap))


def body_hash(bars: pa.RecordBatch) -> str:
    """SHA-256 of the values, column after column; every column is eight bytes a row."""
    return _hash(_values(bars))


def _values(bars: pa.RecordBatch) -> bytes:
    """The values, column after column. In one piece, for each step of hashing or writing has threads take turns."""
    columns = (
        memoryview(column.buffers()[1] or b"")[8 * column.offset : 8 * (column.offset + len(column))]
        for column in bars.columns
    )
    return b"".join(columns)


def _hash(values: bytes) -> str:
    return hashlib.sha256(values).hexdigest()


def _content(path: str) -> tuple[bytes | mmap.mmap, tuple[int, int, int]]:
    """A file's bytes, mapped, or read where it is so small that mapping costs more; and its stamp."""
    with opened(path) as (file, status):
        size = status.st_size
        data = os.read(file, size) if size <= _SMALL else mmap.mmap(file, size, access=mmap.ACCESS_READ)
    if data[: len(_MAGIC)] != _MAGIC or data[-len(_MAGIC) :] != _MAGIC:
        raise ValueError("it is not a whole Arrow file")
    return data, stamp_of(status)


def _taken_apart(content: pa.Buffer) -> tuple[ipc.Message, ipc.Message, bytes, bytes]:
    """A file's two messages, schema and bars, and its bytes before and behind the bars' values."""
    stream = pa.BufferReader(content.slice(_STREAM_AT))
    first, second = ipc.read_message(stream), ipc.read_message(stream)
    end = _STREAM_AT + stream.tell()
    return first, second, content[: end - second.body.size].to_pybytes(), content[end:].to_pybytes()


def _seal(head: bytes, foot: bytes) -> bytes:
    """The seal over head and foot, in which its own place is empty."""
    return _SEAL + hashlib.blake2b(head + foot, digest_size=8).hexdigest().encode()


@functools.lru_cache(maxsize=64)
def _layout(rows: int) -> pa.Buffer:
    """The head of a message with this many bars. It says where the values lie, and Arrow trusts it blindly."""
    if not 0 <= rows <= _MOST_ROWS:
        raise ValueError(f"it says it has {rows} rows")
    return pa.py_buffer(ipc.read_message(_zeros(rows).serialize()).metadata.to_pybytes())  # not a slice of all of it


@functools.lru_cache(maxsize=4)
def _zeros(rows: int) -> pa.RecordBatch:
    """This many bars of which every value is zero, one column's memory being every column's."""
    values = pa.py_buffer(bytes(8 * rows))
    columns = [pa.Array.from_buffers(field.type, rows, [None, values]) for field in BAR_SCHEMA]
    return pa.RecordBatch.from_arrays(columns, schema=BAR_SCHEMA)
