"""Fetching what the cache lacks: archive, then REST, for a handful of days at a time.

A `Fetcher` is one scan's network: an event loop in a thread of its own, the two clients on it, and nothing that
outlives the scan. Which days to fetch is decided in `fcp`; here is what happens when a source fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from anyio.from_thread import start_blocking_portal

from ckvd_sql.aio import together
from ckvd_sql.bars import NO_BARS, closed, split
from ckvd_sql.cache import Provenance
from ckvd_sql.errors import CacheError, InvalidSymbolError, OfflineError, ProviderError
from ckvd_sql.market import DAY, consecutive, day_start
from ckvd_sql.rest import DelistedError, Rest
from ckvd_sql.vision import Vision

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from datetime import date

    import pyarrow as pa
    from anyio.from_thread import BlockingPortal

    from ckvd_sql.cache import DayStore
    from ckvd_sql.market import Market, Month, Period, Series
    from ckvd_sql.rest import Symbol
    from ckvd_sql.settings import Settings
    from ckvd_sql.vision import Archive

log = logging.getLogger("ckvd_sql")

#: Days without a monthly archive are fetched in jobs of this many, aligned in their month: callers with different
#: ranges then still wait for each other instead of fetching a day twice.
DAYS_A_JOB = 4

#: A closed day this old that no source has is taken to be empty for good: archives come within days.
_SETTLED = 30 * DAY


@dataclass(frozen=True, slots=True)
class DayBars:
    """A day's bars, whole, and how this scan got them: `cache`, `vision` or `rest`."""

    day: date
    bars: pa.RecordBatch
    source: str


@dataclass(frozen=True, slots=True)
class Job:
    """Days of one month of a series that are to be fetched together.

    Attributes:
        series: The series.
        month: The month that holds the days.
        archived: Closed days: archive first, then REST.
        live: Days that are not over, or whose month is not: REST alone.
        monthly: Whether to try the month's archive before those of its days.
    """

    series: Series
    month: Month
    archived: tuple[date, ...] = ()
    live: tuple[date, ...] = ()
    monthly: bool = False

    @property
    def days(self) -> tuple[date, ...]:
        """All days of the job."""
        return self.archived + self.live

    @property
    def requests(self) -> int:
        """About how many requests the job begins with."""
        return 1 if self.monthly or not self.archived else len(self.archived)


class Fetcher:
    """One scan's network. Use it as a context manager; it starts nothing before the first job.

    Args:
        settings: Where the sources are, and how hard to try.
        store: Where fetched days are kept.
        now: The scan's clock, in microseconds since the epoch.
        months: The months of the scan, in which to look for signs of a symbol that REST does not know.
    """

    def __init__(self, settings: Settings, store: DayStore, now: int, months: Iterable[Month]) -> None:
        self._settings = settings
        self._store = store
        self._now = now
        self._months = tuple(months)
        self._stack = contextlib.ExitStack()
        self._portal: BlockingPortal | None = None
        self._jobs: list[Future[dict[date, DayBars]]] = []
        self._listings: dict[Series, int | None] = {}
        self._asking: defaultdict[Series, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._traded: set[Series] = set()
        self._told_unkept = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for job in self._jobs:
            job.cancel()
        self._stack.close()

    def start(self, job: Job) -> Future[dict[date, DayBars]]:
        """Begin a job; its result has every day of the job, some perhaps without bars.

        With the network switched off the result is an `OfflineError`.
        """
        if self._settings.offline:
            refused: Future[dict[date, DayBars]] = Future()
            refused.set_exception(OfflineError("the network is switched off", job.days))
            return refused
        future = self._network().start_task_soon(self._fetch, job)
        self._jobs = [known for known in self._jobs if not known.done()] + [future]
        return future

    def symbols(self, market: Market) -> list[Symbol]:
        """The symbols of a market, from the exchange."""
        if self._settings.offline:
            raise OfflineError("the exchange's symbols can't be asked for: the network is switched off (CKVD_OFFLINE)")
        portal = self._network()
        found: list[Symbol] = portal.call(self._rest.symbols, market)
        return found

    def _network(self) -> BlockingPortal:
        if self._portal is None:
            self._portal = self._stack.enter_context(start_blocking_portal(name="ckvd-fetch"))
            self._stack.enter_context(self._portal.wrap_async_context_manager(self._clients()))
        return self._portal

    @contextlib.asynccontextmanager
    async def _clients(self) -> AsyncIterator[None]:
        slots = asyncio.Semaphore(self._settings.concurrency)
        async with Vision(self._settings, slots) as self._vision, Rest(self._settings, slots) as self._rest:
            yield

    async def _fetch(self, job: Job) -> dict[date, DayBars]:
        """The failover of one job. Whoever else wants these days waits, and finds them in the cache."""
        async with self._lock(job):
            got = self._cached(job)
            if job.monthly and not got:
                got |= await self._from_monthly(job)
                got |= await self._before_listing(job, got)
            if not job.series.interval.coarse:
                got |= await self._from_daily(job, got)
            got |= await self._before_listing(job, got)
            got |= await self._from_rest(job, [day for day in job.days if day not in got])
            return got

    def _lock(self, job: Job) -> AbstractAsyncContextManager[object]:
        if not job.archived:
            return contextlib.nullcontext()
        first = job.archived[0]
        aligned = first.replace(day=(first.day - 1) // DAYS_A_JOB * DAYS_A_JOB + 1)
        return self._store.lock(job.series, job.month if job.monthly else aligned)

    def _cached(self, job: Job) -> dict[date, DayBars]:
        """Days that another caller has fetched meanwhile."""
        got = {}
        for day in job.days:
            with contextlib.suppress(FileNotFoundError, CacheError):
                got[day] = DayBars(day, self._store.read(job.series, day), "cache")
        return got

    async def _from_monthly(self, job: Job) -> dict[date, DayBars]:
        """The days that the month's archive has bars of; the others are left to the next source."""
        archive = await self._archive(job.series, job.month)
        if archive is None:
            return {}
        return await asyncio.to_thread(
            lambda: {day: self._keep(job.series, day, bars, archive) for day, bars in archive.days.items()}
        )

    async def _from_daily(self, job: Job, got: Mapping[date, DayBars]) -> dict[date, DayBars]:
        """The days that have an archive of their own with bars in it."""

        async def one(day: date) -> DayBars | None:
            archive = await self._archive(job.series, day)
            if archive is None or day not in archive.days:
                return None
            return await asyncio.to_thread(self._keep, job.series, day, archive.days[day], archive)

        found = await together(one(day) for day in job.archived if day not in got)
        return {bars.day: bars for bars in found if bars is not None}

    async def _archive(self, series: Series, period: Period) -> Archive | None:
        """An archive, or None where the next source has to be asked."""
        try:
            archive = await self._vision.fetch(series, period)
        except ProviderError as error:
            log.warning("%s; going on with the next source for %s %s", error, series, period)
            return None
        if archive is not None:
            self._traded.add(series)
        return archive

    async def _before_listing(self, job: Job, got: Mapping[date, DayBars]) -> dict[date, DayBars]:
        """The days before the series' first bar, empty. The exchange is asked once, when a day was missing."""
        lacking = [day for day in job.archived if day not in got]
        first = await self._first_open(job.series) if lacking else None
        if first is None:
            return {}
        closed_at = job.series.interval.closed_at
        return {day: DayBars(day, NO_BARS, "rest") for day in lacking if closed_at(day) <= first}

    async def _first_open(self, series: Series) -> int | None:
        """The open time of the series' first bar, where it can be learnt."""
        async with self._asking[series]:
            if series not in self._listings:
                self._listings[series] = self._store.listed(series) or await self._ask_first_open(series)
        return self._listings[series]

    async def _ask_first_open(self, series: Series) -> int | None:
        try:
            first = await self._rest.first_open(series)
        except InvalidSymbolError:
            if not await self._ever_traded(series):
                raise
            return None
        except ProviderError:
            return None  # whoever needs REST for more than this will say why it can't be had
        if first is not None:
            self._store.remember_listed(series, first)
        return first

    async def _ever_traded(self, series: Series) -> bool:
        """Whether cache or archive know a symbol that REST does not."""
        if series not in self._traded and not await asyncio.to_thread(self._store.knows, series):
            published = await together(self._vision.has_month(series, month) for month in self._months)
            if not any(published):
                return False
        self._traded.add(series)
        return True

    async def _from_rest(self, job: Job, days: list[date]) -> dict[date, DayBars]:
        """Days from the exchange, which has the last word: a closed day that it has no bar of is an empty one."""
        if not days:
            return {}
        # Long bars may open on days off the grid that is known, so their whole stretch is asked for.
        runs = [(min(days), max(days))] if job.series.interval.coarse else consecutive(days)
        try:
            found = await together(self._run(job.series, first, last, days) for first, last in runs)
        except (InvalidSymbolError, DelistedError) as error:
            if isinstance(error, InvalidSymbolError) and not await self._ever_traded(job.series):
                raise
            return {day: self._without_bars(job.series, day) for day in days}
        return {day: bars for part in found for day, bars in part.items()}

    async def _run(self, series: Series, first: date, last: date, wanted: list[date]) -> dict[date, DayBars]:
        start, end = day_start(first), min(day_start(last) + DAY, self._now)
        by_day = split(await self._rest.klines(series, start, end))
        days = by_day.keys() | {day for day in wanted if first <= day <= last}
        return await asyncio.to_thread(
            lambda: {day: self._keep(series, day, by_day.get(day, NO_BARS), None) for day in days}
        )

    def _without_bars(self, series: Series, day: date) -> DayBars:
        """A day of a symbol that the exchange serves no longer. Remembered once no archive will come any more."""
        if series.interval.closed_at(day) + _SETTLED <= self._now:
            return self._keep(series, day, NO_BARS, None)
        return DayBars(day, NO_BARS, "rest")

    def _keep(self, series: Series, day: date, bars: pa.RecordBatch, archive: Archive | None) -> DayBars:
        """A day that was fetched, kept on disk if it is complete; its memory is then the file's."""
        source = "rest" if archive is None else "vision"
        complete = series.interval.closed_at(day) <= self._now and closed(bars, self._now).num_rows == bars.num_rows
        if complete:
            url, sha256 = (
                (self._settings.rest_url(series.market), "") if archive is None else (archive.url, archive.sha256)
            )
            try:
                self._store.write(series, day, bars, Provenance(source, url, sha256, self._settings.clock()))
                bars = self._store.read(series, day)
            except OSError as error:
                if not self._told_unkept:
                    self._told_unkept = True
                    log.warning("the cache can't be written, so bars are served but not kept: %s", error)
        return DayBars(day, bars, source)
