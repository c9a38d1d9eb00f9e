"""Whether bars are regular: on the grid, closed at its end, and possible in themselves. Pure.

On irregular days, mostly outages, archives of a month and of the day disagree (binance-public-data #475).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ckvd_sql.market.bars import close_times, open_times
from ckvd_sql.market.grid import on_grid
from ckvd_sql.market.series import Market

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from ckvd_sql.market.series import Series

    Floats = npt.NDArray[np.float64]

#: Relative and absolute error up to which sums and products of rounded decimals are taken as equal.
_RELATIVE, _ABSOLUTE = 1e-6, 1e-6

#: The sizes of coin-margined contracts, in USD: 100 for bitcoin, 10 for all others.
_CONTRACTS = (10, 100)


def is_regular(series: Series, bars: pa.RecordBatch) -> bool:
    """Whether each bar has the grid's times and values that a bar can have; gaps are looked for by `market.gaps`.

    Only for intervals up to a day.
    """
    opens, step = open_times(bars), series.interval.step
    return (
        step is not None
        and bool(on_grid(series.interval, opens).all())
        and bool((close_times(bars) == opens + step - 1).all())
        and bool(possible(series.market, bars).all())
    )


def possible(market: Market, bars: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """For each bar whether its values fit each other: whether it breaks none of the rules of `broken_rules`."""
    broken = list(broken_rules(market, bars).values())
    return np.asarray(~np.logical_or.reduce(broken), dtype=bool)


def broken_rules(market: Market, bars: pa.RecordBatch) -> dict[str, npt.NDArray[np.bool_]]:
    """For each rule about the values of one bar, the bars that break it.

    `prices`: low <= open, close <= high. `quote_volume`: low x volume <= quote volume <= high x volume; on
    coin-margined futures, where volume counts contracts, what these are worth at high and low. `taker_volume`: taker
    volumes are no larger than the volumes. `trades`: no trades exactly where there is no volume.
    """
    values = {name: bars.column(name).to_numpy() for name in bars.schema.names if not name.endswith("_time")}
    low, high, volume, quote = (values[name] for name in ("low", "high", "volume", "quote_volume"))
    taker, taker_quote = values["taker_buy_volume"], values["taker_buy_quote_volume"]
    fits = {
        "prices": (low <= np.minimum(values["open"], values["close"]))
        & (high >= np.maximum(values["open"], values["close"])),
        "quote_volume": _contracts_fit(low, high, volume, quote)
        if market is Market.CM
        else _at_most(low * volume, quote) & _at_most(quote, high * volume),
        "taker_volume": _at_most(taker, volume) & _at_most(taker_quote, quote),
        "trades": (values["trades"] == 0) == (volume == 0),
    }
    return {rule: ~np.asarray(holds, dtype=bool) for rule, holds in fits.items()}


def _contracts_fit(low: Floats, high: Floats, contracts: Floats, quote: Floats) -> npt.NDArray[np.bool_]:
    """Whether a volume of contracts is worth the quote volume, which is in the base asset, for any contract size."""
    fits = [_at_most(contracts * size, quote * high) & _at_most(quote * low, contracts * size) for size in _CONTRACTS]
    return np.asarray(np.logical_or.reduce(fits), dtype=bool)


def _at_most(less: Floats, more: Floats) -> npt.NDArray[np.bool_]:
    return np.asarray(less <= more * (1 + _RELATIVE) + _ABSOLUTE, dtype=bool)
