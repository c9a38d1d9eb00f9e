"""Where a series' periods lie in a lake: keys are computed, so that nothing is ever listed. Pure.

    binance/market=spot/interval=1h/symbol=BTCUSDT/2023.parquet       a year of bars of 1h and longer
    binance/market=spot/interval=1m/symbol=BTCUSDT/2023-04.parquet    a month of shorter ones

Other engines read the folders' names as the columns `market`, `interval` and `symbol` (Hive partitioning).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckvd_sql.market.series import PROVIDER

if TYPE_CHECKING:
    from ckvd_sql.market.periods import FilePeriod
    from ckvd_sql.market.series import Series

#: Every Parquet file below the root of a lake.
EVERY_FILE = f"{PROVIDER}/market=*/interval=*/symbol=*/*.parquet"


def key_of(series: Series, period: FilePeriod) -> str:
    """The path of a period's file below the root of the lake."""
    return (
        f"{PROVIDER}/market={series.market.value}/interval={series.interval.name}/symbol={series.symbol}/"
        f"{period.name}.parquet"
    )
