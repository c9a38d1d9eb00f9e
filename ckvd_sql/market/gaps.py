"""Gaps: runs of bars that the grid of an interval has and the data does not. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ckvd_sql.market.bars import open_times
from ckvd_sql.market.grid import grid_slots
from ckvd_sql.market.periods import DAY, Span, day_start

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.market.series import Interval


@dataclass(frozen=True, slots=True)
class Gap:
    """A run of missing bars: the `count` bars of the grid that open in `[start, end)`, in microseconds."""

    start: int
    end: int
    count: int


def find_gaps(interval: Interval, span: Span, now: int, days: Iterable[pa.RecordBatch]) -> Iterator[Gap]:
    """The gaps among the closed bars of a range, in order.

    A bar that is off the grid counts as the grid's bar during which it opens.

    Args:
        interval: The interval, which has the grid.
        span: The range.
        now: The moment, in microseconds since the epoch; bars that close later are not missing.
        days: The bars of the range, in order.

    There are none where the grid is not known.
    """
    if not interval.grid_known:
        return
    slots = interval.slots(span.start, span.end)
    expected = slots.start
    for bars in days:
        for first, end in _runs(interval, bars):
            if expected < first:
                yield _gap(interval, expected, first)
            expected = max(expected, end)
    last = slots.stop
    while last > expected and interval.open_time(last) > now:
        last -= 1
    if expected < last:
        yield _gap(interval, expected, last)


def gaps_of_day(interval: Interval, day: date, bars: pa.RecordBatch) -> list[Gap]:
    """The gaps of a day that is over; none for intervals longer than a day."""
    if interval.step is None or interval.multi_day:
        return []
    whole = Span(day_start(day), day_start(day) + DAY)
    slots, times = interval.slots(whole.start, whole.end), open_times(bars)
    if len(times) == len(slots) and times[0] == whole.start and (np.diff(times) == interval.step).all():
        return []  # the usual case, without a search
    return list(find_gaps(interval, whole, whole.end, [bars]))


def since_listing(interval: Interval, gap: Gap, first_open: int | None) -> Gap | None:
    """The part of a gap after the series' first bar, before which no bar is missing; None where there is no part."""
    if first_open is None or gap.start >= first_open:
        return gap
    listed = interval.slot(first_open)
    end = interval.slot(gap.end)
    return _gap(interval, listed, end) if listed < end else None


def _runs(interval: Interval, bars: pa.RecordBatch) -> list[tuple[int, int]]:
    """The grid slots of the bars, as half-open runs without a gap."""
    if bars.num_rows == 0:
        return []
    slots = grid_slots(interval, open_times(bars))
    breaks = np.flatnonzero(np.diff(slots) > 1)
    firsts = slots[np.concatenate(([0], breaks + 1))].tolist()
    lasts = slots[np.concatenate((breaks, [len(slots) - 1]))].tolist()
    return [(first, last + 1) for first, last in zip(firsts, lasts, strict=True)]


def _gap(interval: Interval, first: int, end: int) -> Gap:
    return Gap(interval.open_time(first), interval.open_time(end), end - first)
