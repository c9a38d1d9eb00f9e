"""The days of one job: from the cache, from the archive ("Vision", `archive_days`), then from REST (`rest_days`).

Carries out, on the event loop of one scan, what `scan.plan` has decided of days that are missing from the cache.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from ckvd_sql.errors import CacheError, InvalidSymbolError, ProviderError, ProviderUnavailableError
from ckvd_sql.fetch.archive_days import ArchiveDays
from ckvd_sql.fetch.jobs import DayBars, job_start, merge_days
from ckvd_sql.fetch.persist import is_whole
from ckvd_sql.fetch.rest_days import RestDays
from ckvd_sql.market.bars import open_times
from ckvd_sql.market.periods import SECOND, consecutive, day_start
from ckvd_sql.market.provenance import Source
from ckvd_sql.sources.concurrency import gather_or_cancel
from ckvd_sql.sources.refusals import DelistedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager
    from datetime import date

    from ckvd_sql.fetch.context import FetchContext
    from ckvd_sql.fetch.jobs import Job
    from ckvd_sql.market.series import Series

log = logging.getLogger("ckvd_sql")


class Failover:
    """Fetches the jobs of one scan.

    Args:
        context: What the scan shares.
    """

    def __init__(self, context: FetchContext) -> None:
        self._context = context
        self._rest_days = RestDays(self._context)
        self._archive_days = ArchiveDays(self._context, self._rest_days)
        self._said: set[Series] = set()

    async def fetch(self, job: Job) -> dict[date, DayBars]:
        """Every day of the job, some perhaps without bars.

        Other callers that want these days, in this process or another, wait meanwhile and find them in the cache.

        Raises:
            InvalidSymbolError: No source knows the symbol.
            ProviderError: A day can't be had from any source.
        """
        async with self._lock(job):
            got = self._from_cache(job)
            got |= self._before_listing(job, got, self._context.listings.known_first_open(job.series))
            if job.monthly and not got:
                got |= await self._archive_days.of_month(job.series, job.month)
                got |= self._off_grid(job, got)
                got |= await self._unlisted(job, got)
            if not job.series.interval.multi_day:
                missing = [day for day in job.archived if day not in got]
                got |= await self._archive_days.of_days(job.series, missing)
            got |= await self._unlisted(job, got)
            got |= await self._from_last_sources(job, [day for day in job.days if day not in got])
            return got

    async def first_open(self, series: Series) -> int | None:
        """The open time of the series' first bar, as `Listings.first_open`."""
        return await self._context.listings.first_open(series)

    def _lock(self, job: Job) -> AbstractAsyncContextManager[object]:
        if not job.archived:
            return contextlib.nullcontext()
        return self._context.store.fetch_lock(job.series, job.month if job.monthly else job_start(job.archived[0]))

    # What needs no source: days in the cache, and days before the first bar.

    def _from_cache(self, job: Job) -> dict[date, DayBars]:
        """Days that another caller has fetched meanwhile."""
        got = {}
        for day in () if job.fresh else job.days:
            with contextlib.suppress(FileNotFoundError, CacheError):
                source, rows = self._context.store.read(job.series, day)
                got[day] = DayBars(day, rows, source, Source.CACHE)
        return got

    async def _unlisted(self, job: Job, got: Mapping[date, DayBars]) -> dict[date, DayBars]:
        """The missing days before the series' first bar. The exchange is asked once, and only when a day is missing."""
        if all(day in got for day in job.archived):
            return {}
        return self._before_listing(job, got, await self._context.listings.first_open(job.series))

    def _before_listing(self, job: Job, got: Mapping[date, DayBars], first_open: int | None) -> dict[date, DayBars]:
        """The missing days before the series' first bar, empty."""
        if first_open is None:
            return {}
        return _empty_before(job.series, [day for day in job.archived if day not in got], first_open)

    def _off_grid(self, job: Job, got: Mapping[date, DayBars]) -> dict[date, DayBars]:
        """The days on which no bar opens, where the grid was not known before a bar was fetched."""
        fetched = [open_times(day.bars)[0] for day in got.values() if day.bars.num_rows]
        if job.series.interval.grid_known or not fetched:
            return {}
        interval = job.series.interval.with_bar_at(int(fetched[0]))
        days = [day for day in job.days if day not in got and interval.first_close(day) is None]
        return {day: DayBars(day, job.series.no_rows, Source.VISION) for day in days}

    # The last source.

    async def _from_last_sources(self, job: Job, days: list[date]) -> dict[date, DayBars]:
        """Days from REST; what it does not have whole from the month's archive, where that was not asked before."""
        if not self._may_ask_month(job):
            return await self._from_rest(job, days)
        try:
            got = await self._from_rest(job, days)
        except ProviderError:
            month = await self._from_month_alone(job, days)
            if not month:
                raise
            return month | await self._from_rest(job, [day for day in days if day not in month])
        first_open = self._context.listings.known_first_open(job.series)
        short = [day for day, found in got.items() if not is_whole(job.series, day, found.bars, first_open)]
        return got | await self._from_month_alone(job, [day for day in short if day in job.archived])

    def _may_ask_month(self, job: Job) -> bool:
        """Whether the month has an archive that the job has not asked; that of 1s bars is too large."""
        interval, month_end = job.series.interval, day_start(job.month.next.first)
        return not (job.monthly or interval.multi_day or interval.step == SECOND or month_end > self._context.now)

    async def _from_month_alone(self, job: Job, days: list[date]) -> dict[date, DayBars]:
        """Days without an archive of their own, from that of their month."""
        days = [day for day in days if not self._context.failures.of_day(job.series, day)]
        found = await self._archive_days.of_month(job.series, job.month) if days else {}
        return {day: found[day] for day in days if day in found}

    async def _from_rest(self, job: Job, days: list[date]) -> dict[date, DayBars]:
        """Days from the exchange, the last source: a closed day of which it has no bar is an empty one."""
        if not days:
            return {}
        if self._context.listings.rest_failure:
            return await self._without_rest(job, days, self._context.listings.rest_failure)
        # Bars longer than a day may open on days off the known grid, so their whole month is requested.
        # Of the other bars in it, those are taken that no source has given.
        runs, known = consecutive(days), set(job.days)
        if job.series.interval.multi_day:
            runs, known = [(job.month.first, job.month.last)], known | self._context.store.days(job.series)
        try:
            found = await gather_or_cancel(
                self._rest_days.fetch(job.series, first, last, days, known=known) for first, last in runs
            )
        except ProviderUnavailableError as error:
            return await self._without_rest(job, days, error)
        except (InvalidSymbolError, DelistedError) as error:
            if isinstance(error, InvalidSymbolError):
                await self._context.listings.require_traded(job.series, error)
            failed = [day for day in days if self._context.failures.of_day(job.series, day)]
            got = await self._archive_days.despite_checksum(job, failed, error) if failed else {}
            return got | self._rest_days.without_bars(job.series, [day for day in days if day not in got])
        return merge_days(found)

    async def _without_rest(self, job: Job, days: list[date], error: ProviderUnavailableError) -> dict[date, DayBars]:
        """Days that REST can't be asked for: those before the series' first archive have no bars."""
        series, listings = job.series, self._context.listings
        failed = self._context.failures.of_day
        absent = [day for day in days if day in job.archived and not failed(series, day)]
        got: dict[date, DayBars] = {}
        if absent and listings.known_first_open(series) is None:
            first = await listings.first_archived(series)
            if first:
                got = _empty_before(series, absent, day_start(first))
            elif listings.archive_has_nothing(series):
                message = f"{error}; the archive has nothing of {series} either"
                error = ProviderUnavailableError(message, url=error.url, status=error.status)
            if got and series not in self._said:
                self._said.add(series)
                log.warning(
                    "%s: REST can't be asked, and the archive begins on %s; the days before have no bars, as far as is "
                    "known, and are not stored (%s)",
                    series,
                    first,
                    error,
                )
        left = [day for day in days if day not in got]
        return got | await self._archive_days.despite_checksum(job, left, error) if left else got


def _empty_before(series: Series, days: list[date], first_open: int) -> dict[date, DayBars]:
    """Those of the days that are over when the series' first bar opens, empty."""
    closed_at = series.interval.closed_at
    return {day: DayBars(day, series.no_rows, Source.REST) for day in days if closed_at(day) <= first_open}
