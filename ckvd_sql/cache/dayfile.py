"""A day file: one UTC day of a series, which says of itself what it holds and where that came from.

What does not read back as exactly that day is damaged, and no answer.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ckvd_sql.cache.arrowfile import UNREADABLE, SealedBars, seal, unseal
from ckvd_sql.errors import CacheError
from ckvd_sql.market.bars import open_times
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import DAY, day_start, moment_of

if TYPE_CHECKING:
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.market.series import Series

FORMAT = "1"

#: A process is short of something; the file may well be sound.
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a day's bars came from.

    Attributes:
        source: `vision` or `rest`.
        url: What was asked.
        sha256: The archive's SHA-256 in hex; empty for REST.
        fetched_at: When, in microseconds since the epoch.
        checksum: `verified`, or `unverified` where the user let a wrong one pass; empty for REST.
        gaps: What REST said of the bars that an archived day lacks: `confirmed`, or `unconfirmed` where it could
            not say; empty where none lack, and for REST.
    """

    source: str
    url: str
    sha256: str
    fetched_at: int
    checksum: str = ""
    gaps: str = ""


@dataclass(frozen=True, slots=True)
class DayFile:
    """A day file and what it says of itself; its `stamp` is that of `SealedBars`."""

    series: Series
    day: date
    path: Path
    rows: int
    stamp: tuple[int, int, int]
    provenance: Provenance

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.stamp[1]


def encode(series: Series, day: date, bars: pa.RecordBatch, provenance: Provenance) -> list[bytes]:
    """The content of a day's file, piece by piece."""
    return seal(
        bars,
        {
            "ckvd.format": FORMAT,
            "ckvd.series": series.key,
            "ckvd.date": str(day),
            "ckvd.source": provenance.source,
            "ckvd.url": provenance.url,
            "ckvd.sha256": provenance.sha256,
            "ckvd.fetched_at": moment_of(provenance.fetched_at).isoformat(),
            "ckvd.checksum": provenance.checksum,
            "ckvd.gaps": provenance.gaps,
        },
    )


def read(path: str, series: Series, day: date) -> SealedBars:
    """A day's file.

    Raises:
        FileNotFoundError: It is not there.
        CacheError: It is torn, foreign, damaged or another day's.
    """
    try:
        found = unseal(path)
        said = tuple(found.said.get(key, b"").decode() for key in (b"ckvd.format", b"ckvd.series", b"ckvd.date"))
        wanted = (FORMAT, series.key, str(day))
        if said != wanted:
            raise ValueError(f"it says it is {' '.join(said).strip() or 'nothing'}, not {' '.join(wanted)}")
        times, begin = open_times(found.bars), day_start(day)
        if len(times) and not begin <= times[0] <= times[-1] < begin + DAY:
            raise ValueError("its bars are of another day")
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise _unusable(path, error) from error
    return found


def describe(path: str, series: Series, day: date, *, verify: bool = False) -> DayFile:
    """What a day's file says of itself; if need be after a look at every byte of it. Raises as `read` does.

    Head and foot are under the seal that every read looks at; to verify is to hold the bars' values against their
    hash too.
    """
    found = read(path, series, day)
    try:
        if verify:
            found.check_values()
        said = {key.decode(): value.decode() for key, value in found.said.items()}
        provenance = Provenance(
            said["ckvd.source"],
            said["ckvd.url"],
            said["ckvd.sha256"],
            parse_time(said["ckvd.fetched_at"], "fetched_at"),
            said["ckvd.checksum"],
            said["ckvd.gaps"],
        )
    except UNREADABLE as error:
        raise _unusable(path, error) from error
    return DayFile(series, day, Path(path), found.bars.num_rows, found.stamp, provenance)


def _unusable(path: str, error: Exception) -> CacheError:
    short = isinstance(error, OSError) and error.errno in _SHORT
    return CacheError(f"day file {path} can't be used: {error}", path, damaged=not short)
