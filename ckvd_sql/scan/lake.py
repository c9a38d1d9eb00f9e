"""The days of a query that the lake has, between cache and archive.

The days that are missing from the cache are looked up period by period, in threads ahead of the scan. What the lake
has is read from its Parquet and makes no day files; what it lacks is fetched as without a lake. A lake that can't be
reached is left alone, and a damaged file is as if not there.
"""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Self, TypeVar

from ckvd_sql.errors import LakeError
from ckvd_sql.lake.parquet import Coverage
from ckvd_sql.market.periods import SECOND
from ckvd_sql.market.provenance import Source
from ckvd_sql.scan.blocks import Block, blocks_of_plan
from ckvd_sql.scan.plan import DayPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from concurrent.futures import Future
    from datetime import date

    from ckvd_sql.lake.parquet import LakeBars, LakeMetadata
    from ckvd_sql.lake.store import LakeStore
    from ckvd_sql.market.periods import FilePeriod, Span
    from ckvd_sql.market.series import Series
    from ckvd_sql.scan.pruning import Pruning

T = TypeVar("T")

log = logging.getLogger("ckvd_sql")

_LEFT_ALONE = "the lake is left alone for ten minutes"


@dataclass(frozen=True, slots=True)
class _Lookup:
    """Adjacent blocks of one period of which days are missing from the cache."""

    series: Series
    period: FilePeriod
    blocks: tuple[Block, ...]

    @property
    def days(self) -> list[date]:
        """The days that are looked up: those that the archive would be asked for."""
        return [day for block in self.blocks if block.job for day in block.job.archived]


class LakeScan:
    """One scan's reading of the lake. Use it as a context manager.

    Args:
        store: The lake; None where there is none, and nothing is looked up.
        concurrency: How many periods are read at once.

    Attributes:
        incomplete: The periods that the lake did not have whole, and whether its file is damaged.
    """

    def __init__(self, store: LakeStore | None, concurrency: int) -> None:
        self.incomplete: dict[tuple[Series, FilePeriod], bool] = {}
        self._store = store
        self._concurrency = concurrency
        self._pool = ThreadPoolExecutor(concurrency, "ckvd-lake")  # it starts no thread before there is work

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def through(
        self, blocks: Iterable[Block], pruning: Pruning | None, columns: Collection[str] | None
    ) -> Iterator[Block]:
        """The blocks of a query, those of days that the lake has being read from it.

        The first period is looked up alone: a LIMIT may need no more.

        Args:
            blocks: The blocks, in order.
            pruning: The filter; days that it keeps in part are read with all columns.
            columns: The columns that are used; None for all.
        """
        if self._store is None:
            yield from blocks
            return
        ahead: deque[tuple[Block | _Lookup, Future[LakeBars | None] | None]] = deque()
        running = taken = 0
        for item in _lookups(blocks):
            reading = self._start(item, pruning, columns) if isinstance(item, _Lookup) else None
            ahead.append((item, reading))
            running += reading is not None
            most = 1 if item.series.interval.step == SECOND else self._concurrency
            while ahead and (ahead[0][1] is None or running > min(taken, most)):
                first, reading = ahead.popleft()
                running, taken = (running - 1, taken + 1) if reading else (running, taken)
                yield from self._resolve(first, reading)
        for first, reading in ahead:
            yield from self._resolve(first, reading)

    def coverage(self, series: Series, days: Iterable[date]) -> Coverage:
        """What the lake has of a series in the periods of some days, by the metadata of its files."""
        periods = dict.fromkeys(next(series.interval.file_periods(day, day)) for day in days)
        found = [one for one in self._pool.map(lambda period: self._describe(series, period), periods) if one]
        first_opens = [one.first_open for one in found if one.first_open is not None]
        return Coverage(frozenset(day for one in found for day in one.days), min(first_opens, default=None))

    def on_grid(self, series: Series, span: Span) -> Series:
        """The series with its grid, where a file of the lake for the range tells it."""
        found = self.coverage(series, series.interval.days_in(span))
        return series if found.first_open is None else series.with_bar_at(found.first_open)

    def _start(
        self, lookup: _Lookup, pruning: Pruning | None, columns: Collection[str] | None
    ) -> Future[LakeBars | None]:
        whole = pruning is None or all(pruning.keeps_all(lookup.series, day) for day in lookup.days)
        return self._pool.submit(self._read, lookup, columns if whole else None)

    def _resolve(self, item: Block | _Lookup, reading: Future[LakeBars | None] | None) -> Iterator[Block]:
        if isinstance(item, Block):
            yield item
            return
        bars = reading.result() if reading else None
        if bars is None or not bars.complete:
            self.incomplete.setdefault((item.series, item.period), False)
        yield from item.blocks if bars is None else _split(item, bars)

    def _read(self, lookup: _Lookup, columns: Collection[str] | None) -> LakeBars | None:
        series, period, days = lookup.series, lookup.period, lookup.days
        return self._ask(series, period, lambda lake: lake.read(series, period, days[0], days[-1], columns))

    def _describe(self, series: Series, period: FilePeriod) -> LakeMetadata | None:
        found = self._ask(series, period, lambda lake: lake.describe(series, period))
        return found[0] if found else None

    def _ask(self, series: Series, period: FilePeriod, question: Callable[[LakeStore], T | None]) -> T | None:
        """The lake's answer; None, with a warning, where it has none."""
        try:
            return question(self._store) if self._store else None
        except LakeError as error:
            if error.damaged:
                self.incomplete[series, period] = True
            log.warning("%s; %s", error, "its days come from elsewhere" if error.damaged else _LEFT_ALONE)
            return None


def _lookups(blocks: Iterable[Block]) -> Iterator[Block | _Lookup]:
    """The blocks, those with days that the archive would be asked for together by period; of 1s bars one by one."""

    def key(block: Block) -> tuple[Series, FilePeriod | None, int]:
        if not block.job or not block.job.archived:
            return block.series, None, 0
        period = next(block.series.interval.file_periods(block.job.archived[0], block.job.archived[0]))
        return block.series, period, id(block) if block.series.interval.step == SECOND else 0

    for (series, period, _), group in groupby(blocks, key=key):
        if period is None:
            yield from group
        else:
            yield _Lookup(series, period, tuple(group))


def _split(lookup: _Lookup, bars: LakeBars) -> Iterator[Block]:
    """The blocks of a period, cut into those of days that the lake has and those of others."""
    series, held = lookup.series, bars.days
    planned: list[DayPlan] = []
    for block in lookup.blocks:
        job = block.job
        days = set(block.days)
        if series.interval.multi_day:  # a long bar may open on a day that the known grid does not have
            days |= {day for day in held if block.days[0] <= day <= block.days[-1]}
        for day in sorted(days):
            if job is None or day not in job.days:
                planned.append(DayPlan(day, Source.LAKE if day in held and day not in block.days else Source.CACHE))
            elif day in job.live:
                planned.append(DayPlan(day, Source.REST))
            elif day in held:
                planned.append(DayPlan(day, Source.LAKE))
            elif bars.first_open is None or series.interval.closed_at(day) > bars.first_open:
                planned.append(DayPlan(day, Source.VISION))
    for in_lake, run in groupby(planned, key=lambda one: one.source is Source.LAKE):
        if in_lake:
            yield Block(series, tuple(one.day for one in run), lake=bars)
        else:
            yield from blocks_of_plan(series, run)
