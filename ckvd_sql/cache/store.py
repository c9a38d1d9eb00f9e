"""The day store: one Arrow IPC file per series and UTC day, complete or not there at all.

`{root}/binance/{market}/{symbol}/{interval}/{date}.arrow`, uncompressed, so that a mapped file is a record batch
without a copy. A file says in its schema metadata what it holds and where that came from; what does not read back
as exactly that is damaged and no answer. This module decides nothing about what to fetch.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import zlib
from collections import OrderedDict
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from ckvd_sql.cache import dayfile
from ckvd_sql.cache.directory import SUFFIX, Look, by_names, changed_at, read_back, whole_file
from ckvd_sql.cache.snapshot import DERIVED, LOOK, Disk, Snapshot
from ckvd_sql.errors import CacheError
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import Month, moment_of
from ckvd_sql.market.series import INTERVALS, PROVIDER, Market, Series

if TYPE_CHECKING:
    # At run time filelock, and asyncio with it, is loaded by who writes: most scans only read.
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
    from datetime import date
    from pathlib import Path

    import pyarrow as pa
    from filelock import FileLock

    from ckvd_sql.cache.dayfile import DayFile, Provenance
    from ckvd_sql.market.periods import Period

_LOCKS = 256  # lock files are shared by hash, so that their number stays bounded
_WRITE_LOCKS = 32

_MAPPED_FILES = 20_000  # a process may hold some 65,000 maps
_HELD_BYTES = 100_000_000  # of small files, which are not mapped
_SNAPSHOTS = 256
_CLOCK_TICK = 50_000_000  # ns; a folder that changed just now may change again within the same tick of its disk


class DayStore:
    """The day files below one folder. Safe for any number of threads and processes.

    Args:
        root: The cache folder; it is made when the first day is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._snapshots: OrderedDict[Series, Snapshot] = OrderedDict()
        self._maps = self._held = 0
        self._locks = root / ".locks"

    def folder(self, series: Series) -> Path:
        """The folder of a series' day files."""
        return self.root / series.key

    def path(self, series: Series, day: date) -> Path:
        """Where a day's file is, or would be."""
        return self.folder(series) / f"{day}{SUFFIX}"

    def days(self, series: Series) -> frozenset[date]:
        """The days that have a file, unread."""
        return self.snapshot(series).days

    def snapshot(self, series: Series) -> Snapshot:
        """The series' folder as it is now; one `stat` tells whether an earlier look still holds."""
        folder = f"{self.root}/{series.key}"
        disk = Disk(folder, lambda name, content: self._keep_derived(series, name, content), self._hold)
        try:
            changed = changed_at(folder)
            known = self._snapshots.get(series)
            if known and known.changed == changed:
                return known
            found = Snapshot(disk, series, self._kept_look(series, changed) or by_names(folder, changed))
        except OSError:  # not there, or not ours to read
            return Snapshot(disk, series, Look(0, np.array([], dtype=np.int64)))
        if time.time_ns() - changed > _CLOCK_TICK:
            self._snapshots[series] = found
            with contextlib.suppress(KeyError):  # another thread may be as far
                while len(self._snapshots) > _SNAPSHOTS:
                    self._snapshots.popitem(last=False)
        return found

    def _hold(self, maps: int, size: int) -> None:
        """Count what snapshots keep open; when it is too much in all, every snapshot is let go."""
        self._maps += maps
        self._held += size
        if self._maps > _MAPPED_FILES or self._held > _HELD_BYTES:
            self._maps = self._held = 0
            self._snapshots.clear()

    def _kept_look(self, series: Series, changed: int) -> Look | None:
        """The last look, where it is kept on disk and still holds."""
        try:
            return read_back(whole_file(f"{self.root}/{series.key}/{DERIVED}/{LOOK}"), series.key, changed)
        except (OSError, ValueError):
            return None

    def _keep_derived(self, series: Series, name: str, content: Iterable[bytes]) -> bool:
        """Keep what can be derived again; whether the disk let us. Nobody is waited for."""
        folder = self.folder(series) / DERIVED
        try:
            folder.mkdir(exist_ok=True)
            with self._writing(folder, name).acquire(timeout=0):
                _write_whole(folder / name, content)
        except OSError:
            return False
        return True

    def knows(self, series: Series) -> bool:
        """Whether any day of the series is here with a bar in it."""
        for day in self.days(series):
            with contextlib.suppress(CacheError, FileNotFoundError):
                if self.describe(series, day).rows:
                    return True
        return False

    def read(self, series: Series, day: date) -> pa.RecordBatch:
        """A day's bars; the batch's memory is the mapped file's. Raises as `dayfile.read`."""
        return dayfile.read(str(self.path(series, day)), series, day).bars

    def describe(self, series: Series, day: date) -> DayFile:
        """What a day's file says of itself. Raises as `dayfile.read`."""
        return dayfile.describe(str(self.path(series, day)), series, day)

    def verify(self, series: Series, day: date) -> DayFile:
        """The same, after a look at every byte of the file, and at the day's bars in the pack that may have them."""
        file = dayfile.describe(str(self.path(series, day)), series, day, verify=True)
        self.snapshot(series).check_pack(day)
        return file

    def write(self, series: Series, day: date, bars: pa.RecordBatch, provenance: Provenance) -> None:
        """Keep a complete day. Raises as `write_days`."""
        self.write_days(series, {day: (bars, provenance)})

    def write_days(self, series: Series, days: Mapping[date, tuple[pa.RecordBatch, Provenance]]) -> None:
        """Keep complete days, given in order. Each file appears whole or not at all.

        Raises:
            OSError: The disk refuses a day; it refused no other, or those too.
        """
        refused: OSError | None = None
        for month, together in groupby(days, key=Month.of):
            self.folder(series).mkdir(parents=True, exist_ok=True)
            with self._writing(self.folder(series), str(month)):
                for day in together:
                    content = dayfile.encode(series, day, *days[day])
                    try:
                        _write_whole(self.path(series, day), content)
                    except OSError as error:
                        refused = error
        if refused:
            raise refused

    def set_aside(self, series: Series, day: date) -> None:
        """Move a damaged file out of the way, so that the day can be fetched again. One is kept for a look."""
        path = self.path(series, day)
        aside = path.with_suffix(".damaged")
        with contextlib.suppress(OSError):
            if aside.is_dir() and not aside.is_symlink():
                shutil.rmtree(aside)
            else:
                aside.unlink(missing_ok=True)
            path.replace(aside)

    def listed(self, series: Series) -> int | None:
        """The open time of the series' first bar, where it has been learnt."""
        try:
            return parse_time(self._listing(series).read_text(), "listed")
        except (OSError, ValueError):
            return None

    def remember_listed(self, series: Series, first_open: int) -> None:
        """Note the open time of the series' first bar, so that the days before it are never asked for."""
        with contextlib.suppress(OSError):  # what can't be noted is asked again
            said = moment_of(first_open).isoformat().encode()
            self.folder(series).mkdir(parents=True, exist_ok=True)
            with self._writing(self.folder(series), "listed"):
                _write_whole(self._listing(series), [said])

    def series(self) -> Iterator[Series]:
        """Every series that has a folder, in order, from the folders' names alone."""
        provider = self.root / PROVIDER
        for market in Market:
            for symbol in _folders(provider / market.value):
                names = _folders(provider / market.value / symbol)
                yield from (Series(market, symbol, interval) for name, interval in INTERVALS.items() if name in names)

    @contextlib.asynccontextmanager
    async def lock(self, series: Series, period: Period) -> AsyncIterator[None]:
        """One fetcher at a time for a period of a series, among all threads and processes on this cache.

        Where the lock can't be had because of the disk, nothing can be shared either, and there is none.
        """
        from filelock import AsyncFileLock  # noqa: PLC0415

        name = f"{zlib.crc32(f'{series.key}/{period}'.encode()) % _LOCKS:03d}.lock"
        async with contextlib.AsyncExitStack() as stack:
            with contextlib.suppress(OSError):
                self._locks.mkdir(parents=True, exist_ok=True)
                lock = AsyncFileLock(self._locks / name, poll_interval=0.02, run_in_executor=False)  # it never blocks
                await stack.enter_async_context(lock)
            yield

    def _writing(self, folder: Path, name: str) -> FileLock:
        """One writer at a time for what has a name in a folder.

        It is held for as long as that is written, and by nobody who waits for another lock.
        """
        self._locks.mkdir(parents=True, exist_ok=True)
        from filelock import FileLock  # noqa: PLC0415

        number = zlib.crc32(f"{folder.relative_to(self.root)}/{name}".encode()) % _WRITE_LOCKS
        return FileLock(self._locks / f"write-{number:02d}.lock", poll_interval=0.002)

    def _listing(self, series: Series) -> Path:
        return self.folder(series) / ".listed"


def _write_whole(path: Path, content: Iterable[bytes]) -> None:
    """Write through a temporary name that is the same each time, so that a killed writer leaves at most one."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _folders(path: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
