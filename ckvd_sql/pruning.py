"""What a pushed filter says of whole days: which can hold no row it keeps, and which hold only such rows.

pyarrow itself decides. A path-only fragment a day states what all its rows share (its symbol, its range of open
times), and `get_fragments` tells for which of them a filter, or its negation, can be true. Nothing is read.
"""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from ckvd_sql.bars import INSTANT
from ckvd_sql.market import DAY, Month, day_start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import date

    from ckvd_sql.market import Series

_FORMAT = ds.IpcFileFormat()
_NOWHERE = fs.SubTreeFileSystem("/nonexistent", fs.LocalFileSystem())


class Pruning:
    """One scan's filter, judged by series, month and day.

    Months come first, then the days of those months that the filter covers in part: a fragment costs microseconds,
    and there are thousands of days.

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
        self._partly: set[tuple[Series, date]] = set()

    def possible(self, series: Series) -> bool:
        """Whether the filter can be true anywhere in the series."""
        return self._filter is None or bool(self._possible(self._filter, {0: self._of(series)}))

    def wanted(self, series: Series, days: list[date]) -> set[date]:
        """The days on which the filter can be true."""
        if self._filter is None or not days:
            return set(days)
        months = {
            month: self._of(series) & self._between(month.first, month.last)
            for month in {Month.of(day) for day in days}
        }
        hit, missed = self._judge(months)
        in_part = {day: self._of(series) & self._between(day, day) for day in days if Month.of(day) in hit & missed}
        day_hit, day_missed = self._judge(in_part)
        self._partly |= {(series, day) for day in day_missed}
        return {day for day in days if (day in day_hit if day in in_part else Month.of(day) in hit)}

    def covers(self, series: Series, day: date) -> bool:
        """Whether the filter is true for every row of a wanted day."""
        return self._filter is None or (series, day) not in self._partly

    def _of(self, series: Series) -> pc.Expression:
        return functools.reduce(
            operator.and_, (pc.field(name) == value for name, value in self._labels(series).items())
        )

    def _between(self, first: date, last: date) -> pc.Expression:
        """What the rows of these days have in common, in the columns there are."""
        said = pc.scalar(True)  # noqa: FBT003
        if "open_time" in self._schema.names:
            opened = pc.field("open_time")
            said &= opened >= pa.scalar(day_start(first), INSTANT)
            said &= opened < pa.scalar(day_start(last) + DAY, INSTANT)
        if "date" in self._schema.names:
            said &= (pc.field("date") >= pa.scalar(first)) & (pc.field("date") <= pa.scalar(last))
        return said

    def _judge(self, periods: Mapping[Any, pc.Expression]) -> tuple[set[Any], set[Any]]:
        """The periods in which the filter can be true, and those in which it can be false or unknown."""
        fails = ~pc.coalesce(self._filter, pc.scalar(False))  # noqa: FBT003
        return self._possible(self._filter, periods), self._possible(fails, periods)

    def _possible(self, filter_: pc.Expression, periods: Mapping[Any, pc.Expression]) -> set[Any]:
        """The periods for which pyarrow can't rule out that a row fulfils the filter."""
        keys = list(periods)
        fragments = [
            _FORMAT.make_fragment(str(number), _NOWHERE, partition_expression=periods[key])
            for number, key in enumerate(keys)
        ]
        dataset = ds.FileSystemDataset(fragments, self._schema, _FORMAT, _NOWHERE)
        found: Iterable[ds.Fragment] = dataset.get_fragments(filter=filter_)
        return {keys[int(fragment.path)] for fragment in found}
