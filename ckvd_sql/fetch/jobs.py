"""Jobs: the days that are fetched together, and what a day that was read or fetched is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.market.periods import Month
    from ckvd_sql.market.provenance import Source
    from ckvd_sql.market.series import Series

#: Days without a monthly archive are fetched in jobs of this many, aligned in their month: callers with different
#: ranges then still wait for each other instead of fetching a day twice.
DAYS_PER_JOB = 4


def job_start(day: date) -> date:
    """The first day of the aligned group of `DAYS_PER_JOB` days that a day belongs to."""
    return day.replace(day=(day.day - 1) // DAYS_PER_JOB * DAYS_PER_JOB + 1)


@dataclass(frozen=True, slots=True)
class DayBars:
    """A day's bars, whole.

    Attributes:
        day: The UTC day.
        bars: Its bars.
        source: Where they came from in the first place: `VISION` or `REST`.
        stored_in: `CACHE` or `LAKE`, where this scan read them from there.
    """

    day: date
    bars: pa.RecordBatch
    source: Source
    stored_in: Source | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """Days of one month of a series that are to be fetched together.

    Attributes:
        series: The series.
        month: The month that holds the days.
        archived: Closed days: archive first, then REST.
        live: Days that are not over, or whose month is not: REST alone.
        monthly: Whether to try the month's archive before those of its days.
        fresh: Whether to fetch even the days that are in the cache.
    """

    series: Series
    month: Month
    archived: tuple[date, ...] = ()
    live: tuple[date, ...] = ()
    monthly: bool = False
    fresh: bool = False

    @property
    def days(self) -> tuple[date, ...]:
        """All days of the job."""
        return self.archived + self.live


def merge_days(parts: Iterable[dict[date, DayBars]]) -> dict[date, DayBars]:
    """Days of several answers together."""
    return {day: bars for part in parts for day, bars in part.items()}
