"""When the archive has a series, found by asking for checksums of about a hundred bytes: no host lists its files.

The answers are remembered in the process (`learnt`). It asks the archive alone, and decides nothing about days.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from ckvd_sql.fetch.learnt import learnt_from
from ckvd_sql.market.periods import Month, day_of, days_between
from ckvd_sql.market.series import INTERVALS, Market, Series
from ckvd_sql.sources.concurrency import gather_or_cancel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from ckvd_sql.market.periods import Period
    from ckvd_sql.settings import Settings
    from ckvd_sql.sources.vision import VisionClient

P = TypeVar("P", bound="Period")

#: The first month in which a market had a symbol.
_OPENED = {Market.SPOT: Month(2017, 7), Market.UM: Month(2019, 9), Market.CM: Month(2020, 8)}

#: The archive of um begins in this month, later than its first contracts.
_UM_ARCHIVED = Month(2020, 1)

_HALF_YEARS = (1, 7)


class ArchiveSearch:
    """Finds the months and days of series in the archive, for one scan.

    A search ends with its first hit, and asks for at most every month since the market opened, which are some 110 on
    spot, as many at once as a scan may have requests.

    Args:
        settings: The archive, and the scan's limit of requests.
        vision: The archive.
    """

    def __init__(self, settings: Settings, vision: VisionClient) -> None:
        self._settings = settings
        self._vision = vision
        self._learnt = learnt_from(settings)
        self._searching: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def found_nothing(self, series: Series) -> bool:
        """Whether a search found nothing of the series, some minutes ago at most."""
        return self._learnt.is_absent(series)

    async def last_month(self, series: Series) -> Month | None:
        """The last month of which the archive has the series; None where it has none.

        Most symbols trade for longer than half a year, so every January and July is asked for before other months.

        Raises:
            ProviderError: The archive can't be asked.
        """
        async with self._searching[series.key]:
            known = self._learnt.last_months
            if series.key not in known and not self._learnt.is_absent(series):
                newest_first = self._months(series)[::-1]
                half_years = [month for month in newest_first if month.month in _HALF_YEARS]
                others = [month for month in newest_first if month.month not in _HALF_YEARS]
                found = await self._first_of(series, half_years)
                after = [month for month in others if found and found < month][-5:]
                found = await self._first_of(series, after if found else others) or found
                if found:
                    known[series.key] = found
                else:
                    self._learnt.note_absent(series)
            return known.get(series.key)

    async def first_day(self, series: Series) -> date | None:
        """The first day of which the archive has bars of the series; None where it can't tell.

        It can't where it has nothing of the series, where it seems to have a hole before that day, and where it may
        itself begin later than the series: on um, and in a folder of this machine, whose older files may not have been
        copied.

        Raises:
            ProviderError: The archive can't be asked.
        """
        async with self._searching[series.key]:
            known = self._learnt.first_days
            if series.key not in known and not self._learnt.is_absent(series):
                recent = self._recent_days(series)
                if month := await self._first_of(series, self._months(series)):
                    known[series.key] = await self._first_day_in(series, month)
                elif day := await self._first_of(series, recent):
                    begun_before = self._vision.is_folder or day == recent[0]
                    known[series.key] = None if begun_before else day
                else:
                    self._learnt.note_absent(series)
            return known.get(series.key)

    async def _first_day_in(self, series: Series, month: Month) -> date | None:
        """The first day in the first month that has an archive, from that month's 1d bars."""
        if self._vision.is_folder or (series.market is Market.UM and month <= _UM_ARCHIVED):
            return None
        day_before = month.first - timedelta(days=1)
        if not series.interval.multi_day and await self._vision.published_checksum(series, day_before):
            return None
        daily = await self._vision.fetch(Series(series.market, series.symbol, INTERVALS["1d"]), month)
        return min(daily.days, default=None) if daily else month.first

    def _recent_days(self, series: Series) -> list[date]:
        """The days that may have an archive while no month has one yet: from the last month on, until yesterday."""
        if series.interval.multi_day:
            return []
        yesterday = day_of(self._settings.clock()) - timedelta(days=1)
        this_month = day_of(self._settings.clock()).replace(day=1)
        return list(days_between((this_month - timedelta(days=1)).replace(day=1), yesterday))

    def _months(self, series: Series) -> list[Month]:
        """The months that may have an archive, in order."""
        this_month = Month.of(day_of(self._settings.clock()))
        months, month = [], _OPENED[series.market]
        while month < this_month:
            months.append(month)
            month = month.next
        return months

    async def _first_of(self, series: Series, periods: Sequence[P]) -> P | None:
        """The first of some periods, in their order, that has an archive."""
        at_once = self._settings.concurrency
        for start in range(0, len(periods), at_once):
            some = periods[start : start + at_once]
            checksums = await gather_or_cancel(self._vision.published_checksum(series, period) for period in some)
            for period, checksum in zip(some, checksums, strict=True):
                if checksum:
                    return period
        return None
