"""Damage to day files, and whether reading detects it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from typing import TYPE_CHECKING, Any

from ckvd_sql import CacheError
from ckvd_sql.market.bars import BAR_SCHEMA
from tests.support.cache_state import DATE, HOURS
from tests.support.processes import run_program

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable
    from datetime import date
    from pathlib import Path

    from ckvd_sql.cache.store import DayStore

#: Reads a day from each of many files in turn; how many of them were refused, and how many gave other rows.
READ_ALL = """
import json, sys
from datetime import date
from pathlib import Path
given = json.loads(sys.argv[1])
from ckvd_sql.errors import CacheError
from ckvd_sql.cache.store import DayStore
from tests.support.day_files import HOURS, bars_of
day = date.fromisoformat(given["day"])
store, path = DayStore(Path(given["cache"])), Path(given["path"])
refused = other = 0
for file in sorted(Path(given["files"]).iterdir()):
    file.replace(path)
    try:
        other += not store.read(HOURS, day).rows.equals(bars_of(HOURS, day))
        other += not store.describe(HOURS, day).rows == len(bars_of(HOURS, day))
    except CacheError:
        refused += 1
print(json.dumps([refused, other]))
"""


def replace(path: Path, content: bytes) -> None:
    """Replace a file by a new one; the old content stays intact for readers that have mapped it."""
    other = path.with_name("other")
    other.write_bytes(content)
    other.replace(path)


def writable(path: Path) -> Path:
    """The path, whose file may be written into from now on; the cache makes its own read-only."""
    if path.is_file():
        path.chmod(0o644)
    return path


def is_refused(read: Callable[..., Any]) -> bool:
    """Whether reading the day is a `CacheError`."""
    try:
        read(HOURS, DATE)
    except CacheError:
        return True
    return False


def undetected_flips(
    read: Callable[..., Any], path: Path, places: list[int], *, first: int = 0
) -> list[tuple[int, int]]:
    """Flip one bit at each place in turn; the places and bits at which `read` accepts the file.

    Which bit is flipped changes from place to place, beginning with `first`. The file is restored afterwards.
    """
    original, undetected = path.read_bytes(), []
    with writable(path).open("r+b", buffering=0) as file:
        for at in places:
            bit = (first + at) % 8
            os.pwrite(file.fileno(), bytes([original[at] ^ (1 << bit)]), at)
            with contextlib.suppress(CacheError):
                read(DATE)
                undetected.append((at, bit))
            os.pwrite(file.fileno(), original[at : at + 1], at)
    return undetected


def resealed(content: bytes, rows: int, change: Callable[[bytearray], None]) -> bytes:
    """A day file or pack of this many rows, changed before or after its values, with a seal that fits again."""
    changed = bytearray(content)
    change(changed)
    begin = values_begin(content)
    end = begin + 8 * rows * len(BAR_SCHEMA)
    seal = content[content.index(b"seal:") :][:21]
    empty = b"seal:" + b"0" * 16
    head, foot = (bytes(part).replace(seal, empty) for part in (changed[:begin], changed[end:]))
    fitting = b"seal:" + hashlib.blake2b(head + foot, digest_size=8).hexdigest().encode()
    return head.replace(empty, fitting) + bytes(changed[begin:end]) + foot.replace(empty, fitting)


def values_begin(content: bytes) -> int:
    """Where the values begin in a day file or pack: behind two messages, each with a mark and its size before it."""
    at = 8
    for _ in range(2):
        at += 8 + int.from_bytes(content[at + 4 : at + 8], "little")
    return at


def forged(rng: random.Random, content: bytes, rows: int) -> bytes:
    """The file with one to four bytes before or after its values changed, or a stretch of them; sealed again."""
    begin = values_begin(content)
    end = begin + 8 * rows * len(BAR_SCHEMA)

    def change(damaged: bytearray) -> None:
        for _ in range(rng.randint(1, 4)):
            at = rng.choice([rng.randrange(8, begin), rng.randrange(8, begin), rng.randrange(end, len(content))])
            if rng.random() < 0.2:  # a number of four bytes, as offsets and sizes are
                at = at // 4 * 4
                number = rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**31, rng.randrange(2**32)])
                damaged[at : at + 4] = number.to_bytes(4, "little")
            else:
                damaged[at] ^= 1 << rng.randrange(8)

    return resealed(content, rows, change)


def read_forged(store: DayStore, day: date, contents: Iterable[bytes], folder: Path) -> tuple[int, int]:
    """Read a day of HOURS from each of these files in a process of its own; how many were refused, and had other rows.

    Args:
        store: Where the files take the place of the day's.
        day: The day.
        contents: The files.
        folder: Where they are put first; it does not exist.
    """
    folder.mkdir()
    for number, content in zip(itertools.count(), contents):
        (folder / f"{number:06d}").write_bytes(content)
    path = store.path(HOURS, day)
    refused, other = run_program(
        READ_ALL, {"cache": str(store.root), "path": str(path), "files": str(folder), "day": str(day)}
    )
    return refused, other
