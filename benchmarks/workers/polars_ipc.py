"""polars.scan_ipc over the day files. Configuration: `day_files`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from benchmarks.workers.loop import serve

if TYPE_CHECKING:
    from collections.abc import Callable


def make(config: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """A function that scans the folder at each request, as a user's script does."""
    import polars as pl  # noqa: PLC0415 (the import is measured)

    def answer(request: dict[str, Any]) -> Any:
        bars = pl.scan_ipc(f"{config['day_files']}/*.arrow")
        if not request.get("whole"):
            first, last = (datetime.fromisoformat(request[name]).replace(tzinfo=UTC) for name in ("start", "end"))
            bars = bars.filter(pl.col("open_time").is_between(first, last, closed="left"))
        if request["task"] == "total":
            bars = bars.select(pl.len(), pl.col("volume").sum(), pl.col("high").max())
        elif request["task"].startswith("daily"):
            number = pl.col("open_time").dt.epoch("us") // 86_400_000_000
            day = number if request["task"] == "daily by number" else pl.col("open_time").dt.truncate("1d")
            bars = (
                bars.group_by(day.alias("day"))
                .agg(
                    pl.col("open").sort_by("open_time").first(),
                    pl.col("high").max(),
                    pl.col("low").min(),
                    pl.col("close").sort_by("open_time").last(),
                    pl.col("volume").sum(),
                )
                .sort("day")
            )
        else:
            return bars.collect().height
        return bars.collect().rows()

    return answer


if __name__ == "__main__":
    serve(make, ("polars",))
