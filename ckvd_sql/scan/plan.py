"""The decisions of the failover: where each UTC day of a range comes from, and what is read or fetched together.

Everything here is pure: no network, no disk, no clock. A day in the cache is read there; a closed day is fetched,
archive first; a day that is not over comes from REST and is never kept; days before the first bar are nobody's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING

from ckvd_sql.fetch.jobs import Job, first_of_job
from ckvd_sql.market.periods import DAY, SECOND, Month, day_start

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from datetime import date

    from ckvd_sql.market.periods import Span
    from ckvd_sql.market.series import Series


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
    """What is read together: a stretch of time whose days are all in the cache, or days of which a job fetches some."""

    series: Series
    days: tuple[date, ...] = ()
    job: Job | None = None
    stretch: Span | None = None

    def all_days(self, cached: Iterable[date]) -> list[date]:
        """Every day of the block; on a stretch there may be days in the cache that the grid does not have."""
        if self.stretch is None:
            return list(self.days)
        return sorted({*self.series.interval.days_in(self.stretch), *filter(self.stretch.touches, cached)})


def plan(
    series: Series,
    span: Span,
    now: int,
    *,
    include_open: bool = False,
    cached: Collection[date] = (),
    first_open: int | None = None,
) -> list[DayPlan]:
    """Where each day of a range comes from.

    Args:
        series: The series.
        span: The range of open times, not beyond `now`.
        now: The moment, in microseconds since the epoch.
        include_open: Whether a bar that is still forming is wanted.
        cached: The days that are in the cache.
        first_open: The open time of the series' first bar, where it is known.
    """
    interval = series.interval
    days = set(interval.days_in(span))
    if interval.multi_day:  # a long bar may open on a day that the known grid does not have
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
        return Origin.VISION if month_over or not series.interval.multi_day else Origin.REST
    first_close = series.interval.first_close(day)
    return Origin.REST if include_open or (first_close is not None and first_close <= now) else None


def blocks(series: Series, days: Iterable[DayPlan]) -> Iterator[Block]:
    """A plan as blocks in time order, each with at most one job.

    A whole month that lacks is one job, and so is every month of bars longer than a day. Other days go four by four,
    and all of 1s, whose months are too large to hold; aligned in their month, so that callers with different ranges
    still share their fetches.
    """
    for month, planned in groupby(days, key=lambda one: Month.of(one.day)):
        of_month = list(planned)
        in_one = series.interval.step != SECOND and _whole_month_lacks(month, of_month)
        if series.interval.multi_day or in_one:
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
