"""Days from REST, the last source of the failover, and which of them can be trusted enough to be stored."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pyarrow as pa

from ckvd_sql.fetch.jobs import DayBars
from ckvd_sql.fetch.persist import FINAL_AFTER, is_trusted, is_whole
from ckvd_sql.fetch.today import is_current, today_of
from ckvd_sql.market.bars import close_times, concat_batches, open_times, split_days
from ckvd_sql.market.periods import DAY, day_start
from ckvd_sql.market.provenance import Source

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

    from ckvd_sql.fetch.context import FetchContext
    from ckvd_sql.market.series import Series

log = logging.getLogger("ckvd_sql")


class RestDays:
    """Fetches days from the exchange, for one scan.

    Args:
        context: What the scan shares.
    """

    def __init__(self, context: FetchContext) -> None:
        self._context = context
        self._warned_short = False

    async def fetch(
        self,
        series: Series,
        first: date,
        last: date,
        wanted: list[date],
        *,
        known: Collection[date] = (),
    ) -> dict[date, DayBars]:
        """The wanted days from `first` to `last`, both included, and others with bars that are not known already.

        A day is stored only if it can be trusted as it is.
        """
        start, end = day_start(first), min(day_start(last) + DAY, self._context.now)
        conflicting: set[date] = set()
        if first == last and end < day_start(last) + DAY and not series.interval.multi_day:
            bars = await self._so_far(series, first, conflicting)
        else:
            bars = await self._context.rest.klines(series, start, end, conflicting)
        by_day = split_days(self._settled(bars))
        days = sorted((by_day.keys() - set(known)) | {day for day in wanted if first <= day <= last})
        writer, storable = self._context.writer, {}
        fetched = {day: by_day.get(day, series.no_rows) for day in days}
        for day, bars in fetched.items():
            if day in conflicting:
                trusted = self._is_settled_conflict(series, day)
            else:
                trusted = self._is_trusted(series, day, bars)
            if trusted:
                storable[day] = bars, writer.rest_provenance(series, duplicates=day in conflicting)
        served = {day: DayBars(day, bars, Source.REST) for day, bars in fetched.items()}
        return served | await self._context.write(series, storable)

    async def _so_far(self, series: Series, day: date, conflicting: set[date]) -> pa.RecordBatch:
        """The bars of a day that is not over, of which only those are requested that this process does not know."""
        context, today = self._context, today_of(self._context.settings, series)
        known, start = today.recall(series, day, context.now), day_start(day)
        if known is not None:
            if is_current(series, known, context.now) and not context.include_open:
                return known
            start = int(open_times(known)[-1]) + 1
        bars = await context.rest.klines(series, start, context.now, conflicting)
        if known is not None:
            bars = concat_batches([known, bars])
        if not conflicting:
            today.remember(series, day, bars, context.agreed_now)
        return bars

    async def bars(self, series: Series, day: date, conflicting: set[date]) -> pa.RecordBatch:
        """A day's bars, of which none is stored; `conflicting` and errors as `RestClient.klines`."""
        return await self._context.rest.klines(series, day_start(day), day_start(day) + DAY, conflicting)

    def without_bars(self, series: Series, days: list[date]) -> dict[date, DayBars]:
        """Days of a symbol that the exchange no longer serves; stored as empty once no archive will be published."""
        provenance, closed_at = self._context.writer.rest_provenance(series), series.interval.closed_at
        final = {day: (series.no_rows, provenance) for day in days if closed_at(day) + FINAL_AFTER <= self._context.now}
        served = {day: DayBars(day, series.no_rows, Source.REST) for day in days}
        return served | self._context.writer.write(series, final, self._context.agreed_now)

    def _is_settled_conflict(self, series: Series, day: date) -> bool:
        """Whether a day of which REST has different rows for one open time may be stored: no archive will decide."""
        closed_for = self._context.agreed_now - series.interval.closed_at(day)
        settled = closed_for >= FINAL_AFTER and not self._context.failures.of_day(series, day)
        log.warning(
            "%s: REST has different rows of %s for one open time; the last row is used%s",
            series,
            day,
            "" if settled else ", and the day is not stored",
        )
        return settled

    def _is_trusted(self, series: Series, day: date, bars: pa.RecordBatch) -> bool:
        """Whether a day that was fetched from REST alone may be stored. One that is short is warned of once."""
        age = self._context.agreed_now - series.interval.closed_at(day)
        whole = is_whole(series, day, bars, self._context.listings.known_first_open(series))
        trusted = is_trusted(series, bars, age, whole=whole)
        if trusted and self._context.failures.of_day(series, day):
            trusted = whole
        if not trusted and not whole and age >= 0 and not self._warned_short:
            self._warned_short = True
            log.warning(
                "%s: bars of %s are missing from REST's answer, and no archive confirms that; such days are not stored",
                series,
                day,
            )
        return trusted

    def _settled(self, bars: pa.RecordBatch) -> pa.RecordBatch:
        """Without the bars that are closed by this machine's clock and not by the exchange's."""
        agreed_now, times = self._context.agreed_now, close_times(bars)
        if agreed_now == self._context.now:
            return bars
        return bars.filter(pa.array((times < agreed_now) | (times >= self._context.now)))
