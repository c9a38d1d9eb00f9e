"""Damage to day files, and whether reading detects it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from ckvd_sql import CacheError
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
