"""The ranges of days that a snapshot has read before, for statements that read the same again.

A range is given again only while none of its files was overwritten, which one `stat` a file tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ckvd_sql.disk.files import change_times

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from ckvd_sql.disk.files import FileStamp
    from ckvd_sql.market.provenance import SourcedRows

_MOST_RANGES = 64


class _Range(NamedTuple):
    """Rows of a range, the columns of which the values were checked, and its files with their times of change."""

    parts: list[SourcedRows]
    columns: frozenset[str]
    paths: list[str]
    times: list[int]


class RangeMemory:
    """What was read lately. Empty at first."""

    def __init__(self) -> None:
        self._ranges: dict[tuple[date, date], _Range] = {}

    def recall(self, first: date, last: date, columns: frozenset[str]) -> list[SourcedRows] | None:
        """A range with the values of these columns checked; None where it has to be read, as after any change."""
        known = self._ranges.get((first, last))
        if known and columns <= known.columns and change_times(known.paths) == known.times:
            return known.parts
        return None

    def remember(
        self,
        first: date,
        last: date,
        columns: frozenset[str],
        parts: list[SourcedRows],
        stamps: Mapping[str, FileStamp],
    ) -> None:
        """Remember what was read from files with these stamps."""
        if len(self._ranges) >= _MOST_RANGES:
            self._ranges.clear()
        times = [stamp.changed for stamp in stamps.values()]
        known = self._ranges.get((first, last))
        checked = columns | known.columns if known and known.times == times else columns
        self._ranges[first, last] = _Range(parts, checked, list(stamps), times)

    def clear(self) -> None:
        """Forget all of it."""
        self._ranges.clear()
