"""The failover of a few days: archive, then REST, and what happens when one of them fails or falls short.

It runs on the event loop of one scan and keeps what is complete. Which days to fetch is decided in `fcp`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ckvd_sql.errors import CacheError, ChecksumError, InvalidSymbolError, ProviderError, ProviderUnavailableError
from ckvd_sql.fetch.jobs import DayBars, first_of_job
from ckvd_sql.fetch.persist import Keeper
from ckvd_sql.market.bars import NO_BARS, close_times, open_times, split_days
from ckvd_sql.market.gaps import gaps_of_day
from ckvd_sql.market.periods import DAY, consecutive, day_start
from ckvd_sql.sources.concurrency import together
from ckvd_sql.sources.rest import PAGE, DelistedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from datetime import date

    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.fetch.jobs import Job
    from ckvd_sql.market.gaps import Gap
    from ckvd_sql.market.periods import Month, Period
    from ckvd_sql.market.series import Series
    from ckvd_sql.settings import Settings
    from ckvd_sql.sources.concurrency import Hands
    from ckvd_sql.sources.rest import Rest
    from ckvd_sql.sources.vision import Archive, Vision

log = logging.getLogger("ckvd_sql")

#: A closed day this old that no source has is taken to be empty for good: archives come within days.
_SETTLED = 30 * DAY


class Failover:
    """One scan's way from a job to its days.

    Args:
        settings: Where the sources are, and how hard to try.
        store: Where complete days are kept.
        vision: The archive.
        rest: The exchange.
        hands: Write days.
        now: The scan's clock, in microseconds since the epoch.
        months: The months of the scan, in which to look for signs of a symbol that REST does not know.
    """

    def __init__(
        self,
        settings: Settings,
        store: DayStore,
        vision: Vision,
        rest: Rest,
        hands: Hands,
        now: int,
        months: Iterable[Month],
    ) -> None:
        self._settings = settings
        self._store = store
        self._vision = vision
        self._rest = rest
        self._hands = hands
        self._now = now
        self._months = tuple(months)
        self._listings: dict[Series, int | None] = {}
        self._asking: defaultdict[Series, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._traded: set[Series] = set()
        self._unknown: dict[Series, InvalidSymbolError] = {}
        self._failures: dict[tuple[Series, Period], ProviderError] = {}
        self._rest_down: ProviderUnavailableError | None = None
        self._told_down = False
        self._keeper = Keeper(settings, store, now, self._exchange_now)

    async def fetch(self, job: Job) -> dict[date, DayBars]:
        """Every day of the job, some perhaps without bars.

        Whoever else wants these days, in this process or another, waits meanwhile and finds them in the cache.
        """
        async with self._lock(job):
            got = self._cached(job)
            got |= self._before(job, got, self._store.listed(job.series))
            if job.monthly and not got:
                got |= await self._from_monthly(job)
                got |= await self._before_listing(job, got)
            if not job.series.interval.multi_day:
                got |= await self._from_daily(job, got)
            got |= await self._before_listing(job, got)
            got |= await self._from_rest(job, [day for day in job.days if day not in got])
            return got

    def _lock(self, job: Job) -> AbstractAsyncContextManager[object]:
        if not job.archived:
            return contextlib.nullcontext()
        return self._store.lock(job.series, job.month if job.monthly else first_of_job(job.archived[0]))

    def _cached(self, job: Job) -> dict[date, DayBars]:
        """Days that another caller has fetched meanwhile."""
        got = {}
        for day in () if job.fresh else job.days:
            with contextlib.suppress(FileNotFoundError, CacheError):
                got[day] = DayBars(day, self._store.read(job.series, day), "cache")
        return got

    # The archive.

    async def _from_monthly(self, job: Job) -> dict[date, DayBars]:
        """The days that the month's archive has bars of; the others are left to the next source."""
        archive = await self._archive(job.series, job.month)
        if archive is None:
            return {}
        return await self._of_archives(job.series, [archive])

    async def _from_daily(self, job: Job, got: Mapping[date, DayBars]) -> dict[date, DayBars]:
        """The days that have an archive of their own with bars in it."""
        lacking = [day for day in job.archived if day not in got]
        archives = await together(self._archive(job.series, day) for day in lacking)
        return await self._of_archives(job.series, [archive for archive in archives if archive])

    async def _archive(self, series: Series, period: Period) -> Archive | None:
        """An archive, or None where the next source has to be asked. A failure is not an absence, and is noted."""
        try:
            if self._vision.down:
                raise ProviderUnavailableError("the archive failed too often and is left alone")
            archive = await self._vision.fetch(series, period)
        except ProviderError as error:
            if not self._vision.down:
                log.warning("%s: %s; %s is taken elsewhere", series, error, period)
            elif not self._told_down:
                self._told_down = True
                log.warning("%s: %s; the archive is left alone from here on", series, error)
            self._failures[series, period] = error
            return None
        if archive is not None:
            self._traded.add(series)
        return archive

    async def _of_archives(self, series: Series, archives: list[Archive]) -> dict[date, DayBars]:
        """Days as their archives have them, unless REST shows that one was published torn."""
        if not archives:
            return {}
        kept, gaps = await self._hands.do(self._keeper.keep_full, series, archives)
        held = await together(self._with_gaps(series, day, found, archive) for day, found, archive in gaps)
        return _merged([kept, *held])

    async def _with_gaps(self, series: Series, day: date, gaps: list[Gap], archive: Archive) -> dict[date, DayBars]:
        """A day that lacks bars, held against what REST says of them."""
        bars = archive.days[day]
        said = await self._check_gaps(series, day, bars, gaps)
        if said == "torn":
            log.warning(
                "%s: the archive of %s lacks bars that the exchange has; the day is taken from REST", series, day
            )
            return await self._run(series, day, day, [day])
        if said == "unchecked":
            return {day: DayBars(day, bars, "vision")}
        return await self._hands.do(self._keeper.keep, series, {day: (bars, self._keeper.archive(archive, said))})

    async def _check_gaps(self, series: Series, day: date, bars: pa.RecordBatch, gaps: list[Gap]) -> str:
        """What REST says of the bars that an archived day lacks.

        Returns:
            `confirmed` or `torn`; `unconfirmed` where REST will never tell, for it serves the symbol no longer;
            `unchecked` where it can't tell now, so that the day is served and not kept.
        """
        try:
            asked = await together(self._rest.klines(series, start, end) for start, end in _asked(series, gaps))
        except (InvalidSymbolError, DelistedError):
            return "unconfirmed"
        except ProviderError as error:
            log.warning(
                "%s: %s has gaps that can't be held against REST now, so it is not kept: %s", series, day, error
            )
            return "unchecked"
        here = open_times(bars)
        return "torn" if any(not np.isin(open_times(found), here).all() for found in asked) else "confirmed"

    # What is known of a series.

    async def _before_listing(self, job: Job, got: Mapping[date, DayBars]) -> dict[date, DayBars]:
        """The days before the series' first bar, empty. The exchange is asked once, when a day was missing."""
        if all(day in got for day in job.archived):
            return {}
        return self._before(job, got, await self.first_open(job.series))

    def _before(self, job: Job, got: Mapping[date, DayBars], first_open: int | None) -> dict[date, DayBars]:
        if first_open is None:
            return {}
        lacking = [day for day in job.archived if day not in got]
        closed_at = job.series.interval.closed_at
        return {day: DayBars(day, NO_BARS, "rest") for day in lacking if closed_at(day) <= first_open}

    async def first_open(self, series: Series) -> int | None:
        """The open time of the series' first bar, where it can be learnt. Raises `InvalidSymbolError`."""
        async with self._asking[series]:
            if series in self._unknown:
                raise self._unknown[series]
            if series not in self._listings:
                self._listings[series] = self._store.listed(series) or await self._ask_first_open(series)
        return self._listings[series]

    async def _ask_first_open(self, series: Series) -> int | None:
        try:
            first = await self._rest.first_open(series)
        except InvalidSymbolError as error:
            if not await self._ever_traded(series):
                self._unknown[series] = error
                raise
            return None
        except ProviderUnavailableError as error:
            self._rest_down = error  # for whoever needs REST for more than this
            return None
        except ProviderError:
            return None
        if first is not None:
            self._store.remember_listed(series, first)
        return first

    async def _ever_traded(self, series: Series) -> bool:
        """Whether cache or archive know a symbol that REST does not."""
        if series not in self._traded and not await asyncio.to_thread(self._store.knows, series):
            try:
                published = await together(self._vision.published(series, month) for month in self._months)
            except ProviderError:
                return False
            if not any(published):
                return False
        self._traded.add(series)
        return True

    # The exchange.

    async def _from_rest(self, job: Job, days: list[date]) -> dict[date, DayBars]:
        """Days from the exchange, which has the last word: a closed day that it has no bar of is an empty one."""
        if not days:
            return {}
        if self._rest_down:
            return await self._despite_checksum(job, days, self._rest_down)
        # Long bars may open on days off the grid that is known, so their whole stretch is asked for.
        runs = [(min(days), max(days))] if job.series.interval.multi_day else consecutive(days)
        try:
            found = await together(self._run(job.series, first, last, days) for first, last in runs)
        except ProviderUnavailableError as error:
            return await self._despite_checksum(job, days, error)
        except (InvalidSymbolError, DelistedError) as error:
            if isinstance(error, InvalidSymbolError) and not await self._ever_traded(job.series):
                raise
            doubted = [day for day in days if self._failure(job, day)]
            got = await self._despite_checksum(job, doubted, error) if doubted else {}
            return got | self._without_bars(job.series, [day for day in days if day not in got])
        return _merged(found)

    async def _run(self, series: Series, first: date, last: date, wanted: list[date]) -> dict[date, DayBars]:
        start, end = day_start(first), min(day_start(last) + DAY, self._now)
        by_day = split_days(self._settled(await self._rest.klines(series, start, end)))
        days = sorted(by_day.keys() | {day for day in wanted if first <= day <= last})
        origin = self._keeper.exchange(series)
        return await self._hands.do(
            self._keeper.keep, series, {day: (by_day.get(day, NO_BARS), origin) for day in days}
        )

    def _exchange_now(self) -> int:
        """Now, as far as the exchange agrees: a clock that runs ahead of its own must not close a bar early."""
        if self._settings.now is not None or self._rest.server_now is None:
            return self._now
        return min(self._now, self._rest.server_now)

    def _settled(self, bars: pa.RecordBatch) -> pa.RecordBatch:
        """Without the bars that only a clock ahead of the exchange's takes for closed."""
        now, times = self._exchange_now(), close_times(bars)
        return bars if now == self._now else bars.filter(pa.array((times < now) | (times >= self._now)))

    def _failure(self, job: Job, day: date) -> ProviderError | None:
        """Why the archive could not give a day that it may well have."""
        return self._failures.get((job.series, day)) or self._failures.get((job.series, job.month))

    async def _despite_checksum(
        self, job: Job, days: list[date], error: ProviderError | InvalidSymbolError
    ) -> dict[date, DayBars]:
        """Days that REST can't serve, from archives whose checksum is wrong: only if the user said so.

        Raises the archive's failure where it has one to say, else REST's.
        """
        failures = [self._failure(job, day) for day in days]
        wrong = [failure for failure in failures if isinstance(failure, ChecksumError)]
        if self._settings.checksum != "warn" or len(wrong) < len(days):
            served = not isinstance(error, ProviderUnavailableError)  # REST answered: what lacks is the archive's fault
            first = next(iter(wrong), None) or (next(filter(None, failures), None) if served else None)
            raise (first or error) from (error if first else None)
        got: dict[date, DayBars] = {}
        for day in days:
            period = day if (job.series, day) in self._failures else job.month
            archive = await self._vision.fetch(job.series, period, verify=False)
            bars = archive.days.get(day, NO_BARS) if archive else NO_BARS
            log.warning("%s: %s is used although the checksum of its archive is wrong", job.series, day)
            gaps = "unconfirmed" if gaps_of_day(job.series.interval, day, bars) else ""
            origin = self._keeper.archive(archive, gaps) if archive else self._keeper.exchange(job.series)
            got |= await self._hands.do(self._keeper.keep, job.series, {day: (bars, origin)})
        return got

    def _without_bars(self, series: Series, days: list[date]) -> dict[date, DayBars]:
        """Days of a symbol that the exchange serves no longer. Remembered once no archive will come any more."""
        origin, closed_at = self._keeper.exchange(series), series.interval.closed_at
        settled = {day: (NO_BARS, origin) for day in days if closed_at(day) + _SETTLED <= self._now}
        return {day: DayBars(day, NO_BARS, origin.source) for day in days} | self._keeper.keep(series, settled)


def _merged(parts: Iterable[dict[date, DayBars]]) -> dict[date, DayBars]:
    return {day: bars for part in parts for day, bars in part.items()}


def _asked(series: Series, gaps: list[Gap]) -> list[tuple[int, int]]:
    """The ranges in which to look for bars that an archived day lacks: two requests at most.

    From the first gap to the last one where two pages hold that much, as for every interval from 1m on; else as much
    of the two longest gaps as a page each holds.
    """
    start, end, page = gaps[0].start, gaps[-1].end, (PAGE - 2) * (series.interval.step or 0)
    if end - start <= 2 * page:
        return [(start, end)]
    longest = sorted(gaps, key=lambda gap: -gap.count)[:2]
    return [(gap.start, min(gap.end, gap.start + page)) for gap in longest]
