"""The synthetic market as of an instant: bars of any interval, the closed ones and the one still forming.

Aggregates the minutes of `synthetic` day by day, and remembers a bounded number of days. Knows no HTTP.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ckvd_sql.market.periods import DAY, MINUTE, SECOND, day_of, day_start
from ckvd_sql.market.series import INTERVALS, Interval, Series
from ckvd_sql.sandbox.bars import CLOSE, OPEN, Bars, Ints, closes, joined, json_text
from ckvd_sql.sandbox.symbols import Listing, listing_of
from ckvd_sql.sandbox.synthetic import minutes, refine

if TYPE_CHECKING:
    from datetime import date

_ONE_DAY = INTERVALS["1d"]


@lru_cache(maxsize=4)
def _seconds(listing: Listing, day: date) -> Bars:
    """All 1s bars of a whole day."""
    return refine(listing, minutes(listing, day))


@lru_cache(maxsize=20_000)
def _one_day_bar(listing: Listing, day: date) -> Bars:
    """The 1d bar of a whole day, or no bar."""
    return minutes(listing, day).to(_ONE_DAY)


@lru_cache(maxsize=256)
def _intraday(listing: Listing, day: date, interval: Interval) -> Bars:
    """The bars of a whole day in an interval between 1m and 1d."""
    return minutes(listing, day).to(interval)


def _seconds_until(listing: Listing, day: date, now: int) -> Bars:
    """A day's 1s bars up to `now`; the second still forming has no trades yet."""
    current = now - now % SECOND
    bars = _seconds(listing, day).between(day_start(day), current + SECOND)
    if not len(bars) or bars.opens[-1] != current:
        return bars
    return _with_last(bars, _without_trades(bars.values[:, -1:]))


def _minutes_until(listing: Listing, day: date, now: int) -> Bars:
    """A day's 1m bars up to `now`; the minute still forming has the seconds that are closed."""
    current = now - now % MINUTE
    bars = minutes(listing, day).between(day_start(day), current + MINUTE)
    if not len(bars) or bars.opens[-1] != current:
        return bars
    last = Bars(bars.opens[-1:], bars.values[:, -1:])
    closed = refine(listing, last).between(current, now - now % SECOND)
    return _with_last(bars, closed.to(INTERVALS["1m"]).values if len(closed) else _without_trades(last.values))


def _without_trades(values: Ints) -> Ints:
    """A bar's values, shape (9, 1), with no trades: all prices are the open."""
    quiet = np.zeros_like(values)
    quiet[OPEN : CLOSE + 1] = values[OPEN]
    return quiet


def _with_last(bars: Bars, values: Ints) -> Bars:
    """The bars with other values, shape (9, 1), for the last one."""
    return Bars(bars.opens, np.concatenate([bars.values[:, :-1], values], axis=1))


def _bars_of_day(listing: Listing, day: date, interval: Interval, now: int) -> Bars:
    """What a day contributes to an interval's bars: the bars themselves, or a 1d bar as a part of a longer one."""
    step = interval.step
    if step == SECOND:
        return _seconds_until(listing, day, now)
    part = _ONE_DAY if interval.multi_day else interval
    if day_start(day) + DAY > now:
        return _minutes_until(listing, day, now).to(part)
    if part == _ONE_DAY:
        return _one_day_bar(listing, day)
    return minutes(listing, day) if step == MINUTE else _intraday(listing, day, part)


def _opened_range(listing: Listing, interval: Interval, start: int, end: int, now: int) -> tuple[int, int]:
    """The part of `[start, end)` in which bars can have opened by `now`: from the listing's first to its last."""
    first = interval.open_time(interval.slot(listing.listed))
    delisted = now + 1 if listing.delisted is None else listing.delisted
    return max(start, first), min(end, now + 1, delisted)


def bars_between(listing: Listing, interval: Interval, start: int, end: int, now: int) -> Bars:
    """The bars that open in `[start, end)` as of `now` (all µs), the one still forming included."""
    interval = listing.on_grid(interval)
    start, end = _opened_range(listing, interval, start, end, now)
    slots = interval.slots(start, end)
    if not slots:
        return joined([])
    first = day_of(interval.open_time(slots[0]))
    last = day_of(min(interval.open_time(slots[-1] + 1) - 1, now))
    days = _ONE_DAY.open_days(max(first, day_of(listing.listed)), last)
    bars = joined([part for part in (_bars_of_day(listing, day, interval, now) for day in days) if len(part)])
    return (bars.to(interval) if interval.multi_day else bars).between(start, end)


def closed_bars(listing: Listing, interval: Interval, start: int, end: int, now: int) -> Bars:
    """The bars that open in `[start, end)` and are closed at `now` (all µs)."""
    bars = bars_between(listing, interval, start, end, now)
    closed = int(np.searchsorted(closes(bars, interval), now, side="right"))
    return Bars(bars.opens[:closed], bars.values[:, :closed])


def rows_between(
    listing: Listing, interval: Interval, start: int, end: int, *, limit: int, now: int, newest: bool
) -> Bars:
    """At most `limit` bars that open in `[start, end)` as of `now` (all µs): the oldest, or the newest.

    Takes `limit` slots of the range at a time: the range can be years long, and an outage leaves slots without bars.
    """
    interval = listing.on_grid(interval)
    slots = interval.slots(*_opened_range(listing, interval, start, end, now))
    parts: list[Bars] = []
    left = limit
    while slots and left > 0:
        taken, slots = (slots[-left:], slots[:-left]) if newest else (slots[:left], slots[left:])
        bars = bars_between(listing, interval, interval.open_time(taken[0]), interval.open_time(taken[-1]) + 1, now)
        parts.append(bars)
        left -= len(bars)
    return joined(parts[::-1] if newest else parts)


def market_bars(series: Series, start: int, end: int, now: int) -> list[tuple[Any, ...]]:
    """The expected answer for tests: the closed bars that open in `[start, end)`, as a client should see them.

    Args:
        series: Symbol, interval and market; a symbol that is not listed has no bars.
        start: The first instant, µs.
        end: The instant after the last, µs.
        now: The sandbox's time, µs.

    Returns:
        Rows of 12 columns as REST sends them: times in ms, prices and volumes as decimal text, trades as int.
    """
    listing = listing_of(series.market, series.symbol)
    if listing is None:
        return []
    bars = closed_bars(listing, series.interval, start, end, now)
    return [tuple(row) for row in json.loads(json_text(bars, listing, series.interval))] if len(bars) else []
