"""Failover Control Protocol (FCP): cache → lake → Vision → REST, decided for each UTC day of a query.

    in the cache                          ->  cache
    in the lake, where one is set         ->  lake
    before the symbol's first bar         ->  unlisted, no source has it
    every bar is closed                   ->  vision, the archive; `fetch.failover` asks REST where that fails
    some bar is closed, or may be open    ->  rest, and not stored

Pure: no network, no disk, no clock. `scan.resolver` carries a plan out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckvd_sql.market.periods import DAY, Month, day_start
from ckvd_sql.market.provenance import Source

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

    from ckvd_sql.market.periods import Span
    from ckvd_sql.market.series import Series


@dataclass(frozen=True, slots=True)
class DayPlan:
    """One day of a series and the source it is expected from."""

    day: date
    source: Source


def plan(
    series: Series,
    span: Span,
    now: int,
    *,
    include_open: bool = False,
    cached: Collection[date] = (),
    in_lake: Collection[date] = (),
    first_open: int | None = None,
) -> list[DayPlan]:
    """The source of each day of a range, in order of time.

    Args:
        series: The series.
        span: The range of open times, not beyond `now`.
        now: The moment, in microseconds since the epoch.
        include_open: Whether a bar that is still forming is wanted.
        cached: The days that are in the cache.
        in_lake: The days that are in the lake.
        first_open: The open time of the series' first bar, where it is known.
    """
    days = set(series.interval.days_in(span))
    if series.interval.multi_day:  # a long bar may open on a day that the known grid does not have
        known = {*cached, *in_lake}
        days |= {day for day in known if span.start - DAY < day_start(day) < span.end}
    plans = []
    for day in sorted(days):
        source = Source.CACHE if day in cached else Source.LAKE if day in in_lake else None
        source = source or _source(series, day, now, include_open, first_open)
        if source:
            plans.append(DayPlan(day, source))
    return plans


def _source(series: Series, day: date, now: int, include_open: bool, first_open: int | None) -> Source | None:
    """Where a day that is not stored comes from; None where it can have no bar that is wanted."""
    closed_at = series.interval.closed_at(day)
    if first_open is not None and closed_at <= first_open:
        return Source.UNLISTED
    if closed_at <= now:
        month_over = day_start(Month.of(day).next.first) <= now
        return Source.VISION if month_over or not series.interval.multi_day else Source.REST
    first_close = series.interval.first_close(day)
    return Source.REST if include_open or (first_close is not None and first_close <= now) else None
