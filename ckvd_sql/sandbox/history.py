"""The synthetic market as known at an instant: bars of any interval, closed ones and the one still forming.

Adds up `synthetic`'s minutes day by day, and remembers a bounded number of days. Knows nothing of HTTP.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ckvd_sql.market.periods import DAY, MINUTE, SECOND, day_of, day_start
from ckvd_sql.market.series import INTERVALS, Interval, Series
from ckvd_sql.sandbox.bars import Bars, closes, joined, json_text
from ckvd_sql.sandbox.symbols import Listing, listing_of
from ckvd_sql.sandbox.synthetic import minutes, refine

if TYPE_CHECKING:
    from datetime import date

_ONE_DAY = INTERVALS["1d"]


@lru_cache(maxsize=4)
def _seconds(listing: Listing, day: date) -> Bars:
    """All 1s bars of a day."""
    return refine(listing, minutes(listing, day))


@lru_cache(maxsize=20_000)
def _whole_day(listing: Listing, day: date) -> Bars:
    """The 1d bar of a day, or none."""
    return minutes(listing, day).to(_ONE_DAY)


@lru_cache(maxsize=256)
def _within_day(listing: Listing, day: date, interval: Interval) -> Bars:
    return minutes(listing, day).to(interval)


def _seconds_until(listing: Listing, day: date, now: int) -> Bars:
    """A day's 1s bars up to `now`; the second still forming has no trades yet."""
    start, current = day_start(day), now - now % SECOND
    bars = _seconds(listing, day).between(start, current + SECOND)
    if not len(bars) or bars.opens[-1] != current:
        return bars
    values = bars.values.copy()
    values[1:4, -1] = values[0, -1]
    values[4:, -1] = 0
    return Bars(bars.opens, values)


def _minutes_until(listing: Listing, day: date, now: int) -> Bars:
    """A day's 1m bars up to `now`, the last one as far as its seconds have come."""
    current = now - now % MINUTE
    bars = minutes(listing, day).between(day_start(day), current + MINUTE)
    if not len(bars) or bars.opens[-1] != current:
        return bars
    forming = refine(listing, Bars(bars.opens[-1:], bars.values[:, -1:])).between(current, now - now % SECOND)
    if len(forming):
        last = forming.to(INTERVALS["1m"]).values
    else:
        last = bars.values[:, -1:].copy()
        last[1:4], last[4:] = last[0], 0
    return Bars(bars.opens, np.concatenate([bars.values[:, :-1], last], axis=1))


def _day(listing: Listing, day: date, interval: Interval, now: int) -> Bars:
    """What a day contributes to an interval's bars: the bars themselves, or a 1d bar of a longer one."""
    step = interval.step
    if step == SECOND:
        return _seconds_until(listing, day, now)
    part = _ONE_DAY if interval.multi_day else interval
    if day_start(day) + DAY > now:
        return _minutes_until(listing, day, now).to(part)
    if part == _ONE_DAY:
        return _whole_day(listing, day)
    return minutes(listing, day) if step == MINUTE else _within_day(listing, day, part)


def bars_between(listing: Listing, interval: Interval, start: int, end: int, now: int) -> Bars:
    """The bars that open in `[start, end)` as of `now`, the one still forming included."""
    start = max(start, interval.open_time(interval.slot(listing.listed)))
    end = min(end, now + 1, now + 1 if listing.delisted is None else listing.delisted)
    slots = interval.slots(start, end)
    if not slots:
        return joined([])
    first = day_of(interval.open_time(slots[0]))
    last = day_of(min(interval.open_time(slots[-1] + 1) - 1, now))
    days = _ONE_DAY.open_days(max(first, day_of(listing.listed)), last)
    parts = joined([part for part in (_day(listing, day, interval, now) for day in days) if len(part)])
    return (parts.to(interval) if interval.multi_day else parts).between(start, end)


def closed_bars(listing: Listing, interval: Interval, start: int, end: int, now: int) -> Bars:
    """The bars that open in `[start, end)` and are closed at `now`."""
    bars = bars_between(listing, interval, start, end, now)
    closed = int(np.searchsorted(closes(bars, interval), now, side="right"))
    return Bars(bars.opens[:closed], bars.values[:, :closed])


def rows_between(
    listing: Listing, interval: Interval, start: int, end: int, *, limit: int, now: int, newest: bool
) -> Bars:
    """At most `limit` bars that open in `[start, end)`: the oldest, or the newest.

    Goes through the range piece by piece, for outages make pieces shorter and a range can be years long.
    """
    start = max(start, interval.open_time(interval.slot(listing.listed)))
    end = min(end, now + 1, now + 1 if listing.delisted is None else listing.delisted)
    slots = interval.slots(start, end)
    parts: list[Bars] = []
    left = limit
    while slots and left > 0:
        piece, slots = (slots[-left:], slots[:-left]) if newest else (slots[:left], slots[left:])
        found = bars_between(listing, interval, interval.open_time(piece[0]), interval.open_time(piece[-1]) + 1, now)
        parts.append(found)
        left -= len(found)
    return joined(parts[::-1] if newest else parts)


def market_bars(series: Series, start: int, end: int, now: int) -> list[tuple[Any, ...]]:
    """The truth to compare with: the closed bars that open in `[start, end)`, as a client should see them.

    Args:
        series: Symbol, interval and market; a symbol the sandbox does not have has no bars.
        start: First instant, µs.
        end: The instant after the last, µs.
        now: The sandbox's clock, µs.

    Returns:
        Rows of 12 columns as REST has them: times in ms, prices and volumes as decimal text, trades as int.
    """
    listing = listing_of(series.market, series.symbol)
    if listing is None:
        return []
    bars = closed_bars(listing, series.interval, start, end, now)
    return [tuple(row) for row in json.loads(json_text(bars, listing, series.interval))] if len(bars) else []
