"""Items 1 and 2: warm queries on a connection that lives, over years and over a day or a week."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import CHDB, DATASET, NATIVE, PARQUET, POLARS, PRODUCT, Field, Worker, reader
from benchmarks.outcome import Check, Outcome, Row
from benchmarks.timing import median, percentile, ratio

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.data import Data

_TURN = 20  # statements a turn, so that a turn is long enough to be timed beside another contender's


def field_of(data: Data, names: tuple[str, ...]) -> Field:
    """These contenders over a data set."""
    return Field({name: functools.partial(reader, name, data) for name in names})


def request(data: Data, work: str, first: int = 0, last: int | None = None) -> dict[str, Any]:
    """A piece of work on some days of a data set, by their numbers; all days without."""
    days = data.set.days if last is None else last
    return {
        "work": work,
        "symbols": data.set.names,
        "interval": data.set.interval,
        "start": data.set.day(first),
        "end": data.set.day(days),
        "whole": first == 0 and days == data.set.days,
        "all symbols": True,
    }


def add_rows(outcome: Outcome, work: str, times: dict[str, list[float]], field: Field) -> None:
    """A row a contender: its median, and that as a multiple of the product's, turn by turn."""
    for name, seconds in times.items():
        others = ratio(seconds, times[PRODUCT]) if PRODUCT in times else None
        extra = f"{field.cpu[name] * 1000:.1f} ms CPU"
        outcome.rows.append(Row(work, name, median(seconds) * 1000, "ms", others, len(seconds), extra))


def two_years(bench: Bench) -> Outcome:
    """Item 1: two years of 1m on a live connection."""
    outcome = Outcome("1", "Warm: two years of 1m (730 day files, 1.05 M rows)")
    data = bench.data("minutes")
    work = {
        "count, sum, max": request(data, "total"),
        "daily OHLC": request(data, "daily"),
        "daily OHLC, days as numbers": request(data, "daily by number"),
        "one month of them": request(data, "total", 365, 395),
        "one month by WHERE": request(data, "total", 365, 395) | {"within": [data.set.start, data.set.end]},
    }
    with field_of(data, (PRODUCT, NATIVE, PARQUET, DATASET, POLARS, CHDB)) as field:
        for title, asked in work.items():
            times = field.turns(bench.rounds(21, 4), asked, warm=bench.rounds(2, 1))
            add_rows(outcome, title, times, field)
            native, parquet, product = (times[name] for name in (NATIVE, PARQUET, PRODUCT))
            outcome.checks.append(Check(f"{title}: of the native table's time", ratio(product, native), 1.3))
            outcome.checks.append(Check(f"{title}: faster than Parquet", ratio(parquet, product), 4, at_most=False))
        collect(bench, field)
    return outcome


def small_ranges(bench: Bench) -> Outcome:
    """Item 2: a day and a week, another one with each statement, rows to Arrow."""
    outcome = Outcome("2", "Warm: a day and a week, whole statement (all columns to Arrow), another range each time")
    turns = bench.rounds(15, 3)
    for name in ("hours", "minutes"):
        data = bench.data(name)
        with field_of(data, (PRODUCT, NATIVE, PARQUET)) as field:
            for title, days in (("a day", 1), ("a week", 7)):
                times = _statements(field, data, days, turns)
                what = f"{title} of {data.set.interval}"
                for contender, seconds in times.items():
                    high = percentile(seconds, 0.99) * 1000
                    others = ratio(seconds, times[PRODUCT])
                    outcome.rows.append(
                        Row(what, contender, median(seconds) * 1000, "ms", others, len(seconds), f"p99 {high:.2f} ms")
                    )
                product = times[PRODUCT]
                outcome.checks.append(Check(f"{what}: p99", percentile(product, 0.99) * 1000, 10, unit="ms"))
                outcome.checks.append(Check(f"{what}: of the native table's time", ratio(product, times[NATIVE]), 3))
            collect(bench, field)
    return outcome


def _statements(field: Field, data: Data, days: int, turns: int) -> dict[str, list[float]]:
    """Seconds a statement, the contenders taking turns of some statements each."""
    times: dict[str, list[float]] = {name: [] for name in field.workers}
    for turn in range(turns + 1):
        first = [1 + (turn * _TURN + n) * 17 % (data.set.days - days - 1) for n in range(_TURN)]
        batch = [request(data, "rows", one, one + days) for one in first]
        for name, worker in field.workers.items():
            said = worker.ask(batch=batch)
            if turn:
                times[name] += said["seconds"]
    return times


def collect(bench: Bench, field: Field) -> None:
    """Note versions, and who was absent."""
    for worker in field.workers.values():
        bench.versions |= worker.versions
    bench.absent |= field.absent


def collect_one(bench: Bench, worker: Worker) -> None:
    """Note one worker's versions."""
    bench.versions |= worker.versions
