"""The days of one job, from the archive ("Vision"), then from REST, and what happens when one of them falls short.

Carries out, on the event loop of one scan, what `scan.plan` has decided of days that are missing from the cache.
Complete days are stored.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import pyarrow as pa

from ckvd_sql.errors import CacheError, ChecksumError, InvalidSymbolError, ProviderError, ProviderUnavailableError
from ckvd_sql.fetch.gap_check import check_gaps
from ckvd_sql.fetch.jobs import DayBars, job_start
from ckvd_sql.fetch.listings import Listings
from ckvd_sql.fetch.persist import FINAL_AFTER, DayWriter, Doubt, is_trusted, is_whole
from ckvd_sql.market.bars import close_times, open_times, split_days
from ckvd_sql.market.gaps import gaps_of_day
from ckvd_sql.market.periods import DAY, Month, consecutive, day_start
from ckvd_sql.market.provenance import GapCheck, Source
from ckvd_sql.sources.concurrency import gather_or_cancel
from ckvd_sql.sources.refusals import DelistedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from datetime import date

    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.fetch.jobs import Job
    from ckvd_sql.market.periods import Period
    from ckvd_sql.market.provenance import Provenance
    from ckvd_sql.market.series import Series
    from ckvd_sql.settings import Settings
    from ckvd_sql.sources.concurrency import WorkerThreads
    from ckvd_sql.sources.rest import RestClient
    from ckvd_sql.sources.vision import Archive, VisionClient

log = logging.getLogger("ckvd_sql")


class Failover:
    """Fetches the jobs of one scan.

    Args:
        settings: The checksum policy, and the sources' URLs.
        store: Where complete days are stored.
        vision: The archive.
        rest: The exchange.
        threads: Validate and write days.
        now: The scan's clock, in microseconds since the epoch.
        months: The months of the scan.
    """

    def __init__(
        self,
        settings: Settings,
        store: DayStore,
        vision: VisionClient,
        rest: RestClient,
        threads: WorkerThreads,
        now: int,
        months: Iterable[Month],
    ) -> None:
        self._settings = settings
        self._store = store
        self._vision = vision
        self._rest = rest
        self._threads = threads
        self._now = now
        self._listings = Listings(store, vision, rest, months)
        self._writer = DayWriter(settings, store, now)
        self._failures: dict[tuple[Series, Period], ProviderError] = {}
        self._warned_down = False
        self._warned_short = False

    async def fetch(self, job: Job) -> dict[date, DayBars]:
        """Every day of the job, some perhaps without bars.

        Other callers that want these days, in this process or another, wait meanwhile and find them in the cache.

        Raises:
            InvalidSymbolError: No source knows the symbol.
            ProviderError: A day can't be had from any source.
        """
        async with self._lock(job):
            got = self._from_cache(job)
            got |= self._before_listing(job, got, self._listings.known_first_open(job.series))
            if job.monthly and not got:
                got |= await self._from_monthly(job)
                got |= self._off_grid(job, got)
                got |= await self._unlisted(job, got)
            if not job.series.interval.multi_day:
                got |= await self._from_daily(job, got)
            got |= await self._unlisted(job, got)
            got |= await self._from_rest(job, [day for day in job.days if day not in got])
            return got

    async def first_open(self, series: Series) -> int | None:
        """The open time of the series' first bar, as `Listings.first_open`."""
        return await self._listings.first_open(series)

    def _lock(self, job: Job) -> AbstractAsyncContextManager[object]:
        if not job.archived:
            return contextlib.nullcontext()
        return self._store.fetch_lock(job.series, job.month if job.monthly else job_start(job.archived[0]))

    # 1. What needs no source: days in the cache, and days before the first bar.

    def _from_cache(self, job: Job) -> dict[date, DayBars]:
        """Days that another caller has fetched meanwhile."""
        got = {}
        for day in () if job.fresh else job.days:
            with contextlib.suppress(FileNotFoundError, CacheError):
                source, rows = self._store.read(job.series, day)
                got[day] = DayBars(day, rows, source, cached=True)
        return got

    async def _unlisted(self, job: Job, got: Mapping[date, DayBars]) -> dict[date, DayBars]:
        """The missing days before the series' first bar. The exchange is asked once, and only when a day is missing."""
        if all(day in got for day in job.archived):
            return {}
        return self._before_listing(job, got, await self._listings.first_open(job.series))

    def _before_listing(self, job: Job, got: Mapping[date, DayBars], first_open: int | None) -> dict[date, DayBars]:
        """The missing days before the series' first bar, empty."""
        if first_open is None:
            return {}
        missing = [day for day in job.archived if day not in got]
        closed_at = job.series.interval.closed_at
        return {day: DayBars(day, job.series.no_rows, Source.REST) for day in missing if closed_at(day) <= first_open}

    def _off_grid(self, job: Job, got: Mapping[date, DayBars]) -> dict[date, DayBars]:
        """The days on which no bar opens, where the grid was not known before a bar was fetched."""
        fetched = [open_times(day.bars)[0] for day in got.values() if day.bars.num_rows]
        if job.series.interval.grid_known or not fetched:
            return {}
        interval = job.series.interval.with_bar_at(int(fetched[0]))
        days = [day for day in job.days if day not in got and interval.first_close(day) is None]
        return {day: DayBars(day, job.series.no_rows, Source.VISION) for day in days}

    # 2. The archive.

    async def _from_monthly(self, job: Job) -> dict[date, DayBars]:
        """The days that the month's archive has bars of; the others are left to the next source."""
        archive = await self._archive(job.series, job.month)
        if archive is None:
            return {}
        return await self._from_archives(job.series, [archive])

    async def _from_daily(self, job: Job, got: Mapping[date, DayBars]) -> dict[date, DayBars]:
        """The days that have an archive of their own with bars in it."""
        missing = [day for day in job.archived if day not in got]
        archives = await gather_or_cancel(self._archive(job.series, day) for day in missing)
        return await self._from_archives(job.series, [archive for archive in archives if archive])

    async def _archive(self, series: Series, period: Period) -> Archive | None:
        """An archive; None where the next source has to be asked. A failure is not an absence, and is remembered."""
        try:
            archive = await self._vision.fetch(series, period)
        except ProviderError as error:
            if not self._vision.down:
                log.warning("%s: %s; trying another source for %s", series, error, period)
            elif not self._warned_down:
                self._warned_down = True
                log.warning("%s: %s; the archive is not asked again in this query", series, error)
            self._failures[series, period] = error
            if isinstance(error, ProviderUnavailableError):
                self._listings.note_archive_failure(series, error)
            else:  # there is a file, whatever is wrong with it
                self._listings.note_traded(series)
            return None
        if archive is not None:
            self._listings.note_traded(series)
        return archive

    async def _from_archives(self, series: Series, archives: list[Archive]) -> dict[date, DayBars]:
        """Days as their archives have them, unless REST shows that one was published incomplete."""
        if not archives:
            return {}
        full, doubts = await self._threads.run(self._writer.write_complete, series, archives, self._agreed_now())
        settled = await gather_or_cancel(self._settle(series, doubt) for doubt in doubts)
        return _merge([full, *settled])

    async def _settle(self, series: Series, doubt: Doubt) -> dict[date, DayBars]:
        """A doubtful day of a month's archive from its own archive, where there is one; else as it is."""
        if isinstance(doubt.archive.period, Month) and not series.interval.multi_day:
            daily = await self._archive(series, doubt.day)
            if daily and doubt.day in daily.days:
                gaps = gaps_of_day(series.interval, doubt.day, daily.days[doubt.day])
                return await self._with_gaps(series, Doubt(doubt.day, gaps, daily))
            if (series, doubt.day) in self._failures:
                return await self._instead_of_daily(series, doubt)
        return await self._with_gaps(series, doubt)

    async def _instead_of_daily(self, series: Series, doubt: Doubt) -> dict[date, DayBars]:
        """A doubtful day of a month's archive whose own archive fails: from REST, else as it is and not stored."""
        try:
            return await self._rest_run(series, doubt.day, doubt.day, [doubt.day])
        except (ProviderError, InvalidSymbolError) as error:
            log.warning(
                "%s: %s can't be compared with its daily archive, so it is not stored: %s", series, doubt.day, error
            )
            return {doubt.day: DayBars(doubt.day, doubt.archive.days[doubt.day], Source.VISION)}

    async def _with_gaps(self, series: Series, doubt: Doubt) -> dict[date, DayBars]:
        """A day of an archive, after comparing its gaps with REST."""
        day, gaps, archive = doubt.day, doubt.gaps, doubt.archive
        bars = archive.days[day]
        if not gaps:
            return await self._write(series, {day: (bars, self._writer.archive_provenance(archive))})
        result = await check_gaps(self._rest, series, day, bars, gaps)
        if result is GapCheck.TORN:
            log.warning(
                "%s: bars of %s that the exchange has are missing from the archive; the day is taken from REST",
                series,
                day,
            )
            return await self._rest_run(series, day, day, [day], compared=True)
        if result is GapCheck.UNCHECKED:
            return {day: DayBars(day, bars, Source.VISION)}
        return await self._write(series, {day: (bars, self._writer.archive_provenance(archive, result))})

    # 3. REST.

    async def _from_rest(self, job: Job, days: list[date]) -> dict[date, DayBars]:
        """Days from the exchange, the last source: a closed day of which it has no bar is an empty one."""
        if not days:
            return {}
        if self._listings.rest_failure:
            return await self._despite_checksum(job, days, self._listings.rest_failure)
        # Bars longer than a day may open on days off the known grid, so their whole month is requested.
        # Of the other bars in it, those are taken that no source has given.
        runs, known = consecutive(days), set(job.days)
        if job.series.interval.multi_day:
            runs, known = [(job.month.first, job.month.last)], known | self._store.days(job.series)
        try:
            found = await gather_or_cancel(
                self._rest_run(job.series, first, last, days, known=known) for first, last in runs
            )
        except ProviderUnavailableError as error:
            return await self._despite_checksum(job, days, error)
        except (InvalidSymbolError, DelistedError) as error:
            if isinstance(error, InvalidSymbolError):
                await self._listings.require_traded(job.series, error)
            failed = [day for day in days if self._failure(job, day)]
            got = await self._despite_checksum(job, failed, error) if failed else {}
            return got | self._without_bars(job.series, [day for day in days if day not in got])
        return _merge(found)

    async def _rest_run(
        self,
        series: Series,
        first: date,
        last: date,
        wanted: list[date],
        *,
        known: Collection[date] = (),
        compared: bool = False,
    ) -> dict[date, DayBars]:
        """The wanted days from `first` to `last`, both included, and others with bars that are not known already.

        A day whose bars were not `compared` with its archive is stored only if it can be trusted as it is.
        """
        start, end = day_start(first), min(day_start(last) + DAY, self._now)
        by_day = split_days(self._settled(await self._rest.klines(series, start, end)))
        days = sorted((by_day.keys() - set(known)) | {day for day in wanted if first <= day <= last})
        provenance = self._writer.rest_provenance(series)
        fetched = {day: by_day.get(day, series.no_rows) for day in days}
        storable = {
            day: (bars, provenance) for day, bars in fetched.items() if compared or self._is_trusted(series, day, bars)
        }
        served = {day: DayBars(day, bars, Source.REST) for day, bars in fetched.items()}
        return served | await self._write(series, storable)

    def _is_trusted(self, series: Series, day: date, bars: pa.RecordBatch) -> bool:
        """Whether a day that was fetched from REST alone may be stored. One that is short is warned of once."""
        age = self._agreed_now() - series.interval.closed_at(day)
        first_open = self._listings.known_first_open(series)
        failed = (series, day) in self._failures or (series, Month.of(day)) in self._failures
        trusted = is_trusted(series, day, bars, age, first_open)
        if trusted and failed:
            trusted = is_whole(series, day, bars, first_open)
        if not trusted and age >= 0 and not self._warned_short and not is_whole(series, day, bars, first_open):
            self._warned_short = True
            log.warning(
                "%s: bars of %s are missing from REST's answer, and no archive confirms that; such days are not stored",
                series,
                day,
            )
        return trusted

    def _settled(self, bars: pa.RecordBatch) -> pa.RecordBatch:
        """Without the bars that are closed by this machine's clock and not by the exchange's."""
        agreed_now, times = self._agreed_now(), close_times(bars)
        if agreed_now == self._now:
            return bars
        return bars.filter(pa.array((times < agreed_now) | (times >= self._now)))

    def _agreed_now(self) -> int:
        return self._rest.agreed_now(self._now)

    def _failure(self, job: Job, day: date) -> ProviderError | None:
        """Why the archive could not give a day that it may well have."""
        return self._failures.get((job.series, day)) or self._failures.get((job.series, job.month))

    async def _despite_checksum(
        self, job: Job, days: list[date], error: ProviderError | InvalidSymbolError
    ) -> dict[date, DayBars]:
        """Days that REST can't serve, from archives whose checksum is wrong: only if the user allows it.

        Raises the archive's failure where there is one to report, else REST's `error`.
        """
        failures = [self._failure(job, day) for day in days]
        wrong = [failure for failure in failures if isinstance(failure, ChecksumError)]
        if self._settings.checksum != "warn" or len(wrong) < len(days):
            answered = not isinstance(error, ProviderUnavailableError)  # then the archive is to blame
            first = next(iter(wrong), None) or (next(filter(None, failures), None) if answered else None)
            raise (first or error) from (error if first else None)
        got: dict[date, DayBars] = {}
        for day in days:
            period = day if (job.series, day) in self._failures else job.month
            archive = await self._vision.fetch(job.series, period, verify=False)
            bars = archive.days.get(day, job.series.no_rows) if archive else job.series.no_rows
            log.warning("%s: %s is used although the checksum of its archive is wrong", job.series, day)
            gaps = GapCheck.UNCONFIRMED if gaps_of_day(job.series.interval, day, bars) else None
            provenance = (
                self._writer.archive_provenance(archive, gaps) if archive else self._writer.rest_provenance(job.series)
            )
            got |= await self._write(job.series, {day: (bars, provenance)})
        return got

    def _without_bars(self, series: Series, days: list[date]) -> dict[date, DayBars]:
        """Days of a symbol that the exchange no longer serves; stored as empty once no archive will be published."""
        provenance, closed_at = self._writer.rest_provenance(series), series.interval.closed_at
        final = {day: (series.no_rows, provenance) for day in days if closed_at(day) + FINAL_AFTER <= self._now}
        served = {day: DayBars(day, series.no_rows, Source.REST) for day in days}
        return served | self._writer.write(series, final, self._agreed_now())

    async def _write(self, series: Series, days: dict[date, tuple[pa.RecordBatch, Provenance]]) -> dict[date, DayBars]:
        return await self._threads.run(self._writer.write, series, days, self._agreed_now())


def _merge(parts: Iterable[dict[date, DayBars]]) -> dict[date, DayBars]:
    return {day: bars for part in parts for day, bars in part.items()}
