"""Damage to day files, and whether reading detects it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING, Any

from ckvd_sql import CacheError
from ckvd_sql.market.bars import BAR_SCHEMA
from tests.support.cache_state import DATE, HOURS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Replace a file by a new one; the old content stays intact for readers that have mapped it."""
    other = path.with_name("other")
    other.write_bytes(content)
    other.replace(path)


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
    with path.open("r+b", buffering=0) as file:
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
