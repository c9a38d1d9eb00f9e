"""Partition pruning: which months and days a pushed-down filter rules out, and which it keeps whole.

pyarrow itself decides. A path-only fragment for each period has a partition expression that states what all its rows
share (symbol, range of open times); `get_fragments` tells for which of them a filter, or its negation, can be true.
Nothing is read, and no file is known here.
"""

from __future__ import annotations

import functools
import operator
from datetime import date
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar, cast

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

# Scalars are given their type: without one, pyarrow looks for pandas each time. (pyarrow-stubs: values alone.)
_TRUE = pc.scalar(pa.scalar(True, pa.bool_()))  # type: ignore[arg-type] # noqa: FBT003
_FALSE = pc.scalar(pa.scalar(False, pa.bool_()))  # type: ignore[arg-type] # noqa: FBT003

_FORMAT = ds.IpcFileFormat()
_NO_FILES = fs.SubTreeFileSystem("/nonexistent", fs.LocalFileSystem())


#: Columns with one value for all rows of a series, and columns whose range is known for a period.
_LABELS = ("provider", "market", "symbol", "interval")
_TIMES = {"open_time", "close_time", "date"}

#: The longest bar is a month; a bar whose close time is wrong has one within a day of the true one (facts: the known
#: defects close early, at worst shortly before they open).
_LONGEST_BAR = 31 * DAY
_CLOSE_TIME_ERROR = DAY


class Cover(Enum):
    """Which rows of a period a filter keeps, as far as can be told without reading it."""

    NONE = "none"
    PART = "part"
    ALL = "all"


class Pruning:
    """The filter of one scan, applied to years, months, ten-day parts of a month and days.

    A fragment costs microseconds and there are thousands of days, so a longer period is judged first, and the shorter
    ones in it only where the filter keeps it in part. Results are remembered.

    Args:
        filter_: The filter; None keeps everything.
        schema: The columns that the filter may name.
        labels: The columns that have one value for all rows of a series, with that value.
        longest: The length of the longest bar in question, in microseconds.
    """

    def __init__(
        self,
        filter_: pc.Expression | None,
        schema: pa.Schema,
        labels: Callable[[Series], Mapping[str, str]],
        longest: int = _LONGEST_BAR,
    ) -> None:
        self._filter = filter_
        self._longest = longest
        self._schema = schema
        self._labels = labels
        self._columns = frozenset(_TIMES & set(schema.names))
        self._names_label = any(name in str(filter_) for name in _LABELS)
        self._months: dict[Series | None, dict[Month, Cover]] = {}
        self._days: dict[Series | None, dict[date, Cover]] = {}

    @property
    def active(self) -> bool:
        """Whether there is a filter."""
        return self._filter is not None

    def can_match(self, series: Series) -> bool:
        """Whether the filter can be true anywhere in the series."""
        if self._filter is None or not self._names_label:
            return True
        anywhere = _path_only("", self._label(series))
        return bool(self._matching(self._filter, [anywhere]))

    def months(self, series: Series, months: Sequence[Month]) -> dict[Month, Cover]:
        """What the filter keeps of each month."""
        if self._filter is None:
            return dict.fromkeys(months, Cover.ALL)
        known = self._months.setdefault(self._scope(series), {})
        new = [month for month in months if month not in known]
        years = self._judge(series, {month.year: (date(month.year, 1, 1), date(month.year, 12, 31)) for month in new})
        partial = [month for month in new if years[month.year] is Cover.PART]
        judged = self._judge(series, {month: (month.first, month.last) for month in partial})
        known |= {month: judged.get(month, years[month.year]) for month in new}
        return {month: known[month] for month in months}

    def days(self, series: Series, days: Sequence[date]) -> dict[date, Cover]:
        """What the filter keeps of each day; the days must be in order. Many at once cost less than one by one."""
        if self._filter is None:
            return dict.fromkeys(days, Cover.ALL)
        known = self._days.setdefault(self._scope(series), {})
        new = [day for day in days if day not in known]
        if new:
            known |= self._judge_days(series, new)
        return {day: known[day] for day in days}

    def keeps_all(self, series: Series, day: date) -> bool:
        """Whether the filter is true for every row of a day, as far as can be told without reading it."""
        return self._filter is None or self.days(series, (day,))[day] is Cover.ALL

    def _scope(self, series: Series) -> Series | None:
        """Whose results a series shares: those of all series where the filter names no label."""
        return series if self._names_label else None

    def _judge_days(self, series: Series, days: Sequence[date]) -> dict[date, Cover]:
        months = self.months(series, sorted({Month.of(day) for day in days}))
        in_partial_month = [day for day in days if months[Month.of(day)] is Cover.PART]
        parts = {part: list(of_part) for part, of_part in groupby(in_partial_month, key=_part_of_month)}
        of_parts = self._judge(series, {part: (of_part[0], of_part[-1]) for part, of_part in parts.items()})
        judged = {day: cover for part, cover in of_parts.items() for day in parts[part]}
        judged |= self._judge(series, {day: (day, day) for day, cover in judged.items() if cover is Cover.PART})
        return {day: judged.get(day, months[Month.of(day)]) for day in days}

    def _judge(self, series: Series, periods: Mapping[Key, tuple[date, date]]) -> dict[Key, Cover]:
        """What the filter keeps of periods, each by its first and last day."""
        if not periods or self._filter is None:
            return dict.fromkeys(periods, Cover.ALL)
        label = self._label(series) if self._names_label else None
        fragments = {
            key: _fragment(first, last, self._columns, self._longest, label) for key, (first, last) in periods.items()
        }
        kept = self._matching(self._filter, list(fragments.values()))
        candidates = [fragment for fragment in fragments.values() if fragment.path in kept]
        true_or_false = pc.coalesce(self._filter, _FALSE)  # type: ignore[type-var] # pyarrow-stubs: no expressions
        partial = self._matching(~true_or_false, candidates)
        return {
            key: Cover.NONE if one.path not in kept else Cover.PART if one.path in partial else Cover.ALL
            for key, one in fragments.items()
        }

    def _label(self, series: Series) -> pc.Expression:
        labels = self._labels(series).items()
        return functools.reduce(
            operator.and_, (pc.field(name) == pa.scalar(value, pa.string()) for name, value in labels)
        )

    def _matching(self, filter_: pc.Expression, fragments: list[ds.FileFragment]) -> set[str]:
        """The paths of the fragments in which, as far as pyarrow can tell, a row may match the filter."""
        dataset = ds.FileSystemDataset(list(fragments), self._schema, _FORMAT, _NO_FILES)
        found: Iterable[ds.FileFragment] = dataset.get_fragments(filter=filter_)
        return {fragment.path for fragment in found}


def _part_of_month(day: date) -> tuple[int, int, int]:
    return day.year, day.month, (day.day - 1) // 10


def _fragment(
    first: date, last: date, columns: frozenset[str], longest: int, label: pc.Expression | None
) -> ds.FileFragment:
    """A fragment that states what all rows of some days have in common; its path identifies it."""
    if label is None:
        return _fragment_of_days(first, last, columns, longest)
    expression = label & _between(first, last, columns, longest)
    return _path_only(f"{first}/{last}", expression)


@functools.lru_cache(maxsize=10_000)
def _fragment_of_days(first: date, last: date, columns: frozenset[str], longest: int) -> ds.FileFragment:
    expression = _between(first, last, columns, longest)
    return _path_only(f"{first}/{last}", expression)


def _path_only(path: str, expression: pc.Expression) -> ds.FileFragment:
    fragment = _FORMAT.make_fragment(path, _NO_FILES, partition_expression=expression)
    return cast("ds.FileFragment", fragment)  # pyarrow-stubs: annotated as Fragment


def _between(first: date, last: date, columns: frozenset[str], longest: int) -> pc.Expression:
    """The range of the time columns that there are, for the rows of these days."""
    expression, start, end = _TRUE, day_start(first), day_start(last) + DAY
    if "open_time" in columns:
        opened = pc.field("open_time")
        expression &= (opened >= pa.scalar(start, INSTANT)) & (opened < pa.scalar(end, INSTANT))
    if "close_time" in columns:
        closed = pc.field("close_time")
        expression &= closed >= pa.scalar(start - _CLOSE_TIME_ERROR, INSTANT)
        expression &= closed < pa.scalar(end + longest + _CLOSE_TIME_ERROR, INSTANT)
    if "date" in columns:
        expression &= pc.field("date") >= pa.scalar(first, pa.date32())
        expression &= pc.field("date") <= pa.scalar(last, pa.date32())
    return expression
