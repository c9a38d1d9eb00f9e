"""The listing of a series' folder: which days have a file, and which file that is.

Files come and go by renames, which change the folder's time. So a listing is valid for as long as that time stays the
same, which one `stat` tells. A listing with the stamp of every file is also stored on disk, since a new process would
otherwise begin with thousands of `stat` calls. A file that is overwritten in place, as copying tools do, leaves the
folder's time as it is; `Snapshot` compares the stamps of the files that it gives rows of.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ckvd_sql.disk.files import FileStamp, changed_at, is_settled, with_digest, without_digest
from ckvd_sql.market.periods import day_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: The ending of a day file's name.
SUFFIX = ".arrow"

#: A row a file: day since the epoch, and the fields of its `FileStamp`.
Stamps = npt.NDArray[np.int64]

#: The days that a name can have, as days since the epoch.
_FIRST_DAY, _LAST_DAY = day_number(date.min), day_number(date.max)

_FIELDS = 1 + len(FileStamp._fields)

_FORMAT = "2"  # 1 did not have the times of modification


@dataclass(frozen=True, slots=True, eq=False)
class Directory:
    """The day files of a folder at one moment.

    Attributes:
        changed: The folder's time of change, in ns.
        numbers: The days that have a file, in order, as days since the epoch.
        stamps: A row a file, in the same order; None where only names were read.
    """

    changed: int
    numbers: npt.NDArray[np.int64]
    stamps: Stamps | None = None

    @classmethod
    def empty(cls) -> Directory:
        """The listing of a folder that is not there."""
        return cls(0, np.array([], dtype=np.int64))

    def between(self, first: int, last: int) -> slice:
        """The positions of the days from `first` to `last`, both included."""
        begin, end = self.numbers.searchsorted((first, last + 1))
        return slice(int(begin), int(end))


def read_names(folder: str, changed: int) -> Directory:
    """A listing by names alone, of a folder with this time of change. Raises `OSError`."""
    numbers = sorted(_day_numbers(os.listdir(folder)))  # noqa: PTH208 (only names are needed)
    return Directory(changed, np.array(numbers, dtype=np.int64))


def read_stats(folder: str) -> tuple[Directory, bool]:
    """A listing with a `stat` of each file, and whether it may be stored. Raises `OSError`.

    It may be stored where nothing changed just before or meanwhile.
    """
    changed = changed_at(folder)
    settled = is_settled(changed)
    rows = []
    with os.scandir(folder) as entries:
        for entry in entries:
            for number in _day_numbers([entry.name]):
                with contextlib.suppress(FileNotFoundError):
                    rows.append((number, *FileStamp.of(entry.stat())))
    stamps = np.array(sorted(rows), dtype=np.int64).reshape(-1, _FIELDS)
    return Directory(changed, np.ascontiguousarray(stamps[:, 0]), stamps), settled and changed_at(folder) == changed


def serialize(changed: int, stamps: Stamps, key: str) -> bytes:
    """A listing with stamps as bytes, of the series with this key."""
    return with_digest(np.int64(changed).tobytes() + stamps.tobytes(), f"{_FORMAT} {key}")


def deserialize(stored: bytes, key: str, changed: int) -> Directory | None:
    """The listing that was stored; None where it is another series', damaged, or the folder has changed since."""
    content = without_digest(stored, f"{_FORMAT} {key}")
    if content is None or int.from_bytes(content[:8], "little") != changed:
        return None
    if len(content) % (8 * _FIELDS) != 8:  # noqa: PLR2004 (the bytes of the time)
        return None
    stamps = np.frombuffer(content[8:], dtype=np.int64).reshape(-1, _FIELDS)
    numbers = np.ascontiguousarray(stamps[:, 0])
    if len(numbers) and not (numbers[0] >= _FIRST_DAY and numbers[-1] <= _LAST_DAY and (np.diff(numbers) > 0).all()):
        return None
    return Directory(changed, numbers, stamps)


def _day_numbers(names: Iterable[str]) -> Iterator[int]:
    """The days in the names of day files; other names are skipped."""
    for name in names:
        if name.endswith(SUFFIX) and len(name) == len("2024-01-01") + len(SUFFIX):
            with contextlib.suppress(ValueError):
                day = date.fromisoformat(name[: -len(SUFFIX)])
                if name == f"{day}{SUFFIX}":  # not another spelling of ISO 8601, such as 2024-W01-1
                    yield day_number(day)
