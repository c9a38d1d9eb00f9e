"""Markets, intervals and series: what identifies a series of klines, where its bars open, and its archive paths.

Everything here is pure: no clock, no disk, no network. Facts on paths and intervals: Binance's public-data and API
documentation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from ckvd_sql.market.bars import BAR_SCHEMA, NO_BARS
from ckvd_sql.market.periods import (
    DAY,
    EPOCH,
    FIRST_DAY,
    HOUR,
    MINUTE,
    SECOND,
    FilePeriod,
    Month,
    day_of,
    day_start,
    days_between,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from ckvd_sql.market.periods import Period, Span

PROVIDER = "binance"


class Market(StrEnum):
    """The three markets of Binance that have klines."""

    SPOT = "spot"
    UM = "um"
    CM = "cm"

    @property
    def archive_path(self) -> str:
        """The market's folder in the archive."""
        return "spot" if self is Market.SPOT else f"futures/{self.value}"


@dataclass(frozen=True, slots=True)
class Interval:
    """A kline interval: where its bars open, and what it is called.

    Attributes:
        name: The name in archive paths and on disk, such as `1h` or `1mo`.
        step: Microseconds from one open to the next; None for a calendar month.
        phase: The first open at or after the epoch. 1w opens on Mondays (1970-01-05). None for 3d, whose bars count
            from each symbol's first day of trading, until `with_bar_at` takes it from a bar.
    """

    name: str
    step: int | None
    phase: int | None = 0

    @property
    def grid_known(self) -> bool:
        """Whether it is known where bars open; if not, a bar may open on any day."""
        return self.phase is not None

    def with_bar_at(self, instant: int) -> Interval:
        """The interval with the grid on which a bar opens at this instant, where the grid is not known."""
        if self.grid_known or self.step is None:
            return self
        return replace(self, phase=instant % self.step)

    @property
    def rest_name(self) -> str:
        """The name in REST calls, where a month is `1M`."""
        return "1M" if self.step is None else self.name

    @property
    def multi_day(self) -> bool:
        """Whether bars are longer than a day, so that only monthly archives exist and most days open no bar."""
        return self.step is None or self.step > DAY

    @property
    def kept_by_year(self) -> bool:
        """Whether a year of bars is little enough to be kept in one file; of shorter ones a month is."""
        return self.step is None or self.step >= HOUR

    def file_periods(self, first: date, last: date) -> Iterator[FilePeriod]:
        """The years, or months, that are kept in one file and hold a day from `first` to `last`, both included."""
        of_day = FilePeriod.year_of if self.kept_by_year else FilePeriod.month_of
        while first <= last:
            period = of_day(first)
            yield period
            first = period.last + timedelta(days=1)

    def slot(self, instant: int) -> int:
        """The number of the grid slot that holds an instant; slot 0 is the first at or after the epoch."""
        if self.step is None:
            day = day_of(instant)
            return (day.year - EPOCH.year) * 12 + day.month - 1
        return (instant - (self.phase or 0)) // self.step

    def open_time(self, slot: int) -> int:
        """The instant at which a grid slot opens."""
        if self.step is None:
            return day_start(date(EPOCH.year + slot // 12, slot % 12 + 1, 1))
        return (self.phase or 0) + slot * self.step

    def first_slot(self, instant: int) -> int:
        """The first slot that opens at or after an instant."""
        slot = self.slot(instant)
        return slot if self.open_time(slot) == instant else slot + 1

    def slots(self, start: int, end: int) -> range:
        """The slots that open in `[start, end)`."""
        return range(self.first_slot(start), max(self.first_slot(start), self.first_slot(end)))

    def open_days(self, first: date, last: date) -> Iterator[date]:
        """The days from `first` to `last`, both included, on which the grid opens a bar."""
        if not self.multi_day or not self.grid_known:
            return days_between(first, last)
        slots = self.slots(day_start(first), day_start(last) + DAY)
        return (day_of(self.open_time(slot)) for slot in slots)

    def first_close(self, day: date) -> int | None:
        """The instant at which the first bar that the grid opens on a day closes; None where it opens none."""
        if not self.grid_known:
            return day_start(day) + (self.step or 0)
        slots = self.slots(day_start(day), day_start(day) + DAY)
        return self.open_time(slots[0] + 1) if slots else None

    def days_in(self, span: Span) -> Iterator[date]:
        """The days on which the grid opens a bar in a range, from the first day on which Binance can have one."""
        if span.empty:
            return iter(())
        return self.open_days(max(FIRST_DAY, day_of(span.start)), day_of(span.end - 1))

    def closed_at(self, day: date) -> int:
        """The instant from which every bar that the grid opens on a day is closed, and the day is over."""
        if not self.grid_known:
            return day_start(day) + (self.step or 0)
        end = day_start(day) + DAY
        slots = self.slots(end - DAY, end)
        return max(end, self.open_time(slots[-1] + 1)) if slots else end


def _interval(name: str, amount: int, unit: int, phase: int | None = 0) -> Interval:
    return Interval(name, amount * unit, phase)


INTERVALS: dict[str, Interval] = {
    interval.name: interval
    for interval in (
        _interval("1s", 1, SECOND),
        *(_interval(f"{n}m", n, MINUTE) for n in (1, 3, 5, 15, 30)),
        *(_interval(f"{n}h", n, HOUR) for n in (1, 2, 4, 6, 8, 12)),
        _interval("1d", 1, DAY),
        _interval("3d", 3, DAY, phase=None),
        _interval("1w", 7, DAY, phase=4 * DAY),
        Interval("1mo", None),
    )
}


@dataclass(frozen=True, slots=True)
class Series:
    """One symbol's bars of one interval on one market.

    Klines are the only kind of series so far. Whatever stores or fetches rows takes their columns from `schema`.
    """

    market: Market
    symbol: str
    interval: Interval

    @property
    def schema(self) -> pa.Schema:
        """The columns of the rows that are stored for a day."""
        return BAR_SCHEMA

    @property
    def no_rows(self) -> pa.RecordBatch:
        """A day without rows."""
        return NO_BARS

    @property
    def key(self) -> str:
        """`binance/spot/BTCUSDT/1h`: the series' folder in the cache, and its name in the metadata of a day file."""
        return f"{PROVIDER}/{self.market.value}/{self.symbol}/{self.interval.name}"

    def with_bar_at(self, instant: int) -> Series:
        """The series with the grid on which a bar opens at this instant, where the interval's grid is not known."""
        return self if self.interval.grid_known else replace(self, interval=self.interval.with_bar_at(instant))

    def archive_stem(self, period: Period) -> str:
        """`BTCUSDT-1h-2024-01-01` or `BTCUSDT-1h-2024-01`: an archive's name without its ending."""
        return f"{self.symbol}-{self.interval.name}-{period}"

    def archive_path(self, period: Period) -> str:
        """The path of a period's zip below the root of the archive."""
        scope = "monthly" if isinstance(period, Month) else "daily"
        return (
            f"data/{self.market.archive_path}/{scope}/klines/"
            f"{self.symbol}/{self.interval.name}/{self.archive_stem(period)}.zip"
        )

    def period_of_archive(self, url: str, day: date) -> Period:
        """The period of the archive at a URL that a day came from: its month, or the day itself."""
        month = Month.of(day)
        return month if url.endswith(self.archive_path(month)) else day

    def __str__(self) -> str:
        return f"{self.symbol} {self.interval.name} ({self.market.value})"
