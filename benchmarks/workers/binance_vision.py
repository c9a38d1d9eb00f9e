"""The package binance-vision, which returns a pandas frame of the zips that it downloads.

Configuration: `url`, `concurrency`, and `monthly`, without which its monthly archives are disabled.
"""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from benchmarks.workers.loop import serve

if TYPE_CHECKING:
    from collections.abc import Callable


def make(config: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """A function that downloads a range."""
    from binance_vision import _core  # noqa: PLC0415 (not part of the download)

    _core.BASE_URL = config["url"]
    if not config["monthly"]:
        spec = _core._REGISTRY["spot", "klines"]  # noqa: SLF001 (it has no option for this)
        _core._REGISTRY["spot", "klines"] = dataclasses.replace(spec, granularities=("daily",))  # noqa: SLF001 (likewise)

    def answer(request: dict[str, Any]) -> Any:
        last = date.fromisoformat(request["end"]) - timedelta(days=1)
        got = _core.fetch_data(
            request["symbols"][0],
            request["start"],
            last,
            "spot",
            "klines",
            request["interval"],
            max_workers=config["concurrency"],
        )
        if got.failed or got.missing:
            raise ValueError(f"failed: {got.failed[:1]}, missing: {got.missing[:1]}")
        return [[len(got.data), got.data["volume"].sum(), got.data["high"].max()]]

    return answer


if __name__ == "__main__":
    serve(make, ("binance-vision", "pandas"))
