"""One series' folder in the cache: its paths, whole-file writes under locks, and the budget of what is kept open.

It knows no Arrow, and nothing of what day files and derived files hold.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from ckvd_sql.cache.directory import SUFFIX
from ckvd_sql.cache.files import write_whole
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import moment_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    # At run time filelock, and asyncio with it, is loaded by the first write: most scans only read.
    from filelock import FileLock

    from ckvd_sql.market.series import Series

#: The folder, beside the day files, of files that are derived from them and may be deleted at any time.
DERIVED = ".packs"

#: The file with the open time of the series' first bar.
_LISTED = ".listed"

#: The folder, in the root of a cache, of its lock files.
LOCKS = ".locks"

_WRITE_LOCKS = 32  # lock files are shared by hash, so that their number stays bounded

_MAPPED_FILES = 20_000  # a process may hold some 65,000 maps
_HELD_BYTES = 100_000_000  # of small files, which are read instead of mapped


class OpenFiles:
    """Counts what the snapshots of one cache keep open, so that all can be released when it becomes too much."""

    def __init__(self) -> None:
        self._maps = 0
        self._bytes = 0

    def add(self, *, maps: int = 0, size: int = 0) -> None:
        """Count mapped files, and bytes that are held in memory."""
        self._maps += maps
        self._bytes += size

    def start_over(self) -> bool:
        """Whether it is too much; if so the count starts over."""
        exceeded = self._maps > _MAPPED_FILES or self._bytes > _HELD_BYTES
        if exceeded:
            self._maps = self._bytes = 0
        return exceeded


class SeriesFolder:
    """The folder of a series' day files. It is made when something is first written.

    Args:
        root: The cache folder.
        series: The series.
    """

    __slots__ = ("_root", "key", "path")

    def __init__(self, root: str, series: Series) -> None:
        self._root = root
        self.key = series.key
        self.path = f"{root}/{series.key}"

    def day_path(self, day: date) -> str:
        """Where a day's file is, or would be."""
        return f"{self.path}/{day}{SUFFIX}"

    def derived_path(self, name: str) -> str:
        """Where a derived file is, or would be."""
        return f"{self.path}/{DERIVED}/{name}"

    def read_first_open(self) -> int | None:
        """The open time of the series' first bar in microseconds since the epoch, where it has been stored."""
        try:
            return parse_time(Path(self.path, _LISTED).read_text(), "listed")
        except (OSError, ValueError):
            return None

    def write_first_open(self, instant: int) -> None:
        """Store the open time of the series' first bar. Raises `OSError`."""
        Path(self.path).mkdir(parents=True, exist_ok=True)
        with self.lock("listed"):
            write_whole(Path(self.path, _LISTED), [moment_of(instant).isoformat().encode()])

    def write_derived(self, name: str, content: Iterable[bytes]) -> bool:
        """Write a derived file, non-blocking; whether it was written. A disk that refuses is no error."""
        try:
            Path(self.path, DERIVED).mkdir(exist_ok=True)
            with self.lock(f"{DERIVED}/{name}").acquire(timeout=0):
                write_whole(Path(self.derived_path(name)), content)
        except OSError:
            return False
        return True

    def lock(self, name: str) -> FileLock:
        """A lock for one writer at a time of what has this name in the folder. Raises `OSError`.

        It is held while that is written, and never while waiting for another lock.
        """
        locks = Path(self._root, LOCKS)
        locks.mkdir(parents=True, exist_ok=True)
        from filelock import FileLock  # noqa: PLC0415

        number = zlib.crc32(f"{self.key}/{name}".encode()) % _WRITE_LOCKS
        return FileLock(locks / f"write-{number:02d}.lock", poll_interval=0.002)
