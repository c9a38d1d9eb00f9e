"""The closed bars of days that are not over, in this process's memory: a poll asks the exchange only for what is new.

They are never stored on disk, because a day is stored whole or not at all. It sends no requests.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ckvd_sql.disk.locks import ThreadLock
from ckvd_sql.market.bars import close_times, open_times
from ckvd_sql.market.periods import DAY, HOUR, SECOND, day_start

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    import pyarrow as pa

    from ckvd_sql.market.series import Series
    from ckvd_sql.settings import Settings

#: A bar is remembered once it has been closed for so long: shortly after its end the exchange may still revise it.
_SETTLED_AFTER = 5 * SECOND

#: Bars that were not used for so long are forgotten.
_KEPT_FOR = HOUR

#: The most bytes of all bars together; a day of 1s bars has 7.6 MB.
_MOST_BYTES = 128 << 20

_EXCHANGES = 64


@dataclass(slots=True)
class _Day:
    day: date
    bars: pa.RecordBatch
    used_at: int


class Today:
    """The closed bars of one day a series, from its first bar on without a hole that could still be filled."""

    def __init__(self) -> None:
        self._days: OrderedDict[Series, _Day] = OrderedDict()
        self._lock = ThreadLock()

    def recall(self, series: Series, day: date, now: int) -> pa.RecordBatch | None:
        """The bars of a day that are remembered, at least one; None where none are.

        Args:
            series: The series.
            day: The day.
            now: The scan's clock, in microseconds since the epoch; a clock that was set back recalls nothing.
        """
        with self._lock:
            found = self._days.get(series)
            if found is None or found.day != day or not found.used_at <= now < found.used_at + _KEPT_FOR:
                return None
            found.used_at = now
            self._days.move_to_end(series)
            return found.bars

    def remember(self, series: Series, day: date, bars: pa.RecordBatch, now: int) -> None:
        """Remember the bars of a day that have been closed for some seconds, up to the first that is missing."""
        settled = bars.slice(0, min(_closed_before(bars, now - _SETTLED_AFTER), _without_hole(series, day, bars)))
        if settled.num_rows == 0 or day_start(day) + DAY <= now:
            return
        with self._lock:
            self._days[series] = _Day(day, settled, now)
            self._days.move_to_end(series)
            while len(self._days) > 1 and sum(kept.bars.nbytes for kept in self._days.values()) > _MOST_BYTES:
                self._days.popitem(last=False)


def _closed_before(bars: pa.RecordBatch, instant: int) -> int:
    """How many bars at the beginning were closed before an instant."""
    return int(np.searchsorted(close_times(bars), instant))


def _without_hole(series: Series, day: date, bars: pa.RecordBatch) -> int:
    """How many bars at the beginning are those of the grid: what is missing may still come."""
    slots = series.interval.slots(day_start(day), day_start(day) + DAY)
    grid = np.fromiter((series.interval.open_time(slot) for slot in slots[: bars.num_rows]), dtype=np.int64)
    same = open_times(bars)[: len(grid)] == grid
    return len(grid) if same.all() else int(same.argmin())


def is_current(series: Series, bars: pa.RecordBatch, now: int) -> bool:
    """Whether no other bar than these has closed on the series' grid."""
    interval = series.interval
    following = interval.slot(int(open_times(bars)[-1])) + 1
    return interval.open_time(following + 1) > now


def today_of(settings: Settings, series: Series) -> Today:
    """What is remembered of the exchange of these settings; whoever uses the same cache shares it."""
    return _today(settings.rest_url(series.market), settings.cache_dir)


@functools.lru_cache(maxsize=_EXCHANGES)
def _today(_url: str, _cache_dir: Path) -> Today:
    return Today()
