"""Where many times at once lie on an interval's grid, as arrays of microseconds since the epoch. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from ckvd_sql.market.series import Interval


def grid_slots(interval: Interval, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each time, in microseconds, the slot of the interval's grid in which it lies, as `Interval.slot`."""
    if interval.step is None:
        return np.array([interval.slot(int(one)) for one in times], dtype=np.int64)
    return np.asarray((times - (interval.phase or 0)) // interval.step, dtype=np.int64)


def on_grid(interval: Interval, times: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """For each open time whether the grid opens a bar there; true where the grid is not known."""
    if not interval.grid_known:
        return np.ones(len(times), dtype=bool)
    if interval.step is None:
        return np.array([interval.open_time(interval.slot(int(one))) == one for one in times], dtype=bool)
    return np.asarray((times - (interval.phase or 0)) % interval.step == 0, dtype=bool)
