"""The metadata of a series' day files as a table that can be stored, so that each file is opened only once.

A row is valid for as long as the file that it was read from is in its place: it has that file's stamp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from ckvd_sql.disk.files import with_digest, without_digest
from ckvd_sql.market.bars import INSTANT, schema_of
from ckvd_sql.market.periods import day_number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckvd_sql.cache.dayfile import DayFile
    from ckvd_sql.cache.directory import Stamps

_MOST_ROWS = 86_400  # of a day

_STAMP = ("number", "modified", "changed", "bytes", "inode")

_FORMAT = "2"  # 1 did not have the times of modification

#: A row a day file. `number` is the day since the epoch; it and the next four, times in ns, are the file's stamp.
INVENTORY_SCHEMA = schema_of(
    *((name, pa.int64()) for name in _STAMP),
    ("rows", pa.int64()),
    *((name, pa.string()) for name in ("source", "url", "sha256", "checksum", "gaps", "duplicates")),
    ("fetched_at", INSTANT),
)


def from_files(files: Iterable[DayFile]) -> pa.Table:
    """The inventory of some day files."""
    rows = [
        {
            **dict(zip(_STAMP, (day_number(file.day), *file.stamp), strict=True)),
            "rows": file.rows,
            "source": file.provenance.source.value,
            "url": file.provenance.url,
            "sha256": file.provenance.sha256 or None,
            "checksum": file.provenance.checksum or None,
            "gaps": file.provenance.gaps and file.provenance.gaps.value,
            "duplicates": "last" if file.provenance.duplicates else None,
            "fetched_at": file.provenance.fetched_at,
        }
        for file in files
    ]
    return pa.Table.from_pylist(rows, schema=INVENTORY_SCHEMA)


def valid_rows(inventory: pa.Table, stamps: Stamps) -> pa.Table:
    """The rows whose files have these stamps now."""
    known = np.stack([inventory.column(name).to_numpy() for name in _STAMP], axis=1)
    if np.array_equal(known, stamps):
        return inventory
    current = set(map(tuple, stamps.tolist()))
    found = [number for number, row in enumerate(known.tolist()) if tuple(row) in current]
    return inventory.take(pa.array(found, pa.int64()))


def serialize(inventory: pa.Table, key: str) -> bytes:
    """An inventory as bytes, of the series with this key."""
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, INVENTORY_SCHEMA) as writer:
        writer.write_table(inventory.combine_chunks())
    return with_digest(sink.getvalue().to_pybytes(), f"{_FORMAT} {key}")


def deserialize(stored: bytes, key: str) -> pa.Table | None:
    """The inventory that was stored; None where it is damaged, another series', or impossible."""
    content = without_digest(stored, f"{_FORMAT} {key}")
    if content is None:
        return None
    try:
        table = ipc.open_stream(pa.py_buffer(content)).read_all()
        if not table.schema.equals(INVENTORY_SCHEMA):
            return None
        table.validate(full=True)
    except (pa.ArrowException, OSError):
        return None
    return table if _is_possible(table) else None


def _is_possible(inventory: pa.Table) -> bool:
    """Whether these may be the metadata of day files."""
    if any(inventory.column(name).null_count for name in (*_STAMP, "rows", "source", "url", "fetched_at")):
        return False
    numbers, rows = (inventory.column(name).to_numpy() for name in ("number", "rows"))
    return bool((np.diff(numbers) > 0).all() and (rows >= 0).all() and (rows <= _MOST_ROWS).all())
