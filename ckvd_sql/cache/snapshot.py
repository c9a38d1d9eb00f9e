"""The bars of a series' folder as it was at one look: by day, or by stretches of days in as few pieces as can be.

What has been opened stays open for as long as the snapshot lives, which is as long as the folder does not change.
Stretches come from packs where there are some; where most of a period had to be read day by day, a pack is made.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ckvd_sql.cache import dayfile, inventory, packs
from ckvd_sql.cache.directory import SUFFIX, Look, by_files, spelled, whole_file
from ckvd_sql.errors import CacheError
from ckvd_sql.market.bars import join_days
from ckvd_sql.market.periods import day_number, numbered_day

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date

    from ckvd_sql.cache.arrowfile import SealedBars
    from ckvd_sql.cache.directory import Stamps
    from ckvd_sql.cache.packs import Pack, Period
    from ckvd_sql.market.series import Series

log = logging.getLogger("ckvd_sql")

#: Where what is derived from a series' day files is, beside them, and what is in it beside packs.
DERIVED = ".packs"
LOOK = "days"
INVENTORY = "inventory"

#: A pack is made, or the inventory kept, when this many days had to be opened one by one.
_WORTH_IT = 28

#: How many stretches are remembered, for those who ask for the same again.
_STRETCHES = 64


@dataclass(frozen=True, slots=True)
class Disk:
    """What a snapshot is given of the disk.

    Attributes:
        folder: The folder of the day files.
        keep: Keeps derived content below a name in `DERIVED`, if the disk allows; says whether it did.
        hold: Told of each file that is mapped, and of bytes that are held in memory.
    """

    folder: str
    keep: Callable[[str, Iterable[bytes]], bool]
    hold: Callable[[int, int], None]


class Snapshot:
    """A series' folder at one look.

    Args:
        disk: Where it is.
        series: The series.
        look: The look.
    """

    def __init__(self, disk: Disk, series: Series, look: Look) -> None:
        self.changed = look.changed
        self._disk = disk
        self._series = series
        self._look = look
        self._opened: dict[int, pa.RecordBatch] = {}
        self._packs: dict[str, Pack | None] = {}
        self._tried: set[str] = set()
        self._inventory: pa.Table | None = None
        self._stretches: dict[tuple[date, date], list[pa.RecordBatch]] = {}

    @functools.cached_property
    def days(self) -> frozenset[date]:
        """The days that have a file."""
        return frozenset(map(numbered_day, self._look.numbers.tolist()))

    def holds(self, first: date, last: date) -> bool:
        """Whether every day that opens a bar from `first` to `last`, both included, is here."""
        if not self._series.interval.multi_day:
            begin, end = day_number(first), day_number(last)
            here = self._look.between(begin, end)
            return bool(here.stop - here.start == end - begin + 1)
        return self.days.issuperset(self._series.interval.open_days(first, last))

    def read(self, day: date) -> pa.RecordBatch:
        """A day's bars. Raises as `dayfile.read`."""
        number = day_number(day)
        if not self._numbers(number, number):
            raise FileNotFoundError(self._path(day))
        (period,) = packs.periods(self._series.interval, number, number)
        pack = self._pack(period) if period else None
        return pack.days(number, number) if pack and pack.has(number) else self._read(number)

    def stretch(self, first: date, last: date) -> list[pa.RecordBatch]:
        """The bars of every day that is here from `first` to `last`, in order. Raises as `dayfile.read`."""
        known = self._stretches.get((first, last))
        if known is None:
            if len(self._stretches) >= _STRETCHES:
                self._stretches.clear()
            known = self._stretches[first, last] = self._stretch(day_number(first), day_number(last))
        return known

    def check_pack(self, day: date) -> None:
        """Hold a day's bars in its pack, if it is in one, against its file. A pack that has others is deleted."""
        number = day_number(day)
        (period,) = packs.periods(self._series.interval, number, number)
        pack = self._pack(period, look=True) if period else None
        if period and pack and pack.has(number) and not pack.days(number, number).equals(self._open(number).bars):
            path = self._pack_path(period)
            log.warning("pack %s has other bars of %s than the day file; it is deleted", path, day)
            self._packs[period.name] = None
            self._stretches.clear()
            Path(path).unlink(missing_ok=True)

    def inventory(self, days: Iterable[date]) -> pa.Table:
        """What the files of some days say of themselves, those of them that can be read; see `INVENTORY_SCHEMA`.

        The others are logged.
        """
        wanted = np.array([day_number(day) for day in days], dtype=np.int64)
        known = self._kept_inventory() if self._inventory is None else self._inventory
        new = []
        for number in np.setdiff1d(wanted, known.column("number").to_numpy()).tolist():
            day = numbered_day(number)
            try:
                new.append(dayfile.describe(self._path(day), self._series, day))
            except (FileNotFoundError, CacheError) as error:
                log.warning("%s", error)
        if new:
            known = pa.concat_tables([known, inventory.of_files(new)]).sort_by("number").combine_chunks()
            if len(new) >= _WORTH_IT:
                self._disk.keep(INVENTORY, [inventory.spelled(known, self._series.key)])
        self._inventory = known
        at = np.isin(known.column("number").to_numpy(), wanted).nonzero()[0]
        return known if len(at) == known.num_rows else known.take(at)

    def _kept_inventory(self) -> pa.Table:
        """The rows that were kept of files that are still in their places."""
        try:
            content = whole_file(f"{self._disk.folder}/{DERIVED}/{INVENTORY}")
        except OSError:
            return inventory.of_files([])
        kept, stamps = inventory.read_back(content, self._series.key), self._stamps()
        return inventory.of_files([]) if kept is None or stamps is None else inventory.in_place(kept, stamps)

    def _stretch(self, first: int, last: int) -> list[pa.RecordBatch]:
        parts: list[pa.RecordBatch] = []
        for period in packs.periods(self._series.interval, first, last):
            if period:
                parts += self._part(period, max(first, period.first), min(last, period.last))
            else:
                parts += map(self._read, self._numbers(first, last))
        return parts

    def _part(self, period: Period, first: int, last: int) -> list[pa.RecordBatch]:
        """The days of one period: out of its pack what that has, the others one by one."""
        wanted = self._numbers(first, last)
        pack = self._pack(period, look=len(wanted) >= _WORTH_IT)
        loose = [one for one in wanted if not (pack and pack.has(one))]
        most = 2 * len(wanted) >= len(self._numbers(period.first, period.last))
        if len(loose) >= _WORTH_IT and most and (made := self._made(period)):
            pack = made
            loose = [one for one in wanted if not pack.has(one)]
        if pack is None:
            return self._joined(loose)
        inside = [pack.days(first, last)] if first <= pack.last and pack.first <= last else []
        before, after = ([one for one in loose if (one < pack.first) is early] for early in (True, False))
        return [*self._joined(before), *inside, *self._joined(after)]

    def _joined(self, numbers: list[int]) -> list[pa.RecordBatch]:
        days = [self._read(one) for one in numbers]
        bars = join_days(days)
        if len(bars) < len(days):
            self._disk.hold(0, sum(one.nbytes for one in bars))
        return bars

    def _numbers(self, first: int, last: int) -> list[int]:
        numbers: list[int] = self._look.numbers[self._look.between(first, last)].tolist()
        return numbers

    def _read(self, number: int) -> pa.RecordBatch:
        bars = self._opened.get(number)
        if bars is None:
            found = self._open(number)
            bars = self._opened[number] = found.bars
            self._hold(found)
        return bars

    def _open(self, number: int) -> SealedBars:
        day = numbered_day(number)
        return dayfile.read(self._path(day), self._series, day)

    def _path(self, day: date) -> str:
        return f"{self._disk.folder}/{day}{SUFFIX}"

    def _hold(self, found: SealedBars) -> None:
        self._disk.hold(int(found.mapped), 0 if found.mapped else found.size)

    def _pack_path(self, period: Period) -> str:
        return f"{self._disk.folder}/{DERIVED}/{period.name}.pack"

    def _pack(self, period: Period, *, look: bool = False) -> Pack | None:
        """The period's pack, if it is there and its files are the same.

        To tell, every file of the folder must have been looked at. Where none was, that is done only if asked for: it
        takes longer than to open a few days.
        """
        if period.name not in self._packs:
            if self._look.stamps is None and not look:
                return None
            found = packs.read(self._pack_path(period), self._series, period)
            stamps = self._stamps() if found else None
            usable = found is not None and stamps is not None and packs.is_of(*found, stamps)
            self._packs[period.name] = found[0] if found and usable else None
            self._disk.hold(int(usable), 0)
        return self._packs[period.name]

    def _stamps(self) -> Stamps | None:
        """What tells each file from another in its place; None where the folder has changed since this look."""
        if self._look.stamps is None:
            try:
                look, settled = by_files(self._disk.folder)
            except OSError:
                return None
            if look.changed != self.changed or not np.array_equal(look.numbers, self._look.numbers):
                return None
            self._look = look
            if settled and look.stamps is not None:
                self._disk.keep(LOOK, [spelled(look.changed, look.stamps, self._series.key)])
        return self._look.stamps

    def _made(self, period: Period) -> Pack | None:
        """A pack that is made now; None where a day can't be read, or the pack can't be kept and is large."""
        if period.name in self._tried:
            return None
        self._tried.add(period.name)
        numbers = self._numbers(period.first, period.last)
        try:
            found = [self._open(one) for one in numbers]
        except (CacheError, FileNotFoundError):
            return None
        days = [one.bars for one in found]
        stamps = np.array([(one, *of.stamp) for one, of in zip(numbers, found, strict=True)], dtype=np.int64)
        kept = self._disk.keep(f"{period.name}.pack", packs.encode(self._series, days, stamps))
        read_back = packs.read(self._pack_path(period), self._series, period) if kept else None
        if read_back and packs.is_of(*read_back, stamps):  # and not what another process has put there meanwhile
            self._disk.hold(1, 0)
            self._packs[period.name] = read_back[0]
        elif len(joined := join_days(days)) == 1:
            self._disk.hold(0, joined[0].nbytes)
            self._packs[period.name] = packs.Pack(numbers[0], numbers[-1], joined[0])
        return self._packs.get(period.name)
