"""One series' folder in the cache: its paths, whole-file writes under locks, and the budget of what is kept open.

It knows no Arrow, and nothing of what day files and derived files hold.
"""

from __future__ import annotations

import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from ckvd_sql.cache.directory import SUFFIX
from ckvd_sql.disk.files import Shared, make_folder, read_whole, with_digest, without_digest, write_whole
from ckvd_sql.disk.locks import PATIENCE, LockFile
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import moment_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date

    from ckvd_sql.cache.arrowfile import ArrowFile
    from ckvd_sql.market.series import Series

#: The folder, beside the day files, of files that are derived from them and may be deleted at any time.
DERIVED = ".packs"

#: The file with the open time of the series' first bar.
_LISTED = ".listed"

_NO_BAR_BEFORE = parse_time("2017-01-01", "the year in which Binance opened")

#: The folder, in the root of a cache, of its lock files.
LOCKS = ".locks"

_WRITE_LOCKS = 32  # lock files are shared by hash, so that their number stays bounded

_MAPPED_FILES = 20_000  # a process may hold some 65,000 maps
_HELD_BYTES = 100_000_000  # of small files, which are read instead of mapped


class OpenFiles:
    """Counts what the snapshots of one cache keep open, so that all can be released when it becomes too much.

    Args:
        release: Releases it.
    """

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._maps = 0
        self._bytes = 0

    def add(self, *, maps: int = 0, size: int = 0) -> None:
        """Count mapped files, and bytes that are held in memory."""
        self._maps += maps
        self._bytes += size

    def count(self, file: ArrowFile) -> None:
        """Count an opened file."""
        self.add(maps=int(file.mapped), size=0 if file.mapped else file.stamp.size)

    def limit(self) -> None:
        """Release all of it where it is too much."""
        if self._maps > _MAPPED_FILES or self._bytes > _HELD_BYTES:
            self.release()

    def release(self) -> None:
        """Release all of it; what is still used lives on."""
        self._maps = self._bytes = 0
        self._release()


class SeriesFolder:
    """The folder of a series' day files. It is made when something is first written.

    Args:
        root: The cache folder.
        series: The series.
        shared: Who else may use what is written.
        patience: Seconds without a sign of life after which another writer is not waited for.
        mapped: Whether its files are mapped; else they are read into memory.
    """

    __slots__ = ("_patience", "_root", "_shared", "key", "mapped", "path")

    def __init__(
        self, root: str, series: Series, shared: Shared = Shared.OFF, patience: float = PATIENCE, *, mapped: bool = True
    ) -> None:
        self._root = Path(root)
        self._shared = shared
        self._patience = patience
        self.mapped = mapped
        self.key = series.key
        self.path = f"{root}/{series.key}"

    def day_path(self, day: date) -> str:
        """Where a day's file is, or would be."""
        return f"{self.path}/{day}{SUFFIX}"

    def derived_path(self, name: str) -> str:
        """Where a derived file is, or would be."""
        return f"{self.path}/{DERIVED}/{name}"

    def read_first_open(self) -> int | None:
        """The open time of the series' first bar in microseconds since the epoch, where it has been stored.

        A wrong one would hide the bars before it, so one that is damaged or impossible is as if not stored.
        """
        try:
            content = without_digest(read_whole(f"{self.path}/{_LISTED}"), self.key)
            instant = _NO_BAR_BEFORE - 1 if content is None else parse_time(str(content, "ascii"), "listed")
        except (OSError, ValueError):
            return None
        return instant if _NO_BAR_BEFORE <= instant <= time.time_ns() // 1000 else None

    def write_first_open(self, instant: int) -> None:
        """Store the open time of the series' first bar. Raises `OSError`."""
        self.write_beside(_LISTED, lambda: with_digest(moment_of(instant).isoformat().encode(), self.key))

    def write_beside(self, name: str, content: Callable[[], bytes]) -> None:
        """Write a small file beside the day files. Its content is asked for under its lock. Raises `OSError`."""
        with self.lock(name).hold() as lock:
            self._write(name, [content()], lock)

    def write_days(self, name: str, days: Iterable[tuple[date, list[bytes]]]) -> OSError | None:
        """Write day files under the lock of this name; why the disk has refused some, if it did."""
        refused = None
        with self.lock(name).hold() as lock:
            for day, content in days:
                try:
                    self._write(f"{day}{SUFFIX}", content, lock)
                except OSError as error:
                    refused = error
                lock.give_sign()
        return refused

    def write_derived(self, name: str, content: Iterable[bytes]) -> bool:
        """Write a derived file, non-blocking; whether it was written. A disk that refuses is no error."""
        try:
            if not Path(self.path).is_dir():
                return False
            with self.lock(f"{DERIVED}/{name}").hold(wait=False) as lock:
                if not lock.held:
                    return False
                self._write(f"{DERIVED}/{name}", content, lock)
        except OSError:
            return False
        return True

    def lock(self, name: str) -> LockFile:
        """A lock for one writer at a time of what has this name in the folder.

        It is held while that is written, and never while waiting for another lock.
        """
        number = zlib.crc32(f"{self.key}/{name}".encode()) % _WRITE_LOCKS
        path = self._root / LOCKS / f"write-{number:02d}.lock"
        return LockFile(path, self._root, self._shared, patience=self._patience)

    def _write(self, name: str, content: Iterable[bytes], lock: LockFile) -> None:
        path = Path(self.path, name)
        make_folder(path.parent, self._root, self._shared)
        write_whole(path, content, self._shared, alone=lock.held)
