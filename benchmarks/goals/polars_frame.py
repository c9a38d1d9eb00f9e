"""The same request to crypto-kline-vision-data, which has a cache of day files too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import FRAMES, LEGACY, PRODUCT
from benchmarks.goal import Goal
from benchmarks.goals.shared import request, workers_for
from benchmarks.results import Check, Measurement
from benchmarks.timing import median, ratio

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.results import GoalResult


def _polars_frame(bench: Bench, result: GoalResult) -> None:
    task = "364 days of 1m"
    result.setup = f"{task}, from a warm cache"
    data = bench.data("minutes")
    with workers_for(data, (FRAMES, LEGACY, PRODUCT)) as group:
        times = group.take_turns(bench.turns(7, 2), request(data, "total", 1, 365))
        bench.record_group(group)
    for name, seconds in times.items():
        relative = ratio(seconds, times[FRAMES])
        result.measurements.append(Measurement(task, name, median(seconds) * 1000, "ms", relative, len(seconds)))
    if LEGACY in times:
        as_frame, in_sql = (ratio(times[LEGACY], times[name]) for name in (FRAMES, PRODUCT))
        result.checks += [
            Check("speed-up, as a polars frame", as_frame, 50, at_most=False),
            Check("speed-up, count and sum in SQL", in_sql, 50, at_most=False),
        ]
    result.notes += [
        f"{PRODUCT} computes count, sum and max of the same days in SQL; the others return the rows.",
    ]


POLARS_FRAME = Goal("polars-frame", "All rows as a polars frame", _polars_frame)
