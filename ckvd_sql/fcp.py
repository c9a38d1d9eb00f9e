"""The failover control: where each UTC day of a query comes from, and the days in order.

    cache  ->  archive (Vision)  ->  REST

`plan` decides, from what is known without asking anybody: a day in the cache is read there; a closed day is
fetched, archive first; a day that is not over comes from REST and is never kept; days before the first bar are
nobody's. `Resolver.stream` carries the plan out, day by day in time order, fetching ahead by a bounded window.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING

from ckvd_sql.bars import closed, within
from ckvd_sql.cache import DayStore
from ckvd_sql.errors import CacheError, CkvdError, OfflineError, ProviderUnavailableError
from ckvd_sql.fetch import Fetcher, outcome
from ckvd_sql.jobs import DAYS_A_JOB, DayBars, Job, first_of_job
from ckvd_sql.market import DAY, SECOND, Month, day_start, spell_days
from ckvd_sql.pruning import Cover

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from concurrent.futures import Future
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.market import Market, Series, Span
    from ckvd_sql.pruning import Pruning
    from ckvd_sql.query import Query
    from ckvd_sql.rest import Symbol
    from ckvd_sql.settings import Settings

log = logging.getLogger("ckvd_sql")


class Origin(StrEnum):
    """Where a day would come from now."""

    CACHE = "cache"
    VISION = "vision"
    REST = "rest"
    UNLISTED = "unlisted"


@dataclass(frozen=True, slots=True)
class DayPlan:
    """One day of a series and where it would come from."""

    day: date
    origin: Origin


@dataclass(frozen=True, slots=True)
class Block:
    """What is read together: whole months of the cache, or days of which a job fetches some."""

    series: Series
    days: tuple[date, ...] = ()
    job: Job | None = None
    months: tuple[Month, ...] = ()

    def all_days(self) -> list[date]:
        """Every day of the block."""
        return list(self.days) or [day for month in self.months for day in month.days()]


@dataclass(frozen=True, slots=True)
class Step:
    """What comes out of the stream together: whole months of the cache, or days in order, cut to the query."""

    series: Series
    days: tuple[DayBars, ...] = ()
    months: pa.Table | None = None

    def batches(self) -> list[pa.RecordBatch]:
        """The bars, in order."""
        return self.months.to_batches() if self.months is not None else [day.bars for day in self.days]


def plan(
    series: Series,
    span: Span,
    now: int,
    *,
    include_open: bool = False,
    cached: Collection[date] = (),
    first_open: int | None = None,
) -> list[DayPlan]:
    """Where each day of a range comes from. Pure: no network, no disk, no clock.

    Args:
        series: The series.
        span: The range of open times, not beyond `now`.
        now: The moment, in microseconds since the epoch.
        include_open: Whether a bar that is still forming is wanted.
        cached: The days that are in the cache.
        first_open: The open time of the series' first bar, where it is known.
    """
    interval = series.interval
    days = set(span.days(interval))
    if interval.coarse:  # a long bar may open on a day that the known grid does not have
        days |= {day for day in cached if span.start - DAY < day_start(day) < span.end}
    return [
        DayPlan(day, origin)
        for day in sorted(days)
        if (origin := _origin(series, day, now, include_open, cached, first_open))
    ]


def _origin(
    series: Series, day: date, now: int, include_open: bool, cached: Collection[date], first_open: int | None
) -> Origin | None:
    """Where a day comes from; None where it can have no bar that is wanted."""
    if day in cached:
        return Origin.CACHE
    closed_at = series.interval.closed_at(day)
    if first_open is not None and closed_at <= first_open:
        return Origin.UNLISTED
    if closed_at <= now:
        month_over = day_start(Month.of(day).next.first) <= now
        return Origin.VISION if month_over or not series.interval.coarse else Origin.REST
    first_close = series.interval.first_close(day)
    return Origin.REST if include_open or (first_close is not None and first_close <= now) else None


def blocks(series: Series, days: Iterable[DayPlan]) -> Iterator[Block]:
    """A plan as blocks in time order, each with at most one job. Pure.

    A whole month that lacks is one job, and so is every month of bars longer than a day. Other days go four by four,
    and all of 1s, whose months are too large to hold; aligned in their month, so that callers with different ranges
    still share their fetches.
    """
    for month, planned in groupby(days, key=lambda one: Month.of(one.day)):
        of_month = list(planned)
        in_one = series.interval.step != SECOND and _whole_month_lacks(month, of_month)
        if series.interval.coarse or in_one:
            yield _month_block(series, month, of_month)
            continue
        for (origin, _), run in groupby(of_month, key=_together):
            same = tuple(one.day for one in run)
            if origin is Origin.CACHE:
                yield Block(series, same)
            elif origin is Origin.VISION:
                yield Block(series, same, Job(series, month, archived=same))
            elif origin is Origin.REST:
                yield Block(series, same, Job(series, month, live=same))


def _together(one: DayPlan) -> tuple[Origin, date | None]:
    """What neighbouring days must share to be in one block."""
    return one.origin, first_of_job(one.day) if one.origin is Origin.VISION else None


def _whole_month_lacks(month: Month, days: list[DayPlan]) -> bool:
    lacking = {one.day for one in days if one.origin is Origin.VISION}
    nobodys = {one.day for one in days if one.origin is Origin.UNLISTED}
    return bool(lacking) and lacking | nobodys == set(month.days())


def _month_block(series: Series, month: Month, days: list[DayPlan]) -> Block:
    archived = tuple(one.day for one in days if one.origin is Origin.VISION)
    live = tuple(one.day for one in days if one.origin is Origin.REST)
    job = Job(series, month, archived, live, monthly=bool(archived)) if archived or live else None
    return Block(series, tuple(one.day for one in days if one.origin is not Origin.UNLISTED), job)


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
                if block.months and (months := self._months(block)):
                    yield Step(block.series, months=months)
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
                yield Step(block.series, tuple(self._closed(query, block.series, day) for day in inside))

    def _blocks(self, query: Query, series: Series, pruning: Pruning | None, *, by_day: bool) -> Iterator[Block]:
        """A series' plan as blocks: most months lie whole in the cache, and need no look at their days."""
        snapshot, first_open = self.store.snapshot(series), self.store.listed(series)
        months = list(query.span.months())
        covers = pruning.months(series, months) if pruning else {}

        def whole(month: Month) -> bool:
            inside = query.span.within(month) == month.span and month.span.end <= query.now
            return inside and covers.get(month, Cover.ALL) is Cover.ALL and snapshot.holds(month)

        in_one = not (by_day or series.interval.coarse)
        for (_, together), run in groupby(months, key=lambda month: (month.year, in_one and whole(month))):
            if together:
                yield Block(series, months=tuple(run))
                continue
            for month in run:
                if covers.get(month) is Cover.NONE:
                    continue
                days = plan(
                    series,
                    query.span.within(month),
                    query.now,
                    include_open=query.include_open,
                    cached=snapshot.days,
                    first_open=first_open,
                )
                if covers.get(month) is Cover.PART and pruning:
                    wanted = pruning.days(series, [one.day for one in days])
                    days = [one for one in days if one.day in wanted]
                yield from blocks(series, days)

    def _months(self, block: Block) -> pa.Table | None:
        """Months of the cache in one; None where they must be read day by day, for one day can't be read."""
        try:
            return self.store.snapshot(block.series).table(block.months)
        except (CacheError, FileNotFoundError):
            return None

    def _read(
        self, block: Block, got: dict[date, DayBars], fetcher: Fetcher, fail: Callable[[Job, CkvdError], None]
    ) -> list[DayBars]:
        """A block's days in order, those that a job got among them. One that can't be read is fetched again."""
        snapshot = self.store.snapshot(block.series)
        unread: list[date] = []
        for day in block.all_days():
            if day not in got:
                try:
                    got[day] = DayBars(day, snapshot.read(day), "cache")
                except FileNotFoundError:
                    unread.append(day)
                except CacheError as error:
                    if self.settings.offline:
                        fail(Job(block.series, Month.of(day), archived=(day,)), error)
                        continue
                    log.warning("%s; it is set aside and fetched again", error)
                    self.store.set_aside(block.series, day)
                    unread.append(day)
        for month, days in groupby(unread, key=Month.of):
            job = Job(block.series, month, archived=tuple(days))
            try:
                fetched: dict[date, DayBars] = outcome(fetcher.start(job))
                got |= fetched
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

        None begins before one is waited for, and the first goes alone: a LIMIT may need no more. Then as many are under
        way as keep all slots for requests busy, a month's archive being one at a time; but no more than twice what has
        been taken already, for who has taken little may want little.
        """
        flying: deque[Future[dict[date, DayBars]]] = deque()
        taken = 0
        for job in jobs:
            flying.append(fetcher.start(job))
            enough = self.settings.concurrency // (1 if job.monthly else DAYS_A_JOB) + 1
            if len(flying) >= min(enough, 2 * taken + 1):
                yield flying.popleft()
                taken += 1
        yield from flying

    def _cut(self, query: Query, day: DayBars) -> DayBars:
        begin = day_start(day.day)
        if query.span.start <= begin and begin + DAY <= query.span.end:
            return day
        return replace(day, bars=within(day.bars, query.span.start, query.span.end))

    def _closed(self, query: Query, series: Series, day: DayBars) -> DayBars:
        if query.include_open or series.interval.closed_at(day.day) <= query.now:
            return day
        return replace(day, bars=closed(day.bars, query.now))


def _naming(error: CkvdError, failed: Job, work: list[Block]) -> CkvdError:
    """The error, saying which days of this series lack from here on where no source could be reached."""
    lacking = [day for block in work if block.job and block.series == failed.series for day in block.job.days]
    days = [day for day in lacking if day >= failed.days[0]]
    if isinstance(error, ProviderUnavailableError):
        message = f"{error}; days of {failed.series} that lack: {spell_days(days)}"
        return ProviderUnavailableError(message, url=error.url, status=error.status, days=days)
    if isinstance(error, OfflineError):
        message = f"the network is switched off (CKVD_OFFLINE); days of {failed.series} that lack: {spell_days(days)}"
        return OfflineError(message, days)
    return error
