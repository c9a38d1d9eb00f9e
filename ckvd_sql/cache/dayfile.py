"""A day file: the rows of one UTC day of a series, with metadata that says what they are and where they came from.

A file that does not read back as exactly the expected day is damaged, and is never used as an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ckvd_sql.cache import arrowfile
from ckvd_sql.cache.arrowfile import UNREADABLE
from ckvd_sql.disk.files import OUT_OF_RESOURCES
from ckvd_sql.errors import CacheError
from ckvd_sql.market.bars import open_times
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import DAY, day_start, moment_of
from ckvd_sql.market.provenance import GapCheck, Provenance, Source

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.cache.arrowfile import ArrowFile
    from ckvd_sql.disk.files import FileStamp
    from ckvd_sql.market.series import Series

FORMAT = "2"

#: Files of the first format have no checksums of their columns.
_FORMATS = (FORMAT, "1")

#: Only days have it of which every source has different rows for one open time: the last row is stored.
_DUPLICATES, _LAST = "ckvd.duplicates", "last"

_VERIFIED = {"": None, "verified": True, "unverified": False}


@dataclass(frozen=True, slots=True)
class DayFile:
    """The metadata of a day file.

    Attributes:
        series: The series.
        day: The UTC day.
        path: The file.
        rows: How many rows it has.
        stamp: What tells it from another file in its place.
        provenance: Where its rows came from.
    """

    series: Series
    day: date
    path: Path
    rows: int
    stamp: FileStamp
    provenance: Provenance


def encode(series: Series, day: date, rows: pa.RecordBatch, provenance: Provenance) -> list[bytes]:
    """The content of a day's file, in pieces."""
    marks = {_DUPLICATES: _LAST} if provenance.duplicates else {}
    return arrowfile.encode(
        rows,
        marks
        | {
            "ckvd.format": FORMAT,
            "ckvd.series": series.key,
            "ckvd.date": str(day),
            "ckvd.source": provenance.source,
            "ckvd.url": provenance.url,
            "ckvd.sha256": provenance.sha256,
            "ckvd.fetched_at": moment_of(provenance.fetched_at).isoformat(),
            "ckvd.checksum": provenance.checksum,
            "ckvd.gaps": provenance.gaps or "",
        },
    )


def read(path: str, series: Series, day: date, *, mapped: bool = True) -> ArrowFile:
    """A day's file, validated as far as it can be without reading its values, which are for `check`.

    It may be a symbolic link, as tools that version data put in place.

    Raises:
        FileNotFoundError: There is none.
        CacheError: It is torn, foreign, damaged or another day's.
    """
    try:
        file = arrowfile.read(path, series.schema, mapped=mapped, follow=True)
        found = tuple(file.metadata.get(key, b"").decode() for key in (b"ckvd.format", b"ckvd.series", b"ckvd.date"))
        expected = (FORMAT, series.key, str(day))
        if found[0] not in _FORMATS or found[1:] != expected[1:]:
            raise ValueError(f"its metadata says {' '.join(found).strip() or 'nothing'}, not {' '.join(expected)}")
        source_of(file)
        times, begin = open_times(file.rows), day_start(day)
        if len(times) and not begin <= times[0] <= times[-1] < begin + DAY:
            raise ValueError("its bars are of another day")
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise _unusable(path, error) from error
    return file


def check(file: ArrowFile, path: str, columns: Iterable[str]) -> None:
    """Compare the values of some columns of a day's file with their checksums. Raises `CacheError`."""
    try:
        file.check(columns)
    except ValueError as error:
        raise _unusable(path, error) from error


def source_of(file: ArrowFile) -> Source:
    """The source of a day file's rows. Raises one of `UNREADABLE` where the metadata does not say it."""
    return Source(file.metadata[b"ckvd.source"].decode())


def describe(path: str, series: Series, day: date, *, verify: bool = False) -> DayFile:
    """The metadata of a day's file; with `verify` also compares its values with their hash. Raises as `read` does."""
    file = read(path, series, day)
    try:
        if verify:
            file.verify_values()
        metadata = {key.decode(): value.decode() for key, value in file.metadata.items()}
        provenance = Provenance(
            source_of(file),
            metadata["ckvd.url"],
            metadata["ckvd.sha256"],
            parse_time(metadata["ckvd.fetched_at"], "fetched_at"),
            _VERIFIED[metadata["ckvd.checksum"]],
            GapCheck(metadata["ckvd.gaps"]) if metadata["ckvd.gaps"] else None,
            metadata.get(_DUPLICATES) == _LAST,
        )
    except UNREADABLE as error:
        raise _unusable(path, error) from error
    return DayFile(series, day, Path(path), file.rows.num_rows, file.stamp, provenance)


def _unusable(path: str, error: Exception) -> CacheError:
    out_of_resources = isinstance(error, OSError) and error.errno in OUT_OF_RESOURCES
    return CacheError(f"day file {path} can't be used: {error}", path, damaged=not out_of_resources)
