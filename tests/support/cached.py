"""The files below a cache folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def day_files(cache: Path) -> list[str]:
    """The day files, relative to the cache folder, sorted."""
    return sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*.arrow"))
