"""Packs: the bars of many days in one file, made from their day files and never the only copy.

Opening a file costs far more than reading it. A pack holds the days that a series had of one year, or of one month
where bars are shorter than an hour; those of 1s need none. It is believed only as long as the day files that it was
made from are the same: a fingerprint of their times, sizes and inode numbers is in its metadata. Packs may be deleted
at any time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from ckvd_sql.cache.arrowfile import UNREADABLE, seal, unseal
from ckvd_sql.market.bars import open_times, rows_between
from ckvd_sql.market.periods import DAY, HOUR, SECOND, Month, day_number, numbered_day

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckvd_sql.cache.directory import Stamps
    from ckvd_sql.market.series import Interval, Series

FORMAT = "1"

_NAMES = (b"ckvd.pack", b"ckvd.series", b"ckvd.first", b"ckvd.last")


@dataclass(frozen=True, slots=True)
class Period:
    """What one pack covers, by its first and last day since the epoch; `name` is `2024` or `2024-03`."""

    name: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """The bars of every day that had a file from `first` to `last`, in order."""

    first: int
    last: int
    bars: pa.RecordBatch

    def has(self, number: int) -> bool:
        """Whether a day that had a file is in it."""
        return self.first <= number <= self.last

    def days(self, first: int, last: int) -> pa.RecordBatch:
        """The bars of some of the days, without a copy."""
        if first <= self.first and self.last <= last:
            return self.bars
        return rows_between(self.bars, first * DAY, (last + 1) * DAY)


def periods(interval: Interval, first: int, last: int) -> Iterator[Period | None]:
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
        yield Period(name, day_number(begin), day_number(following - timedelta(days=1)))
        first = day_number(following)


def encode(series: Series, days: list[pa.RecordBatch], stamps: Stamps) -> list[bytes]:
    """The content of a pack of these days, whose files have these stamps."""
    bars = pa.concat_batches(days)
    first, last = int(stamps[0, 0]), int(stamps[-1, 0])
    said = zip(_NAMES, (FORMAT, series.key, str(first), str(last)), strict=True)
    return seal(bars, {name.decode(): value for name, value in said} | {"ckvd.files": _fingerprint(stamps)})


def read(path: str, series: Series, period: Period) -> tuple[Pack, str] | None:
    """A period's pack and the fingerprint of the files it was made from; None where there is none that can be used."""
    try:
        found = unseal(path)
        said = [found.said[name].decode() for name in _NAMES]
        first, last = int(said[2]), int(said[3])
        times = open_times(found.bars)
        fits = period.first <= first <= last <= period.last
        if said[:2] != [FORMAT, series.key] or not fits:
            return None
        if len(times) and not first * DAY <= times[0] <= times[-1] < (last + 1) * DAY:
            return None
        return Pack(first, last, found.bars), found.said[b"ckvd.files"].decode()
    except UNREADABLE:
        return None


def is_of(pack: Pack, fingerprint: str, stamps: Stamps) -> bool:
    """Whether the files that a pack was made from are among those with these stamps, and no others of its days."""
    begin, end = stamps[:, 0].searchsorted((pack.first, pack.last + 1))
    return fingerprint == _fingerprint(stamps[begin:end])


def _fingerprint(stamps: Stamps) -> str:
    return hashlib.blake2b(stamps.tobytes(), digest_size=16).hexdigest()
