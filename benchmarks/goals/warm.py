"""Queries on cached days and a live connection, over years and over a day or a week."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import CHDB, DATASET, NATIVE, PARQUET, POLARS, PRODUCT
from benchmarks.goal import Goal
from benchmarks.goals.shared import add_times, request, workers_for
from benchmarks.results import Check, Measurement
from benchmarks.timing import median, percentile, ratio

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.contenders import WorkerGroup
    from benchmarks.data import Data
    from benchmarks.results import GoalResult

_STATEMENTS_A_TURN = 20  # so that a turn is long enough to be compared with another contender's


def _two_years(bench: Bench, result: GoalResult) -> None:
    data = bench.data("minutes")
    result.setup = f"{data.set.days} day files, {data.set.days * 1440 / 1e6:.2f} M rows"
    requests = {
        "count, sum, max": request(data, "total"),
        "daily OHLC": request(data, "daily"),
        "daily OHLC, days as numbers": request(data, "daily by number"),
        "one month": request(data, "total", 365, 395),
        "one month by WHERE": request(data, "total", 365, 395) | {"within": [data.set.start, data.set.end]},
    }
    with workers_for(data, (PRODUCT, NATIVE, PARQUET, DATASET, POLARS, CHDB)) as group:
        for title, task in requests.items():
            times = group.take_turns(bench.turns(21, 4), task, warm=bench.turns(2, 1))
            add_times(result, title, times, group)
            native, parquet, product = (times[name] for name in (NATIVE, PARQUET, PRODUCT))
            result.checks += [
                Check(f"{title}: time relative to the native table", ratio(product, native), 1.3),
                Check(f"{title}: speed-up over Parquet", ratio(parquet, product), 4, at_most=False),
            ]
        bench.record_group(group)


def _day_and_week(bench: Bench, result: GoalResult) -> None:
    result.setup = "all columns to Arrow, another range with each statement"
    turns = bench.turns(15, 3)
    for name in ("hours", "minutes"):
        data = bench.data(name)
        with workers_for(data, (PRODUCT, NATIVE, PARQUET)) as group:
            for title, days in (("a day", 1), ("a week", 7)):
                times = _statement_times(group, data, days, turns)
                task = f"{title} of {data.set.interval}"
                for contender, seconds in times.items():
                    relative = ratio(seconds, times[PRODUCT])
                    details = f"p99 {percentile(seconds, 0.99) * 1000:.2f} ms"
                    result.measurements.append(
                        Measurement(task, contender, median(seconds) * 1000, "ms", relative, len(seconds), details)
                    )
                product, native = times[PRODUCT], times[NATIVE]
                result.checks += [
                    Check(f"{task}: p99", percentile(product, 0.99) * 1000, 10, unit="ms"),
                    Check(f"{task}: time relative to the native table", ratio(product, native), 3),
                ]
            bench.record_group(group)


def _statement_times(group: WorkerGroup, data: Data, days: int, turns: int) -> dict[str, list[float]]:
    """Seconds of each statement; the contenders take turns of several statements each."""
    times: dict[str, list[float]] = {name: [] for name in group.workers}
    for turn in range(turns + 1):
        numbers = range(turn * _STATEMENTS_A_TURN, (turn + 1) * _STATEMENTS_A_TURN)
        firsts = [1 + number * 17 % (data.set.days - days - 1) for number in numbers]
        batch = [request(data, "rows", first, first + days) for first in firsts]
        for name, worker in group.workers.items():
            reply = worker.run(batch=batch)
            if turn:
                times[name] += reply["seconds"]
    return times


WARM_LONG_RANGE = Goal(
    "warm-long-range",
    "Warm queries over two years of 1m",
    _two_years,
    reason_for_miss=(
        "DuckDB binds a Python dataset more slowly than a native table, and more slowly still with arguments that "
        "it has not seen before, so only long scans come close to the native table. The same overhead bounds the "
        "speed-up over Parquet on a single month. Below that are four system calls a file (open, fstat, mmap or "
        "read, close; a month or a year is one file), 88 bytes a row, and DuckDB's own scan, which is as fast over "
        "mapped packs as over a native table. A filter on open_time is tested by year, month, part of the month and "
        "day before anything is read. Casting a TIMESTAMPTZ to a date goes through the time zone database and takes "
        "longer than the rest of the statement, with every contender."
    ),
)

WARM_SHORT_RANGE = Goal(
    "warm-short-range",
    "Warm statements over a day and a week",
    _day_and_week,
    reason_for_miss=(
        "`con.sql(...).to_arrow_table()` binds a statement twice, each time with the overhead described under "
        "`warm-long-range`. The slowest statement in a hundred coincides with a pause of Python's garbage "
        "collector, or with other load on the machine."
    ),
)
