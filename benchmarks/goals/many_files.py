"""Thousands of day files, and a hundred symbols, in a fresh process and on a live connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import (
    DATASET,
    NATIVE,
    NATIVE_FILE,
    PARQUET,
    PRODUCT,
    TOGETHER,
    UNMAPPED,
    AbsentError,
    check_answers,
    worker_for,
)
from benchmarks.goal import Goal
from benchmarks.goals.shared import add_times, request, workers_for
from benchmarks.results import Check, Measurement
from benchmarks.timing import TurnLimit, evict, median, ratio

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.data import Data
    from benchmarks.results import GoalResult


@dataclass(slots=True)
class _FreshTimes:
    """What fresh processes of a contender needed, in seconds a turn.

    Attributes:
        seconds: The first query.
        cpu: The CPU time of it.
        ready: Imports and connection, before it.
    """

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)


def _fresh_times(
    bench: Bench, data: Data, names: tuple[str, ...], task: dict[str, Any], turns: int, *, page_cache: bool = True
) -> dict[str, _FreshTimes]:
    """The contenders' first queries, each in a process of its own.

    With `page_cache` the system has the files in memory; without, they are evicted before each run.
    """
    times = {name: _FreshTimes() for name in names}
    answers = {}
    warm = 1 if page_cache else 0
    limit = TurnLimit(warm)
    for turn in range(warm + turns):
        if limit.reached(turn):
            break
        for name in list(times):
            if not page_cache:
                evict([data.root])
            try:
                with worker_for(name, data) as worker:
                    reply = worker.run(**task)
            except AbsentError as error:
                bench.absent[name] = str(error)
                del times[name]
                continue
            bench.record(worker)
            answers[name] = reply["answer"]
            if turn >= warm:
                times[name].seconds += reply["seconds"]
                times[name].cpu.append(reply["cpu"])
                times[name].ready.append(worker.ready)
    check_answers(answers)
    return times


def _add_fresh_times(result: GoalResult, task: str, times: dict[str, _FreshTimes]) -> None:
    for name, one in times.items():
        details = (
            f"{median(one.cpu) * 1000:.0f} ms CPU; after {median(one.ready) * 1000:.0f} ms of imports and connection"
        )
        relative = ratio(one.seconds, times[PRODUCT].seconds)
        result.measurements.append(
            Measurement(task, name, median(one.seconds) * 1000, "ms", relative, len(one.seconds), details)
        )


def _many_days(bench: Bench, result: GoalResult) -> None:
    names = ("hours",) if bench.quick else ("hours", "dailies")
    sets = [bench.data(name) for name in names]
    result.setup = f"{sets[0].set.days:,} day files of {', and of '.join(data.set.interval for data in sets)}"
    turns = bench.turns(7, 2)
    for data in sets:
        task, interval = request(data, "total"), data.set.interval
        contenders = (PRODUCT, PARQUET) if bench.quick else (PRODUCT, PARQUET, NATIVE_FILE, DATASET)
        fresh = _fresh_times(bench, data, contenders, task, turns)
        _add_fresh_times(result, f"{interval}: first query of a process, files in the page cache", fresh)
        share = ratio(fresh[PRODUCT].seconds, fresh[PARQUET].seconds)
        result.checks.append(Check(f"{interval}, fresh process: time relative to Parquet", share, 1))
        if not bench.quick:
            evicted = _fresh_times(bench, data, (PRODUCT, PARQUET, NATIVE_FILE), task, turns, page_cache=False)
            _add_fresh_times(result, f"{interval}: first query of a process, files evicted", evicted)
        with workers_for(data, (PRODUCT, NATIVE, PARQUET)) as group:
            times = group.take_turns(bench.turns(21, 5), task, warm=2)
            bench.record_group(group)
        add_times(result, f"{interval}: live connection", times, group)
        native, parquet, product = (times[name] for name in (NATIVE, PARQUET, PRODUCT))
        result.checks += [
            Check(f"{interval}, live connection: time relative to the native table", ratio(product, native), 1.3),
            Check(f"{interval}, live connection: speed-up over Parquet", ratio(parquet, product), 4, at_most=False),
        ]
    minutes = bench.data("minutes")
    fresh = _fresh_times(bench, minutes, (PRODUCT, UNMAPPED), request(minutes, "total"), turns)
    _add_fresh_times(result, f"{minutes.set.days} days of 1m: first query of a process, files in the page cache", fresh)


def _many_symbols(bench: Bench, result: GoalResult) -> None:
    data = bench.data("symbols")
    result.setup = f"{data.set.symbols} symbols, {data.set.days:,} days of 1d each"
    task = request(data, "by symbol")
    fresh = _fresh_times(bench, data, (PRODUCT, PARQUET, TOGETHER), task, bench.turns(5, 2))
    _add_fresh_times(result, "first query of a process, files in the page cache", fresh)
    with workers_for(data, (PRODUCT, PARQUET, TOGETHER, NATIVE)) as group:
        times = group.take_turns(bench.turns(11, 4), task, warm=2)
        bench.record_group(group)
    add_times(result, "live connection", times, group)
    fresh_seconds = {name: one.seconds for name, one in fresh.items()}
    for process, seconds in (("fresh process", fresh_seconds), ("live connection", times)):
        for parquet, layout in ((PARQUET, "a file a symbol and month"), (TOGETHER, "a file a month")):
            share = ratio(seconds[PRODUCT], seconds[parquet])
            result.checks.append(Check(f"{process}: time relative to Parquet ({layout})", share, 1.5))


MANY_DAYS = Goal(
    "many-days",
    "Years of day files in one query",
    _many_days,
    reason_for_miss=(
        "The first query of a process is within its limit. On a live connection, where a native table takes one or "
        "two milliseconds, the overhead described under `warm-long-range` prevails."
    ),
)

MANY_SYMBOLS = Goal(
    "many-symbols",
    "Many symbols in one query",
    _many_symbols,
    reason_for_miss=(
        "A symbol costs a stat of its folder, a lookup of its days and a batch a year, and in a fresh process the "
        "opening of three packs. Parquet with all symbols in one file a month has a hundredth of the files."
    ),
)
