"""The metadata of a series' day files as a table that can be stored, so that each file is opened only once.

A row is valid for as long as the file that it was read from is in its place: it has that file's stamp. It is stored as
rows of fixed width, which can be read whatever the bytes are; Arrow's own formats crash on some.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ckvd_sql.disk.files import with_digest, without_digest
from ckvd_sql.market.bars import INSTANT, schema_of
from ckvd_sql.market.periods import day_number
from ckvd_sql.market.provenance import Source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckvd_sql.cache.dayfile import DayFile
    from ckvd_sql.cache.directory import Stamps

_MOST_ROWS = 86_400  # of a day

_STAMP = ("number", "modified", "changed", "bytes", "inode")

_TEXTS = ("source", "url", "sha256", "checksum", "gaps", "duplicates")
_NEVER_NULL = ("source", "url")

_MOST_WIDTH = 1 << 12  # bytes of a text

_FORMAT = "3"  # 1 did not have the times of modification, 2 was an Arrow stream

#: A row a day file. `number` is the day since the epoch; it and the next four, times in ns, are the file's stamp.
INVENTORY_SCHEMA = schema_of(
    *((name, pa.int64()) for name in _STAMP),
    ("rows", pa.int64()),
    *((name, pa.string()) for name in _TEXTS),
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
    numbers = {name: inventory.column(name).cast(pa.int64()).to_numpy() for name in _numeric()}
    texts = {
        name: np.array([(text or "").encode() for text in inventory.column(name).to_pylist()], dtype=np.bytes_)
        for name in _TEXTS
    }
    widths = np.array([max(values.itemsize, 1) for values in texts.values()], dtype="<u2")
    rows = np.zeros(inventory.num_rows, _row_type(widths.tolist()))
    for name, values in (numbers | texts).items():
        rows[name] = values
    return with_digest(widths.tobytes() + rows.tobytes(), f"{_FORMAT} {key}")


def deserialize(stored: bytes, key: str) -> pa.Table | None:
    """The inventory that was stored; None where it is damaged, another series', or impossible."""
    content = without_digest(stored, f"{_FORMAT} {key}")
    if content is None:
        return None
    try:
        widths = np.frombuffer(content, "<u2", len(_TEXTS))
        if not 0 < widths.min() <= widths.max() <= _MOST_WIDTH:
            return None
        rows = np.frombuffer(content, _row_type(widths.tolist()), offset=widths.nbytes)
        columns = [_column(rows[field.name], field) for field in INVENTORY_SCHEMA]
    except ValueError:  # Arrow's errors of invalid texts are among these
        return None
    table = pa.table(columns, schema=INVENTORY_SCHEMA)
    return table if _is_possible(table) else None


def _numeric() -> tuple[str, ...]:
    return tuple(name for name in INVENTORY_SCHEMA.names if name not in _TEXTS)


def _row_type(widths: list[int]) -> np.dtype[np.void]:
    """A stored row: the numbers, then the texts, NULL being an empty one."""
    texts = ((name, f"S{width}") for name, width in zip(_TEXTS, widths, strict=True))
    return np.dtype([*((name, "<i8") for name in _numeric()), *texts])


def _column(values: npt.NDArray[Any], field: pa.Field[Any]) -> pa.Array[Any]:
    if field.name not in _TEXTS:
        return pa.array(values).cast(field.type)  # type: ignore[no-any-return]
    missing = None if field.name in _NEVER_NULL else values == b""
    return pa.array(values, mask=missing).cast(pa.string())  # type: ignore[no-any-return]


def _is_possible(inventory: pa.Table) -> bool:
    """Whether these may be the metadata of day files."""
    numbers, rows = (inventory.column(name).to_numpy() for name in ("number", "rows"))
    known = set(inventory.column("source").unique().to_pylist()) <= {source.value for source in Source}
    return known and bool((np.diff(numbers) > 0).all() and (rows >= 0).all() and (rows <= _MOST_ROWS).all())
