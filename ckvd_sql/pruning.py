"""What a pushed filter says of whole days: which can hold no row it keeps, and which hold only such rows.

pyarrow itself decides. A path-only fragment a day states what all its rows share (its symbol, its range of open
times), and `get_fragments` tells for which of them a filter, or its negation, can be true. Nothing is read.
"""

from __future__ import annotations

import functools
import operator
from datetime import date
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from ckvd_sql.bars import INSTANT
from ckvd_sql.market import DAY, Month, day_start

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from ckvd_sql.market import Series

Key = TypeVar("Key", bound="Hashable")

# Scalars are given their type: without one, pyarrow looks for pandas each time.
_TRUE = pc.scalar(pa.scalar(True, pa.bool_()))  # noqa: FBT003
_FALSE = pc.scalar(pa.scalar(False, pa.bool_()))  # noqa: FBT003

_FORMAT = ds.IpcFileFormat()
_NOWHERE = fs.SubTreeFileSystem("/nonexistent", fs.LocalFileSystem())


class Cover(Enum):
    """How many rows of a period a filter keeps, as far as can be told without reading it."""

    NONE = "none"
    PART = "part"
    ALL = "all"


class Pruning:
    """One scan's filter, judged by series, year, month and day.

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
        self._months: dict[Series, dict[Month, Cover]] = {}
        self._covered: set[tuple[Series, date]] = set()

    @property
    def prunes(self) -> bool:
        """Whether there is a filter."""
        return self._filter is not None

    def possible(self, series: Series) -> bool:
        """Whether the filter can be true anywhere in the series."""
        return self._filter is None or bool(self._possible(self._filter, {0: self._of(series)}))

    def months(self, series: Series, months: Sequence[Month]) -> dict[Month, Cover]:
        """What the filter keeps of each month."""
        if self._filter is None:
            return dict.fromkeys(months, Cover.ALL)
        known = self._months.setdefault(series, {})
        new = [month for month in months if month not in known]
        years = self._judge(series, {month.year: (date(month.year, 1, 1), date(month.year, 12, 31)) for month in new})
        unsure = [month for month in new if years[month.year] is Cover.PART]
        judged = self._judge(series, {month: (month.first, month.last) for month in unsure})
        known |= {month: judged.get(month, years[month.year]) for month in new}
        return {month: known[month] for month in months}

    def days(self, series: Series, days: Sequence[date]) -> set[date]:
        """The days on which the filter can be true."""
        months = self.months(series, sorted({Month.of(day) for day in days}))
        unsure = [day for day in days if months[Month.of(day)] is Cover.PART]
        judged = self._judge(series, {day: (day, day) for day in unsure})
        covers = {day: judged.get(day, months[Month.of(day)]) for day in days}
        self._covered |= {(series, day) for day, cover in covers.items() if cover is Cover.ALL}
        return {day for day, cover in covers.items() if cover is not Cover.NONE}

    def covers(self, series: Series, day: date) -> bool:
        """Whether the filter is known to be true for every row of a day."""
        if self._filter is None or (series, day) in self._covered:
            return True
        return self._months.get(series, {}).get(Month.of(day)) is Cover.ALL

    def _of(self, series: Series) -> pc.Expression:
        labels = self._labels(series).items()
        return functools.reduce(
            operator.and_, (pc.field(name) == pa.scalar(value, pa.string()) for name, value in labels)
        )

    def _between(self, first: date, last: date) -> pc.Expression:
        """What the rows of these days have in common, in the columns there are."""
        said = _TRUE
        if "open_time" in self._schema.names:
            opened = pc.field("open_time")
            said &= opened >= pa.scalar(day_start(first), INSTANT)
            said &= opened < pa.scalar(day_start(last) + DAY, INSTANT)
        if "date" in self._schema.names:
            said &= pc.field("date") >= pa.scalar(first, pa.date32())
            said &= pc.field("date") <= pa.scalar(last, pa.date32())
        return said

    def _judge(self, series: Series, periods: Mapping[Key, tuple[date, date]]) -> dict[Key, Cover]:
        """What the filter keeps of periods, each by its first and last day."""
        if not periods:
            return {}
        said = {key: self._of(series) & self._between(first, last) for key, (first, last) in periods.items()}
        kept = self._possible(self._filter, said)
        dropped = self._possible(~pc.coalesce(self._filter, _FALSE), said)
        return {key: Cover.NONE if key not in kept else Cover.PART if key in dropped else Cover.ALL for key in periods}

    def _possible(self, filter_: pc.Expression, periods: Mapping[Key, pc.Expression]) -> set[Key]:
        """The periods for which pyarrow can't rule out that a row fulfils the filter."""
        keys = list(periods)
        fragments = [
            _FORMAT.make_fragment(str(number), _NOWHERE, partition_expression=periods[key])
            for number, key in enumerate(keys)
        ]
        dataset = ds.FileSystemDataset(fragments, self._schema, _FORMAT, _NOWHERE)
        found: Iterable[ds.Fragment] = dataset.get_fragments(filter=filter_)
        return {keys[int(fragment.path)] for fragment in found}
