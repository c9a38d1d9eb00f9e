"""What `fcp` asks of the failover, and what it gets: days to fetch together, and a day's bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.market.periods import Month
    from ckvd_sql.market.series import Series

#: Days without a monthly archive are fetched in jobs of this many, aligned in their month: callers with different
#: ranges then still wait for each other instead of fetching a day twice.
DAYS_A_JOB = 4


def first_of_job(day: date) -> date:
    """The day with which the job that holds a day would begin, if it were whole."""
    return day.replace(day=(day.day - 1) // DAYS_A_JOB * DAYS_A_JOB + 1)


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
        fresh: Whether to fetch even what the cache has.
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
