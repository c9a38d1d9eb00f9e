"""crypto-kline-vision-data: `get_data(return_polars=True)` from a cache that its own function filled, offline.

Configuration: `cache`, `parquet`, `symbol`, `interval`.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.workers.loop import serve

if TYPE_CHECKING:
    from collections.abc import Callable

_UNREACHABLE = "http://127.0.0.1:9"


def make(config: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """A client over a filled cache, and a function that gets a polars frame from it."""
    os.environ.update(dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), _UNREACHABLE))
    from ckvd import CryptoKlineVisionData, DataProvider, Interval, MarketType  # noqa: PLC0415 (measured)

    client = CryptoKlineVisionData(DataProvider.BINANCE, MarketType.SPOT, cache_dir=Path(config["cache"]))
    if not list(Path(config["cache"]).rglob("*.arrow")):
        _fill(client, config, Interval)

    def answer(request: dict[str, Any]) -> Any:
        first, last = (
            datetime.fromisoformat(request[name]).replace(tzinfo=timezone.utc)  # noqa: UP017 (as in its documentation)
            for name in ("start", "end")
        )
        frame = client.get_data(request["symbols"][0], first, last, Interval(request["interval"]), return_polars=True)
        return [[frame.height, frame["volume"].sum(), frame["high"].max()]]

    return answer


def _fill(client: Any, config: dict[str, Any], intervals: Any) -> None:
    import polars as pl  # noqa: PLC0415 (needed once)

    bars = pl.read_parquet(f"{config['parquet']}/*.parquet").drop("symbol")
    frame = bars.with_columns(pl.col("open_time", "close_time").dt.cast_time_unit("ns")).rename(
        {
            "quote_volume": "quote_asset_volume",
            "trades": "count",
            "taker_buy_quote_volume": "taker_buy_quote_volume",
        }
    )
    client._save_to_cache(frame.to_pandas(), config["symbol"], intervals(config["interval"]))  # noqa: SLF001 (its own)


if __name__ == "__main__":
    serve(make, ("crypto-kline-vision-data", "polars"))
