"""What a pushed filter says of whole days: which can hold no row it keeps, and which hold only such rows.

pyarrow itself decides. A path-only fragment a day states what all its rows share (its symbol, its range of open
times), and `get_fragments` tells for which of them a filter, or its negation, can be true. Nothing is read.
"""

from __future__ import annotations

import functools
import operator
from datetime import date
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from ckvd_sql.market.bars import INSTANT
from ckvd_sql.market.periods import DAY, Month, day_start

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from ckvd_sql.market.series import Series

Key = TypeVar("Key", bound="Hashable")

# Scalars are given their type: without one, pyarrow looks for pandas each time.
_TRUE = pc.scalar(pa.scalar(True, pa.bool_()))  # noqa: FBT003
_FALSE = pc.scalar(pa.scalar(False, pa.bool_()))  # noqa: FBT003

_FORMAT = ds.IpcFileFormat()
_NOWHERE = fs.SubTreeFileSystem("/nonexistent", fs.LocalFileSystem())


#: The columns that have one value all through a series, and those that a period bounds.
_LABELS = ("provider", "market", "symbol", "interval")
_TIMES = {"open_time", "date"}


class Cover(Enum):
    """How many rows of a period a filter keeps, as far as can be told without reading it."""

    NONE = "none"
    PART = "part"
    ALL = "all"


class Pruning:
    """One scan's filter, judged by series, year, month, part of the month and day.

    A fragment costs microseconds and there are thousands of days, so a longer period is judged first, and a shorter
    one only where the filter covers the longer in part.

    Args:
        filter_: The filter; None keeps everything.
        schema: The columns that the filter may name.
        labels: The columns that have one value all through a series, with that value.
    """

    def __init__(
        self, filter_: pc.Expression | None, schema: pa.Schema, labels: Callable[[Series], Mapping[str, str]]
    ) -> None:
        self._filter = filter_
        self._schema = schema
        self._labels = labels
        self._columns = frozenset(_TIMES & set(schema.names))
        self._named = any(name in str(filter_) for name in _LABELS)
        self._months: dict[Series | None, dict[Month, Cover]] = {}
        self._covered: set[tuple[Series | None, date]] = set()

    @property
    def prunes(self) -> bool:
        """Whether there is a filter."""
        return self._filter is not None

    def possible(self, series: Series) -> bool:
        """Whether the filter can be true anywhere in the series."""
        if self._filter is None or not self._named:
            return True
        anywhere = _FORMAT.make_fragment("", _NOWHERE, partition_expression=self._label(series))
        return bool(self._possible(self._filter, [anywhere]))

    def months(self, series: Series, months: Sequence[Month]) -> dict[Month, Cover]:
        """What the filter keeps of each month."""
        if self._filter is None:
            return dict.fromkeys(months, Cover.ALL)
        known = self._months.setdefault(self._known_as(series), {})
        new = [month for month in months if month not in known]
        years = self._judge(series, {month.year: (date(month.year, 1, 1), date(month.year, 12, 31)) for month in new})
        unsure = [month for month in new if years[month.year] is Cover.PART]
        judged = self._judge(series, {month: (month.first, month.last) for month in unsure})
        known |= {month: judged.get(month, years[month.year]) for month in new}
        return {month: known[month] for month in months}

    def days(self, series: Series, days: Sequence[date]) -> set[date]:
        """The days on which the filter can be true."""
        if self._filter is None:
            return set(days)
        months = self.months(series, sorted({Month.of(day) for day in days}))
        unsure = [day for day in days if months[Month.of(day)] is Cover.PART]
        some = {part: list(of_part) for part, of_part in groupby(unsure, key=_part_of_month)}
        parts = self._judge(series, {part: (of_part[0], of_part[-1]) for part, of_part in some.items()})
        judged = {day: cover for part, cover in parts.items() for day in some[part]}
        judged |= self._judge(series, {day: (day, day) for day, cover in judged.items() if cover is Cover.PART})
        covers = {day: judged.get(day, months[Month.of(day)]) for day in days}
        whose = self._known_as(series)
        self._covered |= {(whose, day) for day, cover in covers.items() if cover is Cover.ALL}
        return {day for day, cover in covers.items() if cover is not Cover.NONE}

    def covers(self, series: Series, day: date) -> bool:
        """Whether the filter is known to be true for every row of a day."""
        whose = self._known_as(series)
        if self._filter is None or (whose, day) in self._covered:
            return True
        return self._months.get(whose, {}).get(Month.of(day)) is Cover.ALL

    def _known_as(self, series: Series) -> Series | None:
        """Whose judgements a series' are: everyone's, where the filter names no label."""
        return series if self._named else None

    def _judge(self, series: Series, periods: Mapping[Key, tuple[date, date]]) -> dict[Key, Cover]:
        """What the filter keeps of periods, each by its first and last day."""
        if not periods or self._filter is None:
            return dict.fromkeys(periods, Cover.ALL)
        guarantee = self._label(series) if self._named else None
        said = {key: _fragment(first, last, self._columns, guarantee) for key, (first, last) in periods.items()}
        kept = self._possible(self._filter, list(said.values()))
        unsure = [fragment for fragment in said.values() if fragment.path in kept]
        dropped = self._possible(~pc.coalesce(self._filter, _FALSE), unsure)
        return {
            key: Cover.NONE if one.path not in kept else Cover.PART if one.path in dropped else Cover.ALL
            for key, one in said.items()
        }

    def _label(self, series: Series) -> pc.Expression:
        labels = self._labels(series).items()
        return functools.reduce(
            operator.and_, (pc.field(name) == pa.scalar(value, pa.string()) for name, value in labels)
        )

    def _possible(self, filter_: pc.Expression, fragments: list[ds.Fragment]) -> set[str]:
        """The paths of the fragments for which pyarrow can't rule out that a row fulfils the filter."""
        dataset = ds.FileSystemDataset(fragments, self._schema, _FORMAT, _NOWHERE)
        found: Iterable[ds.Fragment] = dataset.get_fragments(filter=filter_)
        return {fragment.path for fragment in found}


def _part_of_month(day: date) -> tuple[int, int, int]:
    return day.year, day.month, (day.day - 1) // 10


def _fragment(first: date, last: date, columns: frozenset[str], guarantee: pc.Expression | None) -> ds.Fragment:
    """A fragment of some days that says what all their rows have in common; it is known by its path."""
    if guarantee is None:
        return _fragment_of_days(first, last, columns)
    said = guarantee & _between(first, last, columns)
    return _FORMAT.make_fragment(f"{first}/{last}", _NOWHERE, partition_expression=said)


@functools.lru_cache(maxsize=10_000)
def _fragment_of_days(first: date, last: date, columns: frozenset[str]) -> ds.Fragment:
    said = _between(first, last, columns)
    return _FORMAT.make_fragment(f"{first}/{last}", _NOWHERE, partition_expression=said)


def _between(first: date, last: date, columns: frozenset[str]) -> pc.Expression:
    """What the rows of these days have in common, in the columns there are."""
    said = _TRUE
    if "open_time" in columns:
        opened = pc.field("open_time")
        said &= opened >= pa.scalar(day_start(first), INSTANT)
        said &= opened < pa.scalar(day_start(last) + DAY, INSTANT)
    if "date" in columns:
        said &= pc.field("date") >= pa.scalar(first, pa.date32())
        said &= pc.field("date") <= pa.scalar(last, pa.date32())
    return said
