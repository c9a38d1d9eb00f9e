"""What a stored Arrow schema says, read without Arrow, which crashes on some damage of what it reads.

A schema message is a FlatBuffer (`format/Message.fbs` and `format/Schema.fbs` of Apache Arrow). Only what this package
stores is read: its metadata, and the names and types of its columns. Every access is checked: whatever the bytes are,
the result is a value, or a `ValueError` or `struct.error`.
"""

from __future__ import annotations

import functools
import struct
from typing import NamedTuple

#: The fields of a table that are used, by their numbers in the definitions of the format.
_MESSAGE_HEADER_TYPE, _MESSAGE_HEADER = 1, 2
_SCHEMA_FIELDS, _SCHEMA_METADATA = 1, 2
_FIELD_NAME, _FIELD_NULLABLE, _FIELD_TYPE_KIND, _FIELD_TYPE = 0, 1, 2, 3

_SCHEMA = 1  # the header type of a schema
_INT, _FLOATING_POINT, _TIMESTAMP = 2, 3, 10  # the kinds of types of columns that this package stores

_MOST_ITEMS = 64  # of columns, and of metadata

_signed = struct.Struct("<i").unpack_from
_unsigned = struct.Struct("<I").unpack_from
_pair = struct.Struct("<HH").unpack_from
_short = struct.Struct("<H").unpack_from


class Column(NamedTuple):
    """A column: its name, the kind of its type, and the details of that."""

    name: bytes
    nullable: int
    kind: int
    details: tuple[int | bytes, ...]


def read_metadata(message: bytes) -> dict[bytes, bytes]:
    """The metadata of a schema message, without its columns."""
    found = {}
    for pair in _items(message, _schema(message), _SCHEMA_METADATA):
        fields = pair - _signed(message, pair)[0]
        if fields < 0:
            raise ValueError("an offset is out of range")
        key, value = _pair(message, fields + 4)  # every one of ours has both
        found[_text(message, pair + key)] = _text(message, pair + value)
    return found


def read_columns(message: bytes) -> tuple[Column, ...]:
    """The columns of a schema message, without its metadata."""
    fields = _vector(message, _schema(message), _SCHEMA_FIELDS)
    # What a vector refers to lies behind it, and metadata, where there is any, before it. So the rest of the message
    # is the same in every file of a series, and is read once.
    return _columns(message[fields:])


@functools.lru_cache(maxsize=64)
def _columns(tail: bytes) -> tuple[Column, ...]:
    return tuple(_column(tail, field) for field in _items_at(tail, 0))


def _column(message: bytes, field: int) -> Column:
    kind, details = _byte(message, field, _FIELD_TYPE_KIND), _target(message, field, _FIELD_TYPE)
    found: tuple[int | bytes, ...] = ()
    if kind == _INT:
        found = (_integer(message, details, 0), _byte(message, details, 1))
    elif kind == _FLOATING_POINT:
        found = (_integer(message, details, 0, width=2),)
    elif kind == _TIMESTAMP:
        found = (_integer(message, details, 0, width=2), _text(message, _place(message, details, 1)))
    return Column(
        _text(message, _place(message, field, _FIELD_NAME)), _byte(message, field, _FIELD_NULLABLE), kind, found
    )


def _schema(message: bytes) -> int:
    root = _unsigned(message, 0)[0]
    if _byte(message, root, _MESSAGE_HEADER_TYPE) != _SCHEMA:
        raise ValueError("it does not begin with a schema")
    return _target(message, root, _MESSAGE_HEADER)


def _place(message: bytes, table: int, field: int) -> int:
    """Where a table has a field; 0 where it does not have it."""
    fields = table - _signed(message, table)[0]
    if fields < 0:
        raise ValueError("an offset is out of range")
    at = 4 + 2 * field
    offset: int = _short(message, fields + at)[0] if at < _short(message, fields)[0] else 0
    return table + offset if offset else 0


def _byte(message: bytes, table: int, field: int) -> int:
    return _integer(message, table, field, width=1)


def _integer(message: bytes, table: int, field: int, width: int = 4) -> int:
    place = _place(message, table, field)
    return int.from_bytes(message[place : place + width], "little") if place else 0


def _target(message: bytes, table: int, field: int) -> int:
    """Where that lies which a field refers to; 0 where the table does not have the field."""
    place = _place(message, table, field)
    target: int = place + _unsigned(message, place)[0] if place else 0
    return target


def _text(message: bytes, place: int) -> bytes:
    """The text to which the field at a place refers."""
    at = place + _unsigned(message, place)[0]
    end = at + 4 + _unsigned(message, at)[0]
    if end > len(message):
        raise ValueError("a text ends behind the end")
    return message[at + 4 : end]


def _vector(message: bytes, table: int, field: int) -> int:
    vector = _target(message, table, field)
    if not vector:
        raise ValueError("a list is missing")
    return vector


def _items(message: bytes, table: int, field: int) -> list[int]:
    """The tables that a table's field lists."""
    return _items_at(message, _target(message, table, field)) if _place(message, table, field) else []


def _items_at(message: bytes, vector: int) -> list[int]:
    (count,) = _unsigned(message, vector)
    if count > _MOST_ITEMS:
        raise ValueError(f"a list has {count} items")
    places = range(vector + 4, vector + 4 + 4 * count, 4)
    return [place + _unsigned(message, place)[0] for place in places]
