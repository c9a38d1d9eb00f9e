"""Carries a query out: its days in order of time, from the cache, and through `fetch` where they are missing from it.

Where each day comes from is decided in `scan.plan` (FCP: cache → lake → Vision → REST). Cached days are read in long
ranges, the others day by day while the jobs of later days are already running.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from ckvd_sql.cache.store import DayStore
from ckvd_sql.errors import CacheError, CkvdError, InvalidSymbolError, LakeError
from ckvd_sql.fetch.jobs import DAYS_PER_JOB, DayBars, Job
from ckvd_sql.fetch.session import FetchSession, wait_for
from ckvd_sql.lake.store import lake_of
from ckvd_sql.market.periods import DAY, Month, day_of, day_start
from ckvd_sql.market.provenance import Source
from ckvd_sql.scan.blocks import blocks_of_query, plan_of_series
from ckvd_sql.scan.catalog import Catalog
from ckvd_sql.scan.failures import Failure, announce_many, with_missing_days
from ckvd_sql.scan.lake import LakeScan
from ckvd_sql.scan.progress import Progress
from ckvd_sql.scan.publishing import publish_period
from ckvd_sql.scan.steps import Step, closed_day, cut_day, cut_parts, steps_of_lake

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
    from concurrent.futures import Future
    from datetime import date

    from ckvd_sql.market.periods import FilePeriod, Span
    from ckvd_sql.market.provenance import SourcedRows
    from ckvd_sql.market.query import Query
    from ckvd_sql.market.series import Series
    from ckvd_sql.scan.blocks import Block
    from ckvd_sql.scan.plan import DayPlan
    from ckvd_sql.scan.pruning import Pruning
    from ckvd_sql.settings import Settings

    Fetched = dict[date, DayBars]

log = logging.getLogger("ckvd_sql")

#: How many jobs DuckDB consumes before it returns a first row, months of 1m being one each.
_FIRST_JOBS = 3


class Resolver:
    """The failover over one cache folder. Holds no connection; each stream has its own.

    Args:
        settings: All settings.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = DayStore(settings.cache_dir, settings.cache_shared, settings.timeout, mapped=settings.mmap)
        self.lake = lake_of(settings)
        self.catalog = Catalog(settings, self.store, self.session)

    def plans(self, query: Query) -> Iterator[tuple[Series, list[DayPlan]]]:
        """Each series of a query with its plan, from the names of files in the cache, and the metadata of the lake."""
        with LakeScan(self.lake, self.settings.concurrency) as lake:
            for wanted in query.series():
                series = self.on_grid(wanted)
                snapshot = self.store.snapshot(series)
                days = plan_of_series(query, series, snapshot)
                if self.lake and (missing := [one.day for one in days if one.source is Source.VISION]):
                    days = plan_of_series(query, series, snapshot, lake.coverage(series, missing))
                yield series, days

    def stream(
        self,
        query: Query,
        pruning: Pruning | None = None,
        *,
        columns: Collection[str] | None = None,
        whole_days: bool = False,
        keep_going: bool = False,
        for_user: bool = False,
    ) -> Generator[Step]:
        """The query's bars in order, symbol by symbol. Closing the iterator ends all fetching.

        Args:
            query: The query.
            pruning: Leaves out the days of which the filter keeps nothing; days that it keeps in part come whole.
            columns: The columns that are used, of which alone the stored values are checked; None for all.
            whole_days: Yield day by day, and no day cut to the query.
            for_user: Whether to log that many files are about to be fetched, and to show the progress.
            keep_going: Yield the days that can't be had as failures of their step, instead of raising.

        Raises:
            CkvdError: A day can't be had. The days before it have been yielded, and are cached.
        """
        planned = [
            block
            for series in (() if query.span.empty else query.series())
            for series in [self._learn_grid(series, query.span)]
            for block in blocks_of_query(query, series, self.store.snapshot(series), pruning, by_day=whole_days)
        ]
        jobs = [block.job for block in planned if block.job and for_user]
        if not self.lake:
            announce_many(jobs)
        with (
            FetchSession(self.settings, self.store, query.now, include_open=query.include_open) as session,
            Progress(self.settings, sum(len(job.days) for job in jobs), session.traffic) as progress,
            LakeScan(self.lake, self.settings.concurrency) as lake,
        ):
            blocks = lake.through(planned, pruning, None if whole_days else columns)
            for block, fetching in self._fetch_ahead(session, blocks):
                if block.lake:
                    progress.advance(len(block.days))
                    yield from steps_of_lake(query, block, block.lake, pruning, whole_days=whole_days)
                    continue
                if (
                    block.cached_span
                    and (bars := self._read_range(block.series, block.cached_span, columns)) is not None
                ):
                    yield Step(block.series, stored=tuple(bars))
                    continue
                days, failures = self._read_block(block, fetching, session, progress, keep_going=keep_going)
                if failures and not keep_going:
                    raise self._explained(failures[0], [block, *blocks]) from failures[0].error
                failures = [self._suggested(failure) for failure in failures]
                inside = [day for day in days if query.span.touches(day.day)]
                if not whole_days:
                    inside = [cut_day(query, day) for day in inside]
                yield Step(
                    block.series,
                    days=tuple(closed_day(query, day) for day in inside),
                    failures=tuple(failures),
                )
            if self.settings.lake_write:
                self._offer(lake.incomplete)

    def on_grid(self, series: Series) -> Series:
        """The series with its grid, where that is known from the cache; only 3d has a grid for each symbol.

        Empty day files off that grid, which earlier versions wrote, are deleted.
        """
        if series.interval.grid_known:
            return series
        snapshot = self.store.snapshot(series)
        if snapshot.bar_time is None:
            return series
        self.store.drop_empty_days(series, snapshot.days_off_grid)
        return series.with_bar_at(snapshot.bar_time)

    def _learn_grid(self, series: Series, span: Span) -> Series:
        """The same, the first bar being asked for where the cache has none."""
        found = self.on_grid(series)
        if not found.interval.grid_known and self.lake:
            with LakeScan(self.lake, self.settings.concurrency) as lake:
                found = lake.on_grid(found, span)
        if found.interval.grid_known or self.settings.offline:
            return found
        with self.session() as session:
            try:
                first_open = session.first_open(series)
            except CkvdError:  # the days themselves will say what is wrong
                return series
        return series if first_open is None else series.with_bar_at(first_open)

    def _offer(self, periods: Mapping[tuple[Series, FilePeriod], bool]) -> None:
        """Write to the lake the periods that it lacks and the cache now has whole; what fails is logged."""
        for (series, period), damaged in periods.items():
            try:
                if self.lake:
                    now = self.settings.clock()
                    publish_period(self.store, self.lake, self.on_grid(series), period, now, damaged=damaged)
            except LakeError as error:
                log.warning("%s; bars that were fetched are not in the lake", error)
                return

    def first_open(self, series: Series) -> int | None:
        """The open time of a series' first bar, in microseconds; it is asked for where the cache does not know it.

        None where it can't be learnt.
        """
        known = self.store.first_open(series)
        if known is not None or self.settings.offline:
            return known
        with self.session() as session:
            return session.first_open(series)

    def refetch(self, job: Job) -> dict[date, DayBars]:
        """The days of a job, fetched now. Raises `CkvdError`."""
        with self.session() as session:
            return wait_for(session.start(job))

    def session(self) -> FetchSession:
        """The network; use it as a context manager."""
        return FetchSession(self.settings, self.store, self.settings.clock())

    def _explained(self, failure: Failure, blocks: list[Block]) -> CkvdError:
        """The error of a failure, with what helps: the days that are missing, or the symbols that may be meant."""
        if isinstance(failure.error, InvalidSymbolError):
            return self._suggested(failure).error
        return with_missing_days(failure, blocks)

    def _suggested(self, failure: Failure) -> Failure:
        """The failure; that of an unknown symbol with the symbols that may be meant."""
        if not isinstance(failure.error, InvalidSymbolError):
            return failure
        return replace(failure, error=self.catalog.suggest(failure.error, failure.series.market))

    def _fetch_ahead(
        self, session: FetchSession, blocks: Iterable[Block]
    ) -> Iterator[tuple[Block, Future[Fetched] | None]]:
        """The blocks in order, each with the running job that fetches its missing days.

        No job is started before a block that needs one is reached, and the first runs alone: a LIMIT may need no more.
        Two run until DuckDB has had enough for a first row. Then there are as many as keep all request slots busy, a
        month's archive being one request at a time.
        """
        ahead: deque[tuple[Block, Future[Fetched] | None]] = deque()
        running = taken = 0
        for block in blocks:
            ahead.append((block, session.start(block.job) if block.job else None))
            if block.job:
                running += 1
                enough = self.settings.concurrency // (1 if block.job.monthly else DAYS_PER_JOB) + 1
                if running >= (1 if taken == 0 else min(enough, 2) if taken < _FIRST_JOBS else enough):
                    running -= 1
                    taken += 1
                    yield ahead.popleft()
            while ahead and ahead[0][1] is None:
                yield ahead.popleft()
        yield from ahead

    def _read_range(self, series: Series, span: Span, columns: Collection[str] | None) -> list[SourcedRows] | None:
        """A range out of the cache; None where it must be read day by day, because a day is gone or can't be read."""
        first, last = day_of(span.start), day_of(span.end - 1)
        snapshot = self.store.snapshot(series)
        if not snapshot.has_all(first, last):
            return None
        try:
            parts = snapshot.read_range(first, last, columns)
        except (CacheError, FileNotFoundError):
            return None
        if span.start == day_start(first) and span.end == day_start(last) + DAY:
            return parts
        return cut_parts(parts, span)

    def _read_block(
        self,
        block: Block,
        fetching: Future[Fetched] | None,
        session: FetchSession,
        progress: Progress,
        *,
        keep_going: bool,
    ) -> tuple[list[DayBars], list[Failure]]:
        """A block's days in order, read or fetched, and those that could not be had: all, or the first of them.

        A day file that can't be used is set aside, and its day fetched again.
        """
        failures: list[Failure] = []
        got: Fetched = {}
        failed: tuple[date, ...] = ()
        if block.job and fetching:
            try:
                got = wait_for(fetching, progress.tick)
                progress.advance(len(block.job.days))
            except CkvdError as error:
                failed = block.job.days
                failures.append(Failure(block.series, failed, error))
                if not keep_going:
                    return [], failures
        snapshot = self.store.snapshot(block.series)
        missing: list[date] = []
        for day in block.all_days(snapshot.days):
            if day in got or day in failed:
                continue
            try:
                source, rows = snapshot.read(day)
                got[day] = DayBars(day, rows, source, Source.CACHE)
            except FileNotFoundError:
                missing.append(day)
            except CacheError as error:
                if self.settings.offline or not error.damaged:
                    failures.append(Failure(block.series, (day,), error))
                    if not keep_going:
                        return [], failures
                    continue
                log.warning("%s; it is set aside and fetched again", error)
                self.store.set_aside(block.series, day)
                missing.append(day)
        for month, of_month in groupby(missing, key=Month.of):
            job = Job(block.series, month, archived=tuple(of_month), monthly=block.series.interval.multi_day)
            try:
                fetched = wait_for(session.start(job))
                got |= {day: fetched[day] for day in job.days}
            except CkvdError as error:
                failures.append(Failure(block.series, job.days, error))
                if not keep_going:
                    break
        return [got[day] for day in sorted(got)], failures
