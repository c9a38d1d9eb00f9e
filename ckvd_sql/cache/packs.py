"""Packs: the rows of many days in one file, derived from their day files and never the only copy.

Opening a file costs far more than reading it. A pack holds the days that a series had of one year, or of one month
where bars are shorter than an hour; 1s bars need none. A pack is valid only as long as the day files that it was made
from are the same: its metadata has a fingerprint of their times, sizes and inode numbers. Packs may be deleted at any
time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckvd_sql.cache import arrowfile
from ckvd_sql.cache.arrowfile import UNREADABLE
from ckvd_sql.market.bars import concat_batches, open_times, rows_between
from ckvd_sql.market.periods import DAY, SECOND, day_number, numbered_day
from ckvd_sql.market.provenance import Source, SourcedRows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from ckvd_sql.cache.arrowfile import ArrowFile
    from ckvd_sql.cache.directory import Stamps
    from ckvd_sql.market.series import Interval, Series

FORMAT = "3"  # 1 did not have the sources, 2 no checksums of the columns

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

    Attributes:
        first: The first day.
        last: The last day.
        rows: The rows.
        sources: Runs of days from one source: the last day of each run, and the source.
        fingerprint: The fingerprint of the day files that it was made from.
        file: The file that it was read from; None where it is in memory alone.
    """

    first: int
    last: int
    rows: pa.RecordBatch
    sources: tuple[tuple[int, Source], ...]
    fingerprint: str
    file: ArrowFile | None = None

    def covers(self, number: int) -> bool:
        """Whether the rows of a day that has a file are in the pack."""
        return self.first <= number <= self.last

    def days(self, first: int, last: int) -> list[SourcedRows]:
        """The rows of the days from `first` to `last`, both included, by source and without a copy."""
        if first <= self.first and self.last <= last and len(self.sources) == 1:
            return [SourcedRows(self.sources[0][1], self.rows)]
        parts = []
        for end, source in self.sources:
            if first <= min(end, last):
                rows = rows_between(self.rows, first * DAY, (min(end, last) + 1) * DAY)
                parts.append(SourcedRows(source, rows))
                first = end + 1
        return parts

    def check(self, columns: Iterable[str]) -> None:
        """Compare the values of some columns with their checksums. Raises `ValueError`."""
        if self.file:
            self.file.check(columns)

    def is_valid(self, stamps: Stamps) -> bool:
        """Whether the day files are still those it was made from, given the stamps of all that are there now."""
        begin, end = stamps[:, 0].searchsorted((self.first, self.last + 1))
        return self.fingerprint == fingerprint(stamps[begin:end])


def periods(interval: Interval, first: int, last: int) -> Iterator[PackPeriod | None]:
    """The periods of the packs that hold the days from `first` to `last`; None where there are no packs."""
    if interval.step == SECOND:
        yield None
        return
    for period in interval.file_periods(numbered_day(first), numbered_day(last)):
        yield PackPeriod(period.name, day_number(period.first), day_number(period.last))


def encode(series: Series, days: list[SourcedRows], stamps: Stamps) -> list[bytes]:
    """The content of a pack of these days, whose files have these stamps."""
    values = (FORMAT, series.key, str(stamps[0, 0]), str(stamps[-1, 0]))
    metadata = {key.decode(): value for key, value in zip(_KEYS, values, strict=True)}
    metadata["ckvd.files"] = fingerprint(stamps)
    runs = source_runs(stamps[:, 0].tolist(), days)
    metadata["ckvd.sources"] = " ".join(f"{last}:{source}" for last, source in runs)
    return arrowfile.encode(concat_batches([day.rows for day in days]), metadata)


def source_runs(numbers: list[int], days: list[SourcedRows]) -> tuple[tuple[int, Source], ...]:
    """Runs of days from one source, given in order: the last day of each run, and the source."""
    sources = [day.source for day in days]
    ends = [at for at, source in enumerate(sources) if sources[at + 1 : at + 2] != [source]]
    return tuple((numbers[at], sources[at]) for at in ends)


def read(path: str, series: Series, period: PackPeriod, *, mapped: bool = True) -> Pack | None:
    """A period's pack; None where there is no readable one of this series and period.

    Whether its day files are the same is not known before `Pack.is_valid`.
    """
    try:
        file = arrowfile.read(path, series.schema, mapped=mapped)
        found = [file.metadata[key].decode() for key in _KEYS]
        first, last = int(found[2]), int(found[3])
        times = open_times(file.rows)
        if found[:2] != [FORMAT, series.key] or not period.first <= first <= last <= period.last:
            return None
        if len(times) and not first * DAY <= times[0] <= times[-1] < (last + 1) * DAY:
            return None
        runs = (run.split(":") for run in file.metadata[b"ckvd.sources"].decode().split(" "))
        sources = tuple((int(number), Source(source)) for number, source in runs)
        ends = [number for number, _ in sources]
        if ends != sorted(set(ends)) or not first <= ends[0] or ends[-1] != last:
            return None
        return Pack(first, last, file.rows, sources, file.metadata[b"ckvd.files"].decode(), file)
    except UNREADABLE:
        return None


def fingerprint(stamps: Stamps) -> str:
    """What tells these day files from others."""
    return hashlib.blake2b(stamps.tobytes(), digest_size=16).hexdigest()
