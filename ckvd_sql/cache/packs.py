"""Packs: the rows of many days in one file, derived from their day files and never the only copy.

Opening a file costs far more than reading it. A pack holds the days that a series had of one year, or of one month
where bars are shorter than an hour; 1s bars need none. A pack is valid only as long as the day files that it was made
from are the same: its metadata has a fingerprint of their times, sizes and inode numbers. Packs may be deleted at any
time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from ckvd_sql.cache import arrowfile
from ckvd_sql.cache.arrowfile import UNREADABLE
from ckvd_sql.market.bars import concat_batches, open_times, rows_between
from ckvd_sql.market.periods import DAY, HOUR, SECOND, Month, day_number, numbered_day

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from ckvd_sql.cache.directory import Stamps
    from ckvd_sql.market.series import Interval, Series

FORMAT = "1"

_KEYS = (b"ckvd.pack", b"ckvd.series", b"ckvd.first", b"ckvd.last")


@dataclass(frozen=True, slots=True)
class PackPeriod:
    """The days that one pack covers: a year or a month.

    Attributes:
        name: `2024` or `2024-03`.
        first: The first day, as days since the epoch.
        last: The last day, likewise.
    """

    name: str
    first: int
    last: int

    @property
    def file_name(self) -> str:
        """The name of the pack's file."""
        return f"{self.name}.pack"


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """The rows of every day that had a file from `first` to `last` (days since the epoch), in order.

    `fingerprint` is that of the day files that it was made from.
    """

    first: int
    last: int
    rows: pa.RecordBatch
    fingerprint: str

    def covers(self, number: int) -> bool:
        """Whether the rows of a day that has a file are in the pack."""
        return self.first <= number <= self.last

    def days(self, first: int, last: int) -> pa.RecordBatch:
        """The rows of the days from `first` to `last`, both included, without a copy."""
        if first <= self.first and self.last <= last:
            return self.rows
        return rows_between(self.rows, first * DAY, (last + 1) * DAY)

    def is_valid(self, stamps: Stamps) -> bool:
        """Whether the day files are still those it was made from, given the stamps of all that are there now."""
        begin, end = stamps[:, 0].searchsorted((self.first, self.last + 1))
        return self.fingerprint == fingerprint(stamps[begin:end])


def periods(interval: Interval, first: int, last: int) -> Iterator[PackPeriod | None]:
    """The periods of the packs that hold the days from `first` to `last`; None where there are no packs."""
    if interval.step == SECOND:
        yield None
        return
    yearly = interval.step is None or interval.step >= HOUR
    while first <= last:
        day = numbered_day(first)
        begin = date(day.year, 1, 1) if yearly else day.replace(day=1)
        following = date(day.year + 1, 1, 1) if yearly else Month.of(day).next.first
        name = str(day.year) if yearly else str(Month.of(day))
        yield PackPeriod(name, day_number(begin), day_number(following - timedelta(days=1)))
        first = day_number(following)


def encode(series: Series, days: list[pa.RecordBatch], stamps: Stamps) -> list[bytes]:
    """The content of a pack of these days, whose files have these stamps."""
    values = (FORMAT, series.key, str(stamps[0, 0]), str(stamps[-1, 0]))
    metadata = {key.decode(): value for key, value in zip(_KEYS, values, strict=True)}
    return arrowfile.encode(concat_batches(days), metadata | {"ckvd.files": fingerprint(stamps)})


def read(path: str, series: Series, period: PackPeriod) -> Pack | None:
    """A period's pack; None where there is no readable one of this series and period.

    Whether its day files are the same is not known before `Pack.is_valid`.
    """
    try:
        file = arrowfile.read(path, series.schema)
        found = [file.metadata[key].decode() for key in _KEYS]
        first, last = int(found[2]), int(found[3])
        times = open_times(file.rows)
        if found[:2] != [FORMAT, series.key] or not period.first <= first <= last <= period.last:
            return None
        if len(times) and not first * DAY <= times[0] <= times[-1] < (last + 1) * DAY:
            return None
        return Pack(first, last, file.rows, file.metadata[b"ckvd.files"].decode())
    except UNREADABLE:
        return None


def fingerprint(stamps: Stamps) -> str:
    """What tells these day files from others."""
    return hashlib.blake2b(stamps.tobytes(), digest_size=16).hexdigest()
