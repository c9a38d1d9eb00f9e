"""The rows of a series' folder as it was at one moment: by day, or by ranges of days in as few batches as possible.

What was read stays in memory for as long as the snapshot lives, which is as long as the folder does not change. A file
that is overwritten in place does not change its folder, so the files that rows are given of are compared by their
stamps each time. Ranges come from packs where there are valid ones; where most of a period had to be read day by day,
its pack is written.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ckvd_sql.cache import dayfile, directory, inventory, packs
from ckvd_sql.cache.ranges import RangeMemory
from ckvd_sql.cache.series_packs import SeriesPacks
from ckvd_sql.disk.files import FileStamp, is_settled, read_whole
from ckvd_sql.errors import CacheError
from ckvd_sql.market.bars import join_days, open_times
from ckvd_sql.market.periods import day_number, numbered_day
from ckvd_sql.market.provenance import SourcedRows

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
        self._columns = frozenset(series.schema.names)
        self._inventory: pa.Table | None = None
        self._forget()

    def _forget(self) -> None:
        """Forget what was read."""
        self._opened: dict[int, ArrowFile] = {}
        self._stamps_known = _stamps_by_number(self._listing)
        self._unsettled: set[int] = set()
        self._packs = SeriesPacks(self._folder, self._series, self._open_files)
        self._ranges = RangeMemory()

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
                if (rows := self._read(number, self._columns).rows).num_rows:
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

    def read(self, day: date, columns: Iterable[str] | None = None) -> SourcedRows:
        """A day's rows. The values of the given columns, or of all, are checked, and the times. As `dayfile.read`."""
        number = day_number(day)
        if not self._numbers(number, number):
            raise FileNotFoundError(self._folder.day_path(day))
        self._compare_stamps([number])
        wanted = self._to_check(columns)
        (period,) = packs.periods(self._series.interval, number, number)
        pack = self._pack(period, wanted) if period else None
        return pack.days(number, number)[0] if pack and pack.covers(number) else self._read(number, wanted)

    def read_range(self, first: date, last: date, columns: Iterable[str] | None = None) -> list[SourcedRows]:
        """The rows of every day that has a file from `first` to `last`, in order; otherwise as `read`."""
        begin, end = day_number(first), day_number(last)
        numbers, wanted = self._numbers(begin, end), self._to_check(columns)
        if self._unsettled.isdisjoint(numbers):
            known = self._ranges.recall(first, last, wanted)
            if known is not None:
                return known
        self._compare_stamps(numbers)
        parts = self._read_range(begin, end, wanted)
        stamps = {self._path(number): self._stamps_known[number] for number in numbers}
        self._ranges.remember(first, last, wanted, parts, stamps | self._packs.stamps)
        return parts

    def drop_wrong_pack(self, day: date) -> str | None:
        """Delete the pack that has other rows of a day than its file; its path, None where there is no such pack."""
        number = day_number(day)
        (period,) = packs.periods(self._series.interval, number, number)
        pack = self._pack(period, frozenset(), read_stats=True) if period else None
        if not period or not pack or not pack.covers(number):
            return None
        with contextlib.suppress(ValueError):  # a value is damaged
            pack.check(self._columns)
            if pack.days(number, number) == [self._sourced(self._open(number))]:
                return None
        self._ranges.clear()
        return self._packs.drop(period)

    def inventory(self, days: Iterable[date]) -> pa.Table:
        """The metadata of the files of some days, by `INVENTORY_SCHEMA`; unreadable ones are logged instead."""
        wanted = np.array([day_number(day) for day in days], dtype=np.int64)
        self._compare_stamps(wanted.tolist())
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

    def _to_check(self, columns: Iterable[str] | None) -> frozenset[str]:
        """The columns to check: those that are wanted, and the first, by which rows are cut."""
        return self._columns if columns is None else frozenset((self._series.schema.names[0], *columns))

    # Files that are overwritten in place.

    def _compare_stamps(self, numbers: list[int]) -> None:
        """Forget what was read where the file of one of these days was overwritten. One that is gone was right."""
        if not self._unsettled.isdisjoint(numbers):  # it may be overwritten within the same tick of the clock
            self._forget()
        for number in numbers:
            known = self._stamps_known.get(number)
            if known is None:
                continue
            now = FileStamp.of_path(self._path(number))
            if now is not None and now != known:
                self._listing = replace(self._listing, stamps=None)
                self._inventory = None
                self._forget()
                return

    # Ranges: out of packs where there are valid ones.

    def _read_range(self, first: int, last: int, columns: frozenset[str]) -> list[SourcedRows]:
        parts: list[SourcedRows] = []
        for period in packs.periods(self._series.interval, first, last):
            if period:
                parts += self._read_period(period, max(first, period.first), min(last, period.last), columns)
            else:
                parts += (self._read(number, columns) for number in self._numbers(first, last))
        return parts

    def _read_period(self, period: PackPeriod, first: int, last: int, columns: frozenset[str]) -> list[SourcedRows]:
        """The days of one period: those in its pack from there, the others one by one."""
        wanted = self._numbers(first, last)
        pack = self._pack(period, columns, read_stats=len(wanted) >= _WORTH_WRITING)
        single = [number for number in wanted if not (pack and pack.covers(number))]
        most = 2 * len(wanted) >= len(self._numbers(period.first, period.last))
        if len(single) >= _WORTH_WRITING and most and (new := self._make_pack(period)):
            pack = new
            single = [number for number in wanted if not pack.covers(number)]
        if pack is None:
            return self._read_joined(single, columns)
        packed = pack.days(first, last) if first <= pack.last and pack.first <= last else []
        before, after = ([number for number in single if (number < pack.first) is early] for early in (True, False))
        return [*self._read_joined(before, columns), *packed, *self._read_joined(after, columns)]

    def _read_joined(self, numbers: list[int], columns: frozenset[str]) -> list[SourcedRows]:
        """Days one by one, adjacent small ones of one source joined."""
        parts: list[SourcedRows] = []
        for source, run in groupby((self._read(number, columns) for number in numbers), key=lambda day: day.source):
            days = [day.rows for day in run]
            joined = join_days(days)
            if len(joined) < len(days):
                self._open_files.add(size=sum(rows.nbytes for rows in joined))
            parts += [SourcedRows(source, rows) for rows in joined]
        return parts

    # Packs.

    def _pack(self, period: PackPeriod, columns: frozenset[str], *, read_stats: bool = False) -> Pack | None:
        """The period's pack, if there is a valid one; the values of these columns are checked.

        Validation needs a `stat` of every file of the folder. Where there was none yet, it is done only if requested,
        since it takes longer than opening a few days.
        """
        if self._packs.has_changed(period):
            self._ranges.clear()
        elif not self._packs.was_read(period) and self._listing.stamps is None and not read_stats:
            return None
        return self._packs.read(period, columns, self._stamps)

    def _make_pack(self, period: PackPeriod) -> Pack | None:
        """A new pack; None where a day can't be read or may just be changing, or where it is large and not written."""
        numbers = self._numbers(period.first, period.last)
        if self._packs.was_made(period):
            return None
        try:
            files = [self._open(number) for number in numbers]
        except (CacheError, FileNotFoundError):
            return None
        if not all(_has_settled(file.stamp) for file in files):
            return None
        for number, file in zip(numbers, files, strict=True):
            self._opened.pop(number, None)  # it may be an older one
            self._stamps_known[number] = file.stamp
        stamps = np.array([(number, *self._stamps_known[number]) for number in numbers], dtype=np.int64)
        return self._packs.make(period, list(map(self._sourced, files)), stamps)

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
            self._stamps_known = _stamps_by_number(listing) | self._stamps_known
            if settled and listing.stamps is not None:
                stored = directory.serialize(listing.changed, listing.stamps, self._folder.key)
                self._folder.write_derived(_DIRECTORY, [stored])
        return self._listing.stamps

    # Single days.

    def _numbers(self, first: int, last: int) -> list[int]:
        """The days that have a file from `first` to `last`, as days since the epoch."""
        numbers: list[int] = self._listing.numbers[self._listing.between(first, last)].tolist()
        return numbers

    def _read(self, number: int, columns: frozenset[str]) -> SourcedRows:
        file = self._opened.get(number)
        if file is None:
            file = self._opened[number] = self._open(number, columns)
            self._open_files.count(file)
            self._stamps_known[number] = file.stamp
            if not _has_settled(file.stamp):
                self._unsettled.add(number)
        else:
            dayfile.check(file, self._path(number), columns)
        return self._sourced(file)

    @staticmethod
    def _sourced(file: ArrowFile) -> SourcedRows:
        return SourcedRows(dayfile.source_of(file), file.rows)

    def _open(self, number: int, columns: Iterable[str] | None = None) -> ArrowFile:
        """A day's file, with the values of the given columns, or of all, checked."""
        path = self._path(number)
        read = functools.partial(dayfile.read, path, self._series, numbered_day(number), mapped=self._folder.mapped)
        try:
            file = read()
        except CacheError as error:
            if error.damaged:
                raise
            self._open_files.release()  # there is no address space for one more file
            file = read()
        dayfile.check(file, path, self._columns if columns is None else columns)
        return file

    def _path(self, number: int) -> str:
        return self._folder.day_path(numbered_day(number))


def _stamps_by_number(listing: Directory) -> dict[int, FileStamp]:
    return {} if listing.stamps is None else {row[0]: FileStamp(*row[1:]) for row in listing.stamps.tolist()}


def _has_settled(stamp: FileStamp) -> bool:
    return is_settled(max(stamp.modified, stamp.changed))
