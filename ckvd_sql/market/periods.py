"""Instants, UTC days, months and ranges of time.

Everything here is pure: no clock, no disk, no network, and no knowledge of intervals. Instants are `int` microseconds
since the Unix epoch, days are `datetime.date` in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

EPOCH = date(1970, 1, 1)

#: Binance opened in July 2017: no day before this one can have a bar.
FIRST_DAY = date(2017, 1, 1)
_EPOCH_INSTANT = datetime(1970, 1, 1, tzinfo=UTC)


def day_number(day: date) -> int:
    """A day as days since the epoch."""
    return (day - EPOCH).days


def numbered_day(number: int) -> date:
    """The day with a number of days since the epoch."""
    return EPOCH + timedelta(days=number)


def day_start(day: date) -> int:
    """The instant at which a UTC day begins."""
    return day_number(day) * DAY


def day_of(instant: int) -> date:
    """The UTC day that holds an instant."""
    return numbered_day(instant // DAY)


def instant_of(moment: datetime) -> int:
    """A zoned datetime as microseconds since the epoch, exactly."""
    return (moment - _EPOCH_INSTANT) // timedelta(microseconds=1)


def moment_of(instant: int) -> datetime:
    """An instant as a datetime in UTC."""
    return _EPOCH_INSTANT + timedelta(microseconds=instant)


def days_between(first: date, last: date) -> Iterator[date]:
    """Every day from `first` to `last`, both included."""
    return (first + timedelta(days=n) for n in range((last - first).days + 1))


def consecutive(days: Iterable[date]) -> list[tuple[date, date]]:
    """Days as runs without a gap, each by its first and last day."""
    runs: list[tuple[date, date]] = []
    for day in sorted(days):
        if runs and day - runs[-1][1] == timedelta(days=1):
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return runs


def format_days(days: Iterable[date]) -> str:
    """Days as people write them: `2024-01-01 to 2024-01-05, 2024-01-07`."""
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in consecutive(days))


@dataclass(frozen=True, order=True, slots=True)
class Month:
    """A calendar month in UTC, the unit of the monthly archives."""

    year: int
    month: int

    @classmethod
    def of(cls, day: date) -> Month:
        """The month that holds a day."""
        return cls(day.year, day.month)

    @property
    def next(self) -> Month:
        """The month after this one."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def first(self) -> date:
        """The first day."""
        return date(self.year, self.month, 1)

    @property
    def last(self) -> date:
        """The last day."""
        return self.next.first - timedelta(days=1)

    @property
    def span(self) -> Span:
        """The instants of the month."""
        return Span(day_start(self.first), day_start(self.next.first))

    def days(self) -> list[date]:
        """Every day of the month."""
        return list(days_between(self.first, self.last))

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"


#: What one archive file covers: a day or a month.
Period = date | Month


@dataclass(frozen=True, order=True, slots=True)
class FilePeriod:
    """A calendar year or month in UTC whose bars are kept in one file.

    Attributes:
        first: The first day.
        last: The last day.
    """

    first: date
    last: date

    @classmethod
    def year_of(cls, day: date) -> FilePeriod:
        """The year that holds a day."""
        return cls(date(day.year, 1, 1), date(day.year, 12, 31))

    @classmethod
    def month_of(cls, day: date) -> FilePeriod:
        """The month that holds a day."""
        month = Month.of(day)
        return cls(month.first, month.last)

    @property
    def name(self) -> str:
        """`2024` or `2024-03`."""
        month = Month.of(self.first)
        return str(month) if month.last == self.last else str(month.year)

    @property
    def span(self) -> Span:
        """The instants of the period."""
        return Span(day_start(self.first), day_start(self.last) + DAY)


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of instants, `[start, end)`."""

    start: int
    end: int

    @property
    def empty(self) -> bool:
        """Whether the range holds no instant."""
        return self.end <= self.start

    def until(self, instant: int) -> Span:
        """The part of the range before an instant."""
        return Span(self.start, min(self.end, instant))

    def touches(self, day: date) -> bool:
        """Whether the range holds any instant of the day."""
        return day_start(day) < self.end and self.start < day_start(day) + DAY

    def intersect(self, other: Span) -> Span:
        """The part of the range that lies in another."""
        return Span(max(self.start, other.start), min(self.end, other.end))

    def years(self) -> Iterator[Span]:
        """The range cut at the ends of calendar years, beginning no earlier than `FIRST_DAY`."""
        start = max(self.start, day_start(FIRST_DAY))
        while start < self.end:
            following = day_start(date(day_of(start).year + 1, 1, 1))
            yield Span(start, min(self.end, following))
            start = following

    def months(self) -> Iterator[Month]:
        """The months that the range touches, beginning no earlier than `FIRST_DAY`."""
        if not self.empty:
            month, last = Month.of(max(FIRST_DAY, day_of(self.start))), Month.of(day_of(self.end - 1))
            while month <= last:
                yield month
                month = month.next
