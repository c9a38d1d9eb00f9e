"""Damage to files, and whether reading finds it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from ckvd_sql import CacheError
from tests.support.cache_state import HOURS, ON

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def put(path: Path, data: bytes) -> None:
    """New bytes at a path, as a new file."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def is_refused(look: Callable[..., Any]) -> bool:
    try:
        look(HOURS, ON)
    except CacheError:
        return True
    return False


def flips_taken(look: Callable[..., Any], path: Path, places: list[int], *, first: int = 0) -> list[tuple[int, int]]:
    """The places whose bit can be flipped without `look` refusing the file, and which bit: another at each place.

    The file is itself again afterwards.
    """
    original, taken = path.read_bytes(), []
    with path.open("r+b", buffering=0) as file:
        for at in places:
            bit = (first + at) % 8
            os.pwrite(file.fileno(), bytes([original[at] ^ (1 << bit)]), at)
            with contextlib.suppress(CacheError):
                look(ON)
                taken.append((at, bit))
            os.pwrite(file.fileno(), original[at : at + 1], at)
    return taken
