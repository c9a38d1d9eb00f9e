"""Days from the archive ("Vision"), and what happens to a day that an archive leaves in doubt.

A day with gaps is compared with REST; an irregular day of a month's archive is taken from its own archive. Where the
user allows a wrong checksum, REST is asked for the day, or, where that takes many calls, for a sample of it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from ckvd_sql.errors import ChecksumError, InvalidSymbolError, ProviderError, ProviderUnavailableError
from ckvd_sql.fetch.gap_check import check_gaps
from ckvd_sql.fetch.jobs import DayBars, merge_days
from ckvd_sql.fetch.persist import Doubt
from ckvd_sql.fetch.sample_check import SampleCheck, check_sample, exceeds_a_page
from ckvd_sql.market.bars import open_times
from ckvd_sql.market.gaps import gaps_of_day
from ckvd_sql.market.periods import Month
from ckvd_sql.market.provenance import GapCheck, Source
from ckvd_sql.sources.concurrency import gather_or_cancel
from ckvd_sql.sources.refusals import DelistedError

if TYPE_CHECKING:
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.fetch.context import FetchContext
    from ckvd_sql.fetch.jobs import Job
    from ckvd_sql.fetch.rest_days import RestDays
    from ckvd_sql.market.gaps import Gap
    from ckvd_sql.market.periods import Period
    from ckvd_sql.market.series import Series
    from ckvd_sql.sources.vision import Archive

log = logging.getLogger("ckvd_sql")


class ArchiveDays:
    """Fetches days from archives, for one scan.

    Args:
        context: What the scan shares.
        rest_days: Gives the days that the archive has incomplete.
    """

    def __init__(self, context: FetchContext, rest_days: RestDays) -> None:
        self._context = context
        self._rest_days = rest_days
        self._warned_down = False

    async def of_month(self, series: Series, month: Month) -> dict[date, DayBars]:
        """The days that the month's archive has bars of; the others are left to the next source."""
        archive = await self._archive(series, month)
        return await self._from_archives(series, [archive]) if archive else {}

    async def of_days(self, series: Series, days: list[date]) -> dict[date, DayBars]:
        """The days that have an archive of their own with bars in it."""
        found = await gather_or_cancel(self._archive(series, day) for day in days)
        got = await self._from_archives(series, [archive for archive in found if archive and archive.verified])
        unverified = await gather_or_cancel(
            self._unverified(series, day, archive)
            for day, archive in zip(days, found, strict=True)
            if archive and not archive.verified
        )
        return merge_days([got, *unverified])

    async def despite_checksum(
        self, job: Job, days: list[date], error: ProviderError | InvalidSymbolError
    ) -> dict[date, DayBars]:
        """Days that REST can't serve, from archives whose checksum is wrong: only if the user allows it.

        Raises the archive's failure where there is one to report, else REST's `error`.
        """
        failures = [self._context.failures.of_day(job.series, day) for day in days]
        wrong = [failure for failure in failures if isinstance(failure, ChecksumError)]
        if self._context.settings.checksum != "warn" or len(wrong) < len(days):
            answered = not isinstance(error, ProviderUnavailableError)  # then the archive is to blame
            first = next(iter(wrong), None) or (next(filter(None, failures), None) if answered else None)
            raise (first or error) from (error if first else None)
        archives = {day: self._context.failures.unverified(job.series, day) for day in days}
        if None in archives.values():
            month = await self._context.vision.fetch(job.series, job.month, verify=False)
            archives = {day: archive or month for day, archive in archives.items()}
        got: dict[date, DayBars] = {}
        for day, archive in archives.items():
            if archive is None:
                raise wrong[0] from error
            got |= await self._write_unverified(job.series, day, archive)
        return got

    async def _archive(self, series: Series, period: Period) -> Archive | None:
        """An archive; None where the next source has to be asked. A failure is not an absence, and is remembered.

        One whose checksum is wrong is given only of a day, and only if the user allows it.
        """
        vision = self._context.vision
        allowed = self._context.settings.checksum == "warn" and not isinstance(period, Month)
        try:
            vision.require_up()
            archive = await vision.fetch(series, period, verify=not allowed)
        except ProviderError as error:
            if not vision.down:
                log.warning("%s: %s; trying another source for %s", series, error, period)
            elif not self._warned_down:
                self._warned_down = True
                log.warning("%s: %s; the archive is not asked again in this query", series, error)
            self._context.failures.note(series, period, error)
            if isinstance(error, ProviderUnavailableError):
                self._context.listings.note_archive_failure(series, error)
            else:  # there is a file, whatever is wrong with it
                self._context.listings.note_traded(series)
            return None
        if archive is not None:
            self._context.listings.note_traded(series)
        return archive

    async def _from_archives(self, series: Series, archives: list[Archive]) -> dict[date, DayBars]:
        """Days as their archives have them, unless REST shows that one was published incomplete."""
        if not archives:
            return {}
        full, doubts = await self._context.threads.run(
            self._context.writer.write_complete, series, archives, self._context.agreed_now
        )
        settled = await gather_or_cancel(self._settle(series, doubt) for doubt in doubts)
        return merge_days([full, *settled])

    async def _settle(self, series: Series, doubt: Doubt) -> dict[date, DayBars]:
        """A doubtful day of a month's archive from its own archive, where there is one; else as it is."""
        if isinstance(doubt.archive.period, Month) and not series.interval.multi_day:
            daily = await self._archive(series, doubt.day)
            if daily and not daily.verified:
                return await self._unverified(series, doubt.day, daily) or await self._instead_of_daily(series, doubt)
            if daily and doubt.day in daily.days:
                return await self._compared(series, Doubt.about(series, doubt.day, daily))
            if self._context.failures.of_period(series, doubt.day):
                return await self._instead_of_daily(series, doubt)
        return await self._compared(series, doubt)

    async def _compared(self, series: Series, doubt: Doubt) -> dict[date, DayBars]:
        """A day of an archive that no other archive settles, after comparing it with REST."""
        return await (self._with_conflict(series, doubt) if doubt.conflicting else self._with_gaps(series, doubt))

    async def _with_conflict(self, series: Series, doubt: Doubt) -> dict[date, DayBars]:
        """A day that has different rows for one open time in every archive: from REST, if it has every bar of it once.

        Where REST has different rows too, or never will have the day, the last row of the archive is stored.
        """
        day, archive = doubt.day, doubt.archive
        bars = archive.days[day]
        conflicting: set[date] = set()
        try:
            if got := await self._from_rest(series, doubt, conflicting):
                return got
            decided = day in conflicting
        except (InvalidSymbolError, DelistedError):
            decided = True
        except ProviderError:
            decided = False
        log.warning(
            "%s: %s has different rows for one open time in the archive, and %s; the last row is used%s",
            series,
            day,
            "REST can't decide" if decided else "REST has no whole answer now",
            "" if decided else ", and the day is not stored",
        )
        if not decided:
            return {day: DayBars(day, bars, Source.VISION)}
        provenance = self._context.writer.archive_provenance(archive, _unconfirmed(doubt.gaps), duplicates=True)
        return await self._context.write(series, {day: (bars, provenance)})

    async def _unverified(self, series: Series, day: date, archive: Archive) -> dict[date, DayBars]:
        """A day whose archive has a wrong checksum, which the user allows; empty where REST has to be asked first."""
        bars, rest = archive.days.get(day, series.no_rows), self._context.rest
        if not bars.num_rows or not exceeds_a_page(series):
            log.warning("%s: %s; trying another source for %s", series, archive.mismatch, day)
            self._context.failures.note_unverified(series, archive)
            return {}
        match await check_sample(rest, series, day, bars, archive.sha256):
            case SampleCheck.EQUAL:
                log.warning("%s: %s is used although its checksum is wrong; a sample equals REST", series, archive.url)
                return await self._compared(series, Doubt.about(series, day, archive))
            case SampleCheck.DIFFERENT:
                log.warning("%s: %s, and REST has other bars; the day is taken from REST", series, archive.mismatch)
                self._context.failures.note_unverified(series, archive, keep=False)
                return await self._rest_days.fetch(series, day, day, [day])
            case SampleCheck.UNCHECKED:
                return await self._write_unverified(series, day, archive)

    async def _write_unverified(self, series: Series, day: date, archive: Archive) -> dict[date, DayBars]:
        """A day of an archive whose checksum is wrong, which no other source has."""
        bars = archive.days.get(day, series.no_rows)
        log.warning("%s: %s is used although the checksum of its archive is wrong", series, day)
        gaps, duplicates = gaps_of_day(series.interval, day, bars), day in archive.conflicting
        provenance = self._context.writer.archive_provenance(archive, _unconfirmed(gaps), duplicates=duplicates)
        return await self._context.write(series, {day: (bars, provenance)})

    async def _instead_of_daily(self, series: Series, doubt: Doubt) -> dict[date, DayBars]:
        """A doubtful day of a month's archive whose own archive fails: from REST, else as it is and not stored."""
        day, bars = doubt.day, doubt.archive.days[doubt.day]
        try:
            got = await self._rest_days.fetch(series, day, day, [day])
            if _has_all(got[day].bars, bars):
                return got
            reason = "REST has no whole answer now"
        except (ProviderError, InvalidSymbolError) as error:
            reason = str(error)
        log.warning("%s: %s can't be compared with its daily archive, so it is not stored: %s", series, day, reason)
        return {day: DayBars(day, bars, Source.VISION)}

    async def _with_gaps(self, series: Series, doubt: Doubt) -> dict[date, DayBars]:
        """A day of an archive, after comparing its gaps with REST."""
        day, gaps, archive = doubt.day, doubt.gaps, doubt.archive
        bars = archive.days[day]
        if not gaps:
            return await self._context.write(series, {day: (bars, self._context.writer.archive_provenance(archive))})
        result = await check_gaps(self._context.rest, series, day, bars, gaps)
        if result is GapCheck.TORN:
            log.warning(
                "%s: bars of %s that the exchange has are missing from the archive; the day is taken from REST if that "
                "has all others",
                series,
                day,
            )
            if got := await self._from_rest(series, doubt, set()):
                return got
        if result in (GapCheck.TORN, GapCheck.UNCHECKED):  # REST leaves bars out now, or can't be asked
            return {day: DayBars(day, bars, Source.VISION)}
        provenance = self._context.writer.archive_provenance(archive, result)
        return await self._context.write(series, {day: (bars, provenance)})

    async def _from_rest(self, series: Series, doubt: Doubt, conflicting: set[date]) -> dict[date, DayBars]:
        """A doubtful day from REST, stored, if REST has every bar of it once; else empty. Errors as `RestDays.bars`."""
        day = doubt.day
        answer = await self._rest_days.bars(series, day, conflicting)
        if day in conflicting or not _has_all(answer, doubt.archive.days[day]):
            return {}
        return await self._context.write(series, {day: (answer, self._context.writer.rest_provenance(series))})


def _has_all(bars: pa.RecordBatch, others: pa.RecordBatch) -> bool:
    """Whether some bars have every open time of others."""
    return bool(np.isin(open_times(others), open_times(bars)).all())


def _unconfirmed(gaps: list[Gap]) -> GapCheck | None:
    """What is stored about gaps of which REST will never tell."""
    return GapCheck.UNCONFIRMED if gaps else None
