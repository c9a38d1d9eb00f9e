"""The day store: one Arrow IPC file per series and UTC day, complete or not there at all.

`{root}/binance/{market}/{symbol}/{interval}/{date}.arrow`, uncompressed, so that a mapped file is a record batch
without a copy. It decides nothing about what to fetch, and knows no network.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import zlib
from collections import OrderedDict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from ckvd_sql.cache import dayfile
from ckvd_sql.cache.checksums import WrongChecksums
from ckvd_sql.cache.directory import Directory
from ckvd_sql.cache.folder import LOCKS, OpenFiles, SeriesFolder
from ckvd_sql.cache.snapshot import Snapshot
from ckvd_sql.disk.files import OUT_OF_RESOURCES, Shared, changed_at, is_settled
from ckvd_sql.disk.locks import PATIENCE, LockFile
from ckvd_sql.errors import CacheError
from ckvd_sql.market.periods import Month
from ckvd_sql.market.provenance import SourcedRows
from ckvd_sql.market.series import INTERVALS, PROVIDER, Market, Series

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.cache.dayfile import DayFile
    from ckvd_sql.market.periods import Period
    from ckvd_sql.market.provenance import Provenance

_FETCH_LOCKS = 256  # lock files are shared by hash, so that their number stays bounded
_SNAPSHOTS = 256


class DayStore:
    """The day files below one folder. Safe for any number of threads and processes.

    Args:
        root: The cache folder; it is made when the first day is written.
        shared: Who else may use what is written.
        patience: Seconds without a sign of life after which the holder of a lock is not waited for.
        mapped: Whether files are mapped; else they are read into memory.

    Attributes:
        wrong_checksums: The archives whose published checksum is wrong for good.
    """

    def __init__(
        self, root: Path, shared: Shared = Shared.OFF, patience: float = PATIENCE, *, mapped: bool = True
    ) -> None:
        self.root = root
        self._shared = shared
        self._patience = patience
        self._mapped = mapped
        self.wrong_checksums = WrongChecksums(self._folder)
        self._snapshots: OrderedDict[Series, Snapshot] = OrderedDict()
        self._open_files = OpenFiles(self._snapshots.clear)

    def folder(self, series: Series) -> Path:
        """The folder of a series' day files."""
        return Path(self._folder(series).path)

    def path(self, series: Series, day: date) -> Path:
        """Where a day's file is, or would be."""
        return Path(self._folder(series).day_path(day))

    def days(self, series: Series) -> frozenset[date]:
        """The days that have a file, unread."""
        return self.snapshot(series).days

    def snapshot(self, series: Series) -> Snapshot:
        """The series' folder as it is now; one `stat` tells whether an earlier snapshot is still valid.

        Raises:
            CacheError: The process has too many open files to read it.
        """
        self._open_files.limit()
        folder = self._folder(series)
        try:
            changed = changed_at(folder.path)
            known = self._snapshots.get(series)
            if known and known.changed == changed:
                return known
            new = Snapshot.take(folder, series, changed, self._open_files)
        except OSError as error:
            if error.errno in OUT_OF_RESOURCES:
                raise CacheError(f"folder {folder.path} can't be read: {error}", folder.path, damaged=False) from error
            # It does not exist, or may not be read.
            return Snapshot(folder, series, Directory.empty(), self._open_files)
        if is_settled(changed):
            self._snapshots[series] = new
            with contextlib.suppress(KeyError):  # another thread may do the same
                while len(self._snapshots) > _SNAPSHOTS:
                    self._snapshots.popitem(last=False)
        return new

    def drop_empty_days(self, series: Series, days: Iterable[date]) -> None:
        """Delete the day files of these days that have no row, as earlier versions wrote them for days off the grid."""
        for day in days:
            with contextlib.suppress(OSError, CacheError):
                if self.describe(series, day).rows == 0:
                    self.path(series, day).unlink()

    def has_rows(self, series: Series, *, before: date | None = None) -> bool:
        """Whether any stored day of the series, or any earlier than a day, has a row."""
        return self.last_with_rows(series, before=before) is not None

    def last_with_rows(self, series: Series, *, before: date | None = None) -> date | None:
        """The last stored day of the series, or the last one earlier than a day, that has a row."""
        for day in sorted(self.days(series), reverse=True):
            if before is None or day < before:
                with contextlib.suppress(CacheError, FileNotFoundError):
                    if self.describe(series, day).rows:
                        return day
        return None

    def knows_symbol(self, series: Series) -> bool:
        """Whether there is a row or a first bar's time of the series' symbol on its market, in any interval."""
        same = (Series(series.market, series.symbol, interval) for interval in INTERVALS.values())
        return any(self.has_rows(one) or self.first_open(one) is not None for one in same)

    def read(self, series: Series, day: date, *, checked: bool = True) -> SourcedRows:
        """A day's rows; the batch's memory is the mapped file's. Raises as `dayfile.read`.

        Unchecked, its values may be damaged: that is for telling which ones.
        """
        path = self._folder(series).day_path(day)
        file = dayfile.read(path, series, day, mapped=self._mapped)
        if checked:
            dayfile.check(file, path, file.rows.schema.names)
        return SourcedRows(dayfile.source_of(file), file.rows)

    def describe(self, series: Series, day: date) -> DayFile:
        """The metadata of a day's file. Raises as `dayfile.read`."""
        return dayfile.describe(self._folder(series).day_path(day), series, day)

    def verify(self, series: Series, day: date) -> DayFile:
        """The same, after comparing every value of the file with its checksum."""
        return dayfile.describe(self._folder(series).day_path(day), series, day, verify=True)

    def drop_wrong_pack(self, series: Series, day: date) -> str | None:
        """The path of the pack that has other rows of a day than its file, which is deleted; None where none has."""
        return self.snapshot(series).drop_wrong_pack(day)

    def write(self, series: Series, day: date, rows: pa.RecordBatch, provenance: Provenance) -> None:
        """Store a complete day. Raises as `write_days`."""
        self.write_days(series, {day: (rows, provenance)})

    def write_days(self, series: Series, days: Mapping[date, tuple[pa.RecordBatch, Provenance]]) -> None:
        """Store complete days, given in order. Each file appears whole or not at all.

        Raises:
            OSError: The disk refuses a day; the others were tried all the same.
        """
        refused: OSError | None = None
        folder = self._folder(series)
        for month, of_month in groupby(days, key=Month.of):
            contents = ((day, dayfile.encode(series, day, *days[day])) for day in of_month)
            refused = folder.write_days(str(month), contents) or refused
        if refused:
            raise refused

    def set_aside(self, series: Series, day: date) -> None:
        """Rename a damaged file, so that the day can be fetched again; the last one of a day is kept for inspection."""
        path = self.path(series, day)
        aside = path.with_suffix(".damaged")
        with contextlib.suppress(OSError):
            if aside.is_dir() and not aside.is_symlink():
                shutil.rmtree(aside)
            else:
                aside.unlink(missing_ok=True)
            path.replace(aside)

    def first_open(self, series: Series) -> int | None:
        """The open time of the series' first bar in microseconds since the epoch, where it has been learnt."""
        return self._folder(series).read_first_open()

    def remember_first_open(self, series: Series, instant: int) -> None:
        """Store the open time of the series' first bar, so that the days before it are never fetched."""
        with contextlib.suppress(OSError):  # then the exchange is asked again
            self._folder(series).write_first_open(instant)

    def series(self) -> Iterator[Series]:
        """Every series that has a folder, in order, from the folders' names alone."""
        provider = self.root / PROVIDER
        for market in Market:
            for symbol in _folders(provider / market.value):
                names = _folders(provider / market.value / symbol)
                yield from (Series(market, symbol, interval) for name, interval in INTERVALS.items() if name in names)

    @contextlib.asynccontextmanager
    async def fetch_lock(self, series: Series, period: Period) -> AsyncIterator[None]:
        """One fetch at a time for a period of a series, among all threads and processes on this cache.

        Where the disk does not allow a lock file nothing can be shared either, and there is no lock. Nor is there
        one where another holder gives no sign of life for long: then a period may be fetched twice.
        """
        name = f"{zlib.crc32(f'{series.key}/{period}'.encode()) % _FETCH_LOCKS:03d}.lock"
        lock = LockFile(self.root / LOCKS / name, self.root, self._shared, patience=self._patience)
        async with lock.hold_async():
            yield

    def _folder(self, series: Series) -> SeriesFolder:
        return SeriesFolder(str(self.root), series, self._shared, self._patience, mapped=self._mapped)


def _folders(path: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
