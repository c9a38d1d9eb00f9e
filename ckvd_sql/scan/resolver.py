"""The failover control: where each UTC day of a query comes from, and the days in order.

    cache  ->  archive (Vision)  ->  REST

`plan` decides, from what is known without asking anybody. `Resolver.stream` carries the plan out in time order: what
lies in the cache in long stretches, the other days one by one, fetching ahead by a bounded window.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from ckvd_sql.cache.store import DayStore
from ckvd_sql.errors import CacheError, CkvdError, OfflineError, ProviderUnavailableError
from ckvd_sql.fetch.jobs import DAYS_A_JOB, DayBars, Job
from ckvd_sql.fetch.session import Fetcher, outcome
from ckvd_sql.market.bars import closed_rows, rows_between
from ckvd_sql.market.periods import DAY, HOUR, Month, Span, consecutive, day_of, day_start, days_between, format_days
from ckvd_sql.scan.plan import Block, DayPlan, blocks, plan
from ckvd_sql.scan.pruning import Cover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.cache.snapshot import Snapshot
    from ckvd_sql.market.query import Query
    from ckvd_sql.market.series import Market, Series
    from ckvd_sql.scan.pruning import Pruning
    from ckvd_sql.settings import Settings
    from ckvd_sql.sources.rest import Symbol

log = logging.getLogger("ckvd_sql")

_LONGEST_BAR = 31 * DAY

#: How many jobs DuckDB takes before it gives a first row, months of 1m being one each.
_FIRST_JOBS = 3


@dataclass(frozen=True, slots=True)
class Step:
    """What comes out of the stream together, cut to the query: a stretch of the cache, or days in order."""

    series: Series
    days: tuple[DayBars, ...] = ()
    stretch: tuple[pa.RecordBatch, ...] = ()

    def batches(self) -> list[pa.RecordBatch]:
        """The bars, in order."""
        return [*self.stretch, *(day.bars for day in self.days)]


class Resolver:
    """The failover over one cache folder. Holds no connection; each stream has its own.

    Args:
        settings: Where things are, and how hard to try.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = DayStore(settings.cache_dir)

    def plan(self, query: Query, series: Series) -> list[DayPlan]:
        """The plan of one series of a query, from the cache's file names alone."""
        return plan(
            series,
            query.span,
            query.now,
            include_open=query.include_open,
            cached=self.store.days(series),
            first_open=self.store.listed(series),
        )

    def stream(
        self,
        query: Query,
        pruning: Pruning | None = None,
        *,
        whole_days: bool = False,
        on_error: Callable[[Job, CkvdError], None] | None = None,
    ) -> Iterator[Step]:
        """The query's bars in order, symbol by symbol. Closing it ends all fetching.

        Args:
            query: What is asked.
            pruning: Leaves out the days in which nothing is wanted; days that are wanted in part come whole.
            whole_days: Give day by day, and none cut to the query.
            on_error: Told of a job that failed, whose days are then passed over; without it the error is raised.

        Raises:
            CkvdError: A day can't be had. The days before it have been yielded, and are cached.
        """
        work = [block for series in query.series() for block in self._blocks(query, series, pruning, by_day=whole_days)]
        jobs = [block.job for block in work if block.job]
        with Fetcher(self.settings, self.store, query.now, {job.month for job in jobs}) as fetcher:
            ahead = self._ahead(fetcher, jobs)

            def fail(job: Job, error: CkvdError) -> None:
                if on_error is None:
                    raise _naming(error, job, work) from error
                on_error(job, error)

            for block in work:
                if block.stretch and (bars := self._stretch(block.series, block.stretch)) is not None:
                    yield Step(block.series, stretch=tuple(bars))
                    continue
                got: dict[date, DayBars] = {}
                if block.job:
                    try:
                        got = outcome(next(ahead))
                    except CkvdError as error:
                        fail(block.job, error)
                        continue
                days = self._read(block, got, fetcher, fail)
                inside = [day for day in days if query.span.touches(day.day)]
                if not whole_days:
                    inside = [self._cut(query, day) for day in inside]
                yield Step(block.series, tuple(self._closed(query, day) for day in inside))

    def _blocks(self, query: Query, series: Series, pruning: Pruning | None, *, by_day: bool) -> Iterator[Block]:
        """A series' plan as blocks: most years, then months, lie whole in the cache, and need no look at their days."""
        snapshot = self.store.snapshot(series)
        covers = pruning.months(series, list(query.span.months())) if pruning and pruning.prunes else {}

        def in_one(span: Span) -> bool:
            kept_whole = all(covers.get(month, Cover.ALL) is Cover.ALL for month in (span.months() if covers else ()))
            return not by_day and kept_whole and self._here(snapshot, series, span, query.now)

        # Years are apart because a LIMIT may want little; all years of long bars are little.
        long_bars = series.interval.step is None or series.interval.step >= HOUR
        whole = long_bars and not query.span.empty and in_one(query.span)
        for year in [query.span] if whole else query.span.years():
            if whole or in_one(year):
                yield Block(series, stretch=year)
                continue
            parts = [year.intersect(month.span) for month in year.months()]
            for together, run in groupby(parts, key=in_one):
                if together:
                    months = list(run)
                    yield Block(series, stretch=Span(months[0].start, months[-1].end))
                    continue
                for part in run:
                    cover = covers.get(Month.of(day_of(part.start)), Cover.ALL)
                    if cover is Cover.NONE:
                        continue
                    days = self._days(query, series, part, pruning if cover is Cover.PART else None)
                    for block in blocks(series, days):
                        yield from [block] if by_day else self._in_stretches(block, part, query.now, pruning)

    def _days(self, query: Query, series: Series, span: Span, pruning: Pruning | None) -> list[DayPlan]:
        """The plan of a month, without the days that the filter rules out."""
        days = plan(
            series,
            span,
            query.now,
            include_open=query.include_open,
            cached=self.store.days(series),
            first_open=self.store.listed(series),
        )
        wanted = pruning.days(series, [one.day for one in days]) if pruning else None
        return [one for one in days if wanted is None or one.day in wanted]

    def _in_stretches(self, block: Block, span: Span, now: int, pruning: Pruning | None) -> Iterator[Block]:
        """A block without a job as stretches of the days that the filter keeps whole, and the others as they are."""
        series = block.series
        if block.job or series.interval.multi_day:
            yield block
            return
        for whole, run in groupby(block.days, key=lambda day: pruning is None or pruning.covers(series, day)):
            for first, last in consecutive(run):
                stretch = Span(day_start(first), day_start(last) + DAY).intersect(span)
                if whole and self._here(self.store.snapshot(series), series, stretch, now):
                    yield Block(series, stretch=stretch)
                else:
                    yield Block(series, tuple(days_between(first, last)))

    def _here(self, snapshot: Snapshot, series: Series, span: Span, now: int) -> bool:
        """Whether every bar of a range is closed and in the cache; one off the grid may close later than the grid's."""
        last = day_of(span.end - 1)
        closed_at = day_start(last) + DAY + (_LONGEST_BAR if series.interval.multi_day else 0)
        return closed_at <= now and snapshot.holds(day_of(span.start), last)

    def _stretch(self, series: Series, span: Span) -> list[pa.RecordBatch] | None:
        """A stretch of the cache; None where it must be read day by day, for one day is gone or can't be read."""
        first, last = day_of(span.start), day_of(span.end - 1)
        snapshot = self.store.snapshot(series)
        if not snapshot.holds(first, last):
            return None
        try:
            bars = snapshot.stretch(first, last)
        except (CacheError, FileNotFoundError):
            return None
        if span.start == day_start(first) and span.end == day_start(last) + DAY:
            return bars
        return [rows_between(one, span.start, span.end) for one in bars]

    def _read(
        self, block: Block, got: dict[date, DayBars], fetcher: Fetcher, fail: Callable[[Job, CkvdError], None]
    ) -> list[DayBars]:
        """A block's days in order, those that a job got among them. One that can't be read is fetched again."""
        snapshot = self.store.snapshot(block.series)
        unread: list[date] = []
        for day in block.all_days(snapshot.days):
            if day not in got:
                try:
                    got[day] = DayBars(day, snapshot.read(day), "cache")
                except FileNotFoundError:
                    unread.append(day)
                except CacheError as error:
                    if self.settings.offline or not error.damaged:
                        fail(Job(block.series, Month.of(day), archived=(day,)), error)
                        continue
                    log.warning("%s; it is set aside and fetched again", error)
                    self.store.set_aside(block.series, day)
                    unread.append(day)
        for month, lacking in groupby(unread, key=Month.of):
            job = Job(block.series, month, archived=tuple(lacking), monthly=block.series.interval.multi_day)
            try:
                fetched: dict[date, DayBars] = outcome(fetcher.start(job))
                got |= {day: fetched[day] for day in job.days}
            except CkvdError as error:
                fail(job, error)
        return [got[day] for day in sorted(got)]

    def symbols(self, market: Market) -> list[Symbol]:
        """The symbols of a market, from the exchange."""
        with Fetcher(self.settings, self.store, self.settings.clock(), ()) as fetcher:
            return fetcher.symbols(market)

    def first_open(self, series: Series) -> int | None:
        """The open time of a series' first bar, asked for where it is not known; None where nobody can tell."""
        known = self.store.listed(series)
        if known is not None or self.settings.offline:
            return known
        with Fetcher(self.settings, self.store, self.settings.clock(), ()) as fetcher:
            return fetcher.call(lambda: fetcher.failover.first_open(series))

    def _ahead(self, fetcher: Fetcher, jobs: Iterable[Job]) -> Iterator[Future[dict[date, DayBars]]]:
        """The jobs' results in order.

        None begins before one is waited for, and the first goes alone: a LIMIT may need no more. Two are under way
        until DuckDB has had enough for a first row. Then there are as many as keep all slots for requests busy, a
        month's archive being one at a time.
        """
        flying: deque[Future[dict[date, DayBars]]] = deque()
        taken = 0
        for job in jobs:
            flying.append(fetcher.start(job))
            enough = self.settings.concurrency // (1 if job.monthly else DAYS_A_JOB) + 1
            if len(flying) >= (1 if taken == 0 else min(enough, 2) if taken < _FIRST_JOBS else enough):
                yield flying.popleft()
                taken += 1
        yield from flying

    def _cut(self, query: Query, day: DayBars) -> DayBars:
        begin = day_start(day.day)
        if query.span.start <= begin and begin + DAY <= query.span.end:
            return day
        return replace(day, bars=rows_between(day.bars, query.span.start, query.span.end))

    def _closed(self, query: Query, day: DayBars) -> DayBars:
        return day if query.include_open else replace(day, bars=closed_rows(day.bars, query.now))


def _naming(error: CkvdError, failed: Job, work: list[Block]) -> CkvdError:
    """The error, saying which days of this series lack from here on where no source could be reached."""
    lacking = [day for block in work if block.job and block.series == failed.series for day in block.job.days]
    days = [day for day in lacking if day >= failed.days[0]]
    if isinstance(error, ProviderUnavailableError):
        message = f"{error}; days of {failed.series} that lack: {format_days(days)}"
        return ProviderUnavailableError(message, url=error.url, status=error.status, days=days)
    if isinstance(error, OfflineError):
        message = f"the network is switched off (CKVD_OFFLINE); days of {failed.series} that lack: {format_days(days)}"
        return OfflineError(message, days)
    return error
