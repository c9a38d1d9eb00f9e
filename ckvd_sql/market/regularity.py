"""Whether a day's bars are regular: every bar of the grid there, on it, and possible in itself. Pure.

On irregular days, mostly outages, archives of a month and of the day disagree (binance-public-data #475).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ckvd_sql.market.bars import close_times, open_times
from ckvd_sql.market.gaps import gaps_of_day
from ckvd_sql.market.series import Market

if TYPE_CHECKING:
    from datetime import date

    import numpy.typing as npt
    import pyarrow as pa

    from ckvd_sql.market.series import Series

#: Relative and absolute error up to which sums and products of rounded decimals are taken as equal.
_RELATIVE, _ABSOLUTE = 1e-6, 1e-6


def is_regular(series: Series, day: date, bars: pa.RecordBatch) -> bool:
    """Whether a day has every bar of its grid, each with the grid's times and with values that a bar can have.

    Only for intervals up to a day.
    """
    step = series.interval.step
    if step is None or gaps_of_day(series.interval, day, bars):
        return False
    opens = open_times(bars)
    on_grid = (opens - (series.interval.phase or 0)) % step == 0
    return bool(on_grid.all() and (close_times(bars) == opens + step - 1).all() and possible(series.market, bars).all())


def possible(market: Market, bars: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """For each bar whether its values fit each other.

    low <= open, close <= high; low x volume <= quote volume <= high x volume (not on coin-margined futures, where
    volume counts contracts); taker volumes no larger than the volumes; no trades exactly where there is no volume.
    """
    values = {name: bars.column(name).to_numpy() for name in bars.schema.names if not name.endswith("_time")}
    low, high, volume, quote = (values[name] for name in ("low", "high", "volume", "quote_volume"))
    fits = (low <= np.minimum(values["open"], values["close"])) & (high >= np.maximum(values["open"], values["close"]))
    fits &= (values["trades"] == 0) == (volume == 0)
    fits &= _at_most(values["taker_buy_volume"], volume) & _at_most(values["taker_buy_quote_volume"], quote)
    if market is not Market.CM:
        fits &= _at_most(low * volume, quote) & _at_most(quote, high * volume)
    return np.asarray(fits, dtype=bool)


def _at_most(less: npt.NDArray[np.float64], more: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.asarray(less <= more * (1 + _RELATIVE) + _ABSOLUTE, dtype=bool)
