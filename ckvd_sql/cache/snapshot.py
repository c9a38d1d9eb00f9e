"""The rows of a series' folder as it was at one moment: by day, or by ranges of days in as few batches as possible.

Opened files stay open for as long as the snapshot lives, which is as long as the folder does not change. Ranges come
from packs where there are valid ones; where most of a period had to be read day by day, its pack is written.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ckvd_sql.cache import dayfile, directory, inventory, packs
from ckvd_sql.cache.dayfile import SourcedRows
from ckvd_sql.cache.files import read_whole
from ckvd_sql.errors import CacheError
from ckvd_sql.market.bars import join_days, open_times
from ckvd_sql.market.periods import day_number, numbered_day

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from ckvd_sql.cache.arrowfile import ArrowFile
    from ckvd_sql.cache.directory import Directory, Stamps
    from ckvd_sql.cache.folder import OpenFiles, SeriesFolder
    from ckvd_sql.cache.packs import Pack, PackPeriod
    from ckvd_sql.market.series import Series

log = logging.getLogger("ckvd_sql")

#: Names of derived files beside the packs: the directory listing and the inventory.
_DIRECTORY = "days"
_INVENTORY = "inventory"

#: A pack or an inventory is written when this many days had to be opened one by one.
_WORTH_WRITING = 28

#: How many ranges are remembered, for queries that read the same again.
_RANGES = 64


class Snapshot:
    """A series' folder at one moment.

    Args:
        folder: The folder.
        series: The series.
        listing: Its day files at that moment.
        open_files: Counts what the snapshot keeps open.
    """

    def __init__(self, folder: SeriesFolder, series: Series, listing: Directory, open_files: OpenFiles) -> None:
        self.changed = listing.changed
        self._folder = folder
        self._series = series
        self._listing = listing
        self._open_files = open_files
        self._opened: dict[int, SourcedRows] = {}
        self._packs: dict[str, Pack | None] = {}
        self._tried: set[str] = set()
        self._inventory: pa.Table | None = None
        self._ranges: dict[tuple[date, date], list[SourcedRows]] = {}

    @classmethod
    def take(cls, folder: SeriesFolder, series: Series, changed: int, open_files: OpenFiles) -> Snapshot:
        """A snapshot of a folder with this time of change, from the stored listing if that is valid, else by names.

        Raises:
            OSError: The folder can't be read.
        """
        try:
            stored = directory.deserialize(read_whole(folder.derived_path(_DIRECTORY)), folder.key, changed)
        except (OSError, ValueError):
            stored = None
        return cls(folder, series, stored or directory.read_names(folder.path, changed), open_files)

    @functools.cached_property
    def days(self) -> frozenset[date]:
        """The days that have a file."""
        return frozenset(map(numbered_day, self._listing.numbers.tolist()))

    @functools.cached_property
    def first_open(self) -> int | None:
        """The open time of the series' first bar in microseconds since the epoch, where it has been learnt."""
        return self._folder.read_first_open()

    @functools.cached_property
    def bar_time(self) -> int | None:
        """The open time of some bar of the series in microseconds, where any is known: it tells a grid."""
        if self.first_open is not None:
            return self.first_open
        for number in self._listing.numbers[::-1].tolist():
            with contextlib.suppress(CacheError, FileNotFoundError):
                if (rows := self._read(number).rows).num_rows:
                    return int(open_times(rows)[0])
        return None

    @functools.cached_property
    def days_off_grid(self) -> list[date]:
        """The days that have a file and on which the grid that `bar_time` tells opens no bar."""
        if self.bar_time is None:
            return []
        interval = self._series.interval.with_bar_at(self.bar_time)
        return [day for day in self.days if interval.first_close(day) is None]

    def has_all(self, first: date, last: date) -> bool:
        """Whether every day on which the grid opens a bar from `first` to `last`, both included, has a file."""
        if not self._series.interval.multi_day:
            begin, end = day_number(first), day_number(last)
            found = self._listing.between(begin, end)
            return bool(found.stop - found.start == end - begin + 1)
        return self.days.issuperset(self._series.interval.open_days(first, last))

    def read(self, day: date) -> SourcedRows:
        """A day's rows. Raises as `dayfile.read`."""
        number = day_number(day)
        if not self._numbers(number, number):
            raise FileNotFoundError(self._folder.day_path(day))
        (period,) = packs.periods(self._series.interval, number, number)
        pack = self._pack(period) if period else None
        return pack.days(number, number)[0] if pack and pack.covers(number) else self._read(number)

    def read_range(self, first: date, last: date) -> list[SourcedRows]:
        """The rows of every day that has a file from `first` to `last`, in order. Raises as `dayfile.read`."""
        known = self._ranges.get((first, last))
        if known is None:
            if len(self._ranges) >= _RANGES:
                self._ranges.clear()
            known = self._ranges[first, last] = self._read_range(day_number(first), day_number(last))
        return known

    def verify_pack(self, day: date) -> None:
        """Compare a day's rows in its pack, if it has one, with those in its file. A pack that differs is deleted."""
        number = day_number(day)
        (period,) = packs.periods(self._series.interval, number, number)
        pack = self._pack(period, read_stats=True) if period else None
        if period and pack and pack.covers(number) and pack.days(number, number) != [self._sourced(self._open(number))]:
            path = self._folder.derived_path(period.file_name)
            log.warning("pack %s has other bars of %s than the day file; it is deleted", path, day)
            self._packs[period.name] = None
            self._ranges.clear()
            Path(path).unlink(missing_ok=True)

    def inventory(self, days: Iterable[date]) -> pa.Table:
        """The metadata of the files of some days, by `INVENTORY_SCHEMA`; unreadable ones are logged instead."""
        wanted = np.array([day_number(day) for day in days], dtype=np.int64)
        known = self._stored_inventory() if self._inventory is None else self._inventory
        new = []
        for number in np.setdiff1d(wanted, known.column("number").to_numpy()).tolist():
            day = numbered_day(number)
            try:
                new.append(dayfile.describe(self._folder.day_path(day), self._series, day))
            except (FileNotFoundError, CacheError) as error:
                log.warning("%s", error)
        if new:
            known = pa.concat_tables([known, inventory.from_files(new)]).sort_by("number").combine_chunks()
            if len(new) >= _WORTH_WRITING:
                self._folder.write_derived(_INVENTORY, [inventory.serialize(known, self._folder.key)])
        self._inventory = known
        found = np.isin(known.column("number").to_numpy(), wanted).nonzero()[0]
        return known if len(found) == known.num_rows else known.take(found)

    def _stored_inventory(self) -> pa.Table:
        """The rows of the stored inventory whose files are still in their places."""
        try:
            stored = inventory.deserialize(read_whole(self._folder.derived_path(_INVENTORY)), self._folder.key)
        except OSError:
            stored = None
        stamps = None if stored is None else self._stamps()
        return inventory.from_files([]) if stored is None or stamps is None else inventory.valid_rows(stored, stamps)

    # Ranges: out of packs where there are valid ones.

    def _read_range(self, first: int, last: int) -> list[SourcedRows]:
        parts: list[SourcedRows] = []
        for period in packs.periods(self._series.interval, first, last):
            if period:
                parts += self._read_period(period, max(first, period.first), min(last, period.last))
            else:
                parts += map(self._read, self._numbers(first, last))
        return parts

    def _read_period(self, period: PackPeriod, first: int, last: int) -> list[SourcedRows]:
        """The days of one period: those in its pack from there, the others one by one."""
        wanted = self._numbers(first, last)
        pack = self._pack(period, read_stats=len(wanted) >= _WORTH_WRITING)
        single = [number for number in wanted if not (pack and pack.covers(number))]
        most = 2 * len(wanted) >= len(self._numbers(period.first, period.last))
        if len(single) >= _WORTH_WRITING and most and (new := self._make_pack(period)):
            pack = new
            single = [number for number in wanted if not pack.covers(number)]
        if pack is None:
            return self._read_joined(single)
        packed = pack.days(first, last) if first <= pack.last and pack.first <= last else []
        before, after = ([number for number in single if (number < pack.first) is early] for early in (True, False))
        return [*self._read_joined(before), *packed, *self._read_joined(after)]

    def _read_joined(self, numbers: list[int]) -> list[SourcedRows]:
        """Days one by one, adjacent small ones of one source joined."""
        parts: list[SourcedRows] = []
        for source, run in groupby(map(self._read, numbers), key=lambda day: day.source):
            days = [day.rows for day in run]
            joined = join_days(days)
            if len(joined) < len(days):
                self._open_files.add(size=sum(rows.nbytes for rows in joined))
            parts += [SourcedRows(source, rows) for rows in joined]
        return parts

    # Packs.

    def _pack(self, period: PackPeriod, *, read_stats: bool = False) -> Pack | None:
        """The period's pack, if there is a valid one.

        Validation needs a `stat` of every file of the folder. Where there was none yet, it is done only if requested,
        since it takes longer than opening a few days.
        """
        if period.name not in self._packs:
            if self._listing.stamps is None and not read_stats:
                return None
            pack = packs.read(self._folder.derived_path(period.file_name), self._series, period)
            stamps = self._stamps() if pack else None
            valid = pack if pack and stamps is not None and pack.is_valid(stamps) else None
            self._packs[period.name] = valid
            self._open_files.add(maps=int(valid is not None))
        return self._packs[period.name]

    def _make_pack(self, period: PackPeriod) -> Pack | None:
        """A new pack; None where a day can't be read, or where the pack is large and can't be written."""
        if period.name in self._tried:
            return None
        self._tried.add(period.name)
        numbers = self._numbers(period.first, period.last)
        try:
            files = [self._open(number) for number in numbers]
        except (CacheError, FileNotFoundError):
            return None
        days = [self._sourced(file) for file in files]
        stamps = np.array([(number, *file.stamp) for number, file in zip(numbers, files, strict=True)], dtype=np.int64)
        written = self._folder.write_derived(period.file_name, packs.encode(self._series, days, stamps))
        pack = packs.read(self._folder.derived_path(period.file_name), self._series, period) if written else None
        if pack and pack.is_valid(stamps):  # and not what another process has written meanwhile
            self._open_files.add(maps=1)
            self._packs[period.name] = pack
        elif len(joined := join_days([day.rows for day in days])) == 1:
            self._open_files.add(size=joined[0].nbytes)
            self._packs[period.name] = packs.Pack(
                numbers[0], numbers[-1], joined[0], packs.source_runs(numbers, days), packs.fingerprint(stamps)
            )
        return self._packs.get(period.name)

    def _stamps(self) -> Stamps | None:
        """The stamp of each file; None where the folder has changed since this snapshot."""
        if self._listing.stamps is None:
            try:
                listing, settled = directory.read_stats(self._folder.path)
            except OSError:
                return None
            if listing.changed != self.changed or not np.array_equal(listing.numbers, self._listing.numbers):
                return None
            self._listing = listing
            if settled and listing.stamps is not None:
                stored = directory.serialize(listing.changed, listing.stamps, self._folder.key)
                self._folder.write_derived(_DIRECTORY, [stored])
        return self._listing.stamps

    # Single days.

    def _numbers(self, first: int, last: int) -> list[int]:
        """The days that have a file from `first` to `last`, as days since the epoch."""
        numbers: list[int] = self._listing.numbers[self._listing.between(first, last)].tolist()
        return numbers

    def _read(self, number: int) -> SourcedRows:
        day = self._opened.get(number)
        if day is None:
            file = self._open(number)
            day = self._opened[number] = self._sourced(file)
            self._open_files.add(maps=int(file.mapped), size=0 if file.mapped else file.stamp.size)
        return day

    @staticmethod
    def _sourced(file: ArrowFile) -> SourcedRows:
        return SourcedRows(dayfile.source_of(file), file.rows)

    def _open(self, number: int) -> ArrowFile:
        day = numbered_day(number)
        return dayfile.read(self._folder.day_path(day), self._series, day)
