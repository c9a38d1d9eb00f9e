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


def replace(path: Path, content: bytes) -> None:
    """Put a new file in the place of another; whoever has mapped the old one keeps it."""
    other = path.with_name("other")
    other.write_bytes(content)
    other.replace(path)


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
