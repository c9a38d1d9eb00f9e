"""Markets, intervals, symbols and UTC days: what a series of bars is, and how its parts are named.

Everything here is pure: no clock, no disk, no network. Instants are `int` microseconds since the Unix epoch,
days are `datetime.date` in UTC. Facts on paths and intervals: Binance's public-data and API documentation.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from ckvd_sql.errors import InvalidIntervalError, InvalidMarketError, InvalidSymbolError, InvalidTimeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROVIDER = "binance"

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

EPOCH = date(1970, 1, 1)

#: Binance opened in July 2017: no day before this one can have a bar.
FIRST_DAY = date(2017, 1, 1)
_EPOCH_INSTANT = datetime(1970, 1, 1, tzinfo=UTC)


def day_start(day: date) -> int:
    """The instant at which a UTC day begins."""
    return (day - EPOCH).days * DAY


def day_of(instant: int) -> date:
    """The UTC day that holds an instant."""
    return EPOCH + timedelta(days=instant // DAY)


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


def spell_days(days: Iterable[date]) -> str:
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


#: What one archive file covers.
Period = date | Month


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
        phase: The first open at or after the epoch. 1w opens on Mondays (1970-01-05); 3d on days with (days
            since epoch) mod 3 = 1, as spot BTCUSDT does.
    """

    name: str
    step: int | None
    phase: int = 0

    @property
    def rest_name(self) -> str:
        """The name in REST calls, where a month is `1M`."""
        return "1M" if self.step is None else self.name

    @property
    def coarse(self) -> bool:
        """Whether bars are longer than a day, so that only monthly archives exist and most days open no bar."""
        return self.step is None or self.step > DAY

    def slot(self, instant: int) -> int:
        """The number of the grid slot that holds an instant; slot 0 is the first at or after the epoch."""
        if self.step is None:
            day = day_of(instant)
            return (day.year - EPOCH.year) * 12 + day.month - 1
        return (instant - self.phase) // self.step

    def opens(self, slot: int) -> int:
        """The instant at which a grid slot opens."""
        if self.step is None:
            return day_start(date(EPOCH.year + slot // 12, slot % 12 + 1, 1))
        return self.phase + slot * self.step

    def first_slot(self, instant: int) -> int:
        """The first slot that opens at or after an instant."""
        slot = self.slot(instant)
        return slot if self.opens(slot) == instant else slot + 1

    def slots(self, start: int, end: int) -> range:
        """The slots that open in `[start, end)`."""
        return range(self.first_slot(start), max(self.first_slot(start), self.first_slot(end)))

    def open_days(self, first: date, last: date) -> Iterator[date]:
        """The days from `first` to `last`, both included, on which the grid opens a bar."""
        if not self.coarse:
            return days_between(first, last)
        slots = self.slots(day_start(first), day_start(last) + DAY)
        return (day_of(self.opens(slot)) for slot in slots)

    def first_close(self, day: date) -> int | None:
        """The instant at which the first bar that the grid opens on a day closes; None where it opens none."""
        slots = self.slots(day_start(day), day_start(day) + DAY)
        return self.opens(slots[0] + 1) if slots else None

    def closed_at(self, day: date) -> int:
        """The instant from which every bar that the grid opens on a day is closed, and the day is over."""
        end = day_start(day) + DAY
        slots = self.slots(end - DAY, end)
        return max(end, self.opens(slots[-1] + 1)) if slots else end


def _interval(name: str, amount: int, unit: int, phase: int = 0) -> Interval:
    return Interval(name, amount * unit, phase)


INTERVALS: dict[str, Interval] = {
    interval.name: interval
    for interval in (
        _interval("1s", 1, SECOND),
        *(_interval(f"{n}m", n, MINUTE) for n in (1, 3, 5, 15, 30)),
        *(_interval(f"{n}h", n, HOUR) for n in (1, 2, 4, 6, 8, 12)),
        _interval("1d", 1, DAY),
        _interval("3d", 3, DAY, phase=DAY),
        _interval("1w", 7, DAY, phase=4 * DAY),
        Interval("1mo", None),
    )
}


@dataclass(frozen=True, slots=True)
class Series:
    """One symbol's bars of one interval on one market."""

    market: Market
    symbol: str
    interval: Interval

    @property
    def key(self) -> str:
        """`binance/spot/BTCUSDT/1h`: the series' folder in the cache, and its name in a day file."""
        return f"{PROVIDER}/{self.market.value}/{self.symbol}/{self.interval.name}"

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

    def __str__(self) -> str:
        return f"{self.symbol} {self.interval.name} ({self.market.value})"


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
        """Whether an instant of the day is in the range."""
        return day_start(day) < self.end and self.start < day_start(day) + DAY

    def within(self, other: Span) -> Span:
        """The part of the range in another."""
        return Span(max(self.start, other.start), min(self.end, other.end))

    def years(self) -> Iterator[Span]:
        """The range by calendar years, from the first day that can have a bar on."""
        start = max(self.start, day_start(FIRST_DAY))
        while start < self.end:
            following = day_start(date(day_of(start).year + 1, 1, 1))
            yield Span(start, min(self.end, following))
            start = following

    def months(self) -> Iterator[Month]:
        """The months that the range touches."""
        if not self.empty:
            month, last = Month.of(max(FIRST_DAY, day_of(self.start))), Month.of(day_of(self.end - 1))
            while month <= last:
                yield month
                month = month.next

    def days(self, interval: Interval) -> Iterator[date]:
        """The days on which bars of the interval can open in this range."""
        if self.empty:
            return iter(())
        return interval.open_days(max(FIRST_DAY, day_of(self.start)), day_of(self.end - 1))


# Letters (of any script), digits and underscore. Nothing that can leave a folder, a URL path or a file name.
_SYMBOL = re.compile(r"\w{1,64}")
_SYMBOL_RULE = "a symbol is 1 to 64 letters, digits or underscores in upper case, such as 'BTCUSDT' or 'BTCUSD_PERP'"


def parse_symbol(value: object) -> str:
    """A symbol as Binance writes it; raises `InvalidSymbolError`.

    Symbols need not be ASCII (币安人生USDT). A lower-case symbol is refused rather than mended, for one series
    must have one name.
    """
    if not isinstance(value, str) or not _SYMBOL.fullmatch(value) or unicodedata.normalize("NFC", value) != value:
        raise InvalidSymbolError("symbol", value, _SYMBOL_RULE)
    if value != value.upper():
        raise InvalidSymbolError("symbol", value, f"{_SYMBOL_RULE}; did you mean {value.upper()!r}?")
    return value


def parse_market(value: object) -> Market:
    """One of the three markets; raises `InvalidMarketError`."""
    try:
        return Market(str(value))
    except ValueError:
        allowed = "a market is 'spot', 'um' (USDT-margined futures) or 'cm' (coin-margined futures)"
        raise InvalidMarketError("market", value, allowed) from None


def parse_interval(value: object, market: Market) -> Interval:
    """An interval that the market has; raises `InvalidIntervalError`. `1M` is accepted for `1mo`."""
    interval = INTERVALS.get("1mo" if value == "1M" else value) if isinstance(value, str) else None
    if interval is None or (interval.step == SECOND and market is not Market.SPOT):
        names = [name for name in INTERVALS if name != "1s" or market is Market.SPOT]
        raise InvalidIntervalError("interval", value, f"on {market.value} an interval is one of {', '.join(names)}")
    return interval


def parse_time(value: object, argument: str) -> int:
    """A date, a datetime or ISO 8601 text as an instant; without a zone it is UTC. Raises `InvalidTimeError`."""
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            moment = None
    if isinstance(moment, date) and not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)  # noqa: DTZ001 (given its zone below)
    try:
        if isinstance(moment, datetime):
            return instant_of((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC))
    except OverflowError:  # in UTC it would be before the first day of the calendar, or after the last
        pass
    allowed = "a time is a DATE, a TIMESTAMP or ISO 8601 text such as '2024-01-31' or '2024-01-31 12:00:00+00'"
    raise InvalidTimeError(argument, value, allowed)


def parse_span(start: object, end: object, now: int) -> Span:
    """The range `[start, end)`; an `end` of `'now'` is now. Raises `InvalidTimeError`.

    A range wholly in the future is kept as it is (it is empty, not wrong); `until(now)` cuts it.
    """
    first = parse_time(start, "start")
    last = max(first, now) if end == "now" else parse_time(end, "end")
    if first > last:
        raise InvalidTimeError("start", str(start), f"start must not be after end, which is {end}")
    return Span(first, last)
