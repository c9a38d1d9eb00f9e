"""A look at a series' folder: which days have a file, and which file that is.

A file comes and goes by a rename, which changes the folder's time; so a look holds for as long as that time stays the
same, and one `stat` tells. Where every file has been looked at too, the look is kept on disk, for thousands of `stat`
calls are what a process would begin with otherwise. A file that is changed where it lies, which nobody should do, is
not seen by that `stat`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ckvd_sql.market.periods import day_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SUFFIX = ".arrow"

#: A row a file: day since the epoch, time of change in ns, size in bytes, inode number.
Stamps = npt.NDArray[np.int64]

#: What is kept begins with a hash of this many bytes over the rest.
HASHED = 16

_FIELDS = 4

#: ns; a folder that changed more recently may change again within the same tick of a coarse file system's clock.
_SETTLED = 2_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """The days that a folder had, in order, as days since the epoch, when its time was `changed` (ns).

    `stamps` tells their files apart, where each was looked at.
    """

    changed: int
    numbers: npt.NDArray[np.int64]
    stamps: Stamps | None = None

    def between(self, first: int, last: int) -> slice:
        """Where the days from `first` to `last`, both included, are among all."""
        begin, end = self.numbers.searchsorted((first, last + 1))
        return slice(int(begin), int(end))


def changed_at(folder: str) -> int:
    """When something last came into a folder or left it, in ns. Raises `OSError`.

    Copying tools set the time of the content back to that of the original, but not the time at which they did.
    """
    status = os.stat(folder)  # noqa: PTH116 (on the hot path)
    return max(status.st_mtime_ns, status.st_ctime_ns)


def stamp_of(status: os.stat_result) -> tuple[int, int, int]:
    """What tells a file from another in its place: time of change in ns, size in bytes, inode number, signed."""
    return status.st_mtime_ns, status.st_size, (status.st_ino + (1 << 63)) % (1 << 64) - (1 << 63)


@contextlib.contextmanager
def opened(path: str) -> Iterator[tuple[int, os.stat_result]]:
    """A file's descriptor and status; a pipe in its place is not waited for. Raises `OSError`."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is no file")
        yield file, status
    finally:
        os.close(file)


def whole_file(path: str) -> bytes:
    """The content of a file. Raises `OSError`."""
    with opened(path) as (file, status):
        return os.read(file, status.st_size)


def by_names(folder: str, changed: int) -> Look:
    """A look at the names alone. Raises `OSError`."""
    return Look(changed, _ordered(_day_numbers(os.listdir(folder))))  # noqa: PTH208 (names are all that is wanted)


def by_files(folder: str) -> tuple[Look, bool]:
    """A look at each file, and whether it may be kept: nothing changed just before or meanwhile. Raises `OSError`."""
    changed, began = changed_at(folder), time.time_ns()
    rows = []
    with os.scandir(folder) as entries:
        for entry in entries:
            for number in _day_numbers([entry.name]):
                with contextlib.suppress(FileNotFoundError):
                    rows.append((number, *stamp_of(entry.stat())))
    stamps = np.array(sorted(rows), dtype=np.int64).reshape(-1, _FIELDS)
    settled = began - changed > _SETTLED and changed_at(folder) == changed
    return Look(changed, np.ascontiguousarray(stamps[:, 0]), stamps), settled


def spelled(changed: int, stamps: Stamps, key: str) -> bytes:
    """A look at each file as bytes to keep, of the series with this key."""
    content = np.int64(changed).tobytes() + stamps.tobytes()
    return hashed(content, key) + content


def read_back(content: bytes, key: str, changed: int) -> Look | None:
    """The look that was kept, if it is this series' and the folder has not changed since."""
    kept = memoryview(content)[HASHED:]
    if bytes(content[:HASHED]) != hashed(kept, key) or int.from_bytes(kept[:8], "little") != changed:
        return None
    stamps = np.frombuffer(kept[8:], dtype=np.int64).reshape(-1, _FIELDS)
    return Look(changed, np.ascontiguousarray(stamps[:, 0]), stamps)


def hashed(content: bytes | memoryview, key: str) -> bytes:
    """What is kept before content of the series with this key."""
    return hashlib.blake2b(content, digest_size=HASHED, key=hashlib.sha256(key.encode()).digest()).digest()


def _ordered(numbers: Iterable[int]) -> npt.NDArray[np.int64]:
    return np.array(sorted(numbers), dtype=np.int64)


def _day_numbers(names: Iterable[str]) -> Iterable[int]:
    """The days that the names of day files state; other names state none."""
    for name in names:
        if name.endswith(SUFFIX) and len(name) == len("2024-01-01") + len(SUFFIX):
            with contextlib.suppress(ValueError):
                yield day_number(date.fromisoformat(name[: -len(SUFFIX)]))
