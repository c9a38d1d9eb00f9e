"""Item 9: the same question to crypto-kline-vision-data, which keeps a cache of day files too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import FRAMES, LEGACY, PRODUCT
from benchmarks.goals.live import collect, field_of, request
from benchmarks.outcome import Check, Outcome, Row
from benchmarks.timing import median, ratio

if TYPE_CHECKING:
    from benchmarks.bench import Bench


def legacy(bench: Bench) -> Outcome:
    """Item 9: 364 days of 1m as a polars frame, from a warm cache."""
    outcome = Outcome("9", "Warm: 364 days of 1m, all rows as a polars frame")
    data = bench.data("minutes")
    with field_of(data, (FRAMES, LEGACY, PRODUCT)) as field:
        times = field.turns(bench.rounds(7, 2), request(data, "total", 1, 365))
        collect(bench, field)
    for name, seconds in times.items():
        others = ratio(seconds, times[FRAMES])
        outcome.rows.append(Row("364 days of 1m", name, median(seconds) * 1000, "ms", others, len(seconds)))
    if LEGACY in times:
        faster = ratio(times[LEGACY], times[FRAMES])
        in_sql = ratio(times[LEGACY], times[PRODUCT])
        outcome.checks.append(Check("faster, as a polars frame", faster, 50, at_most=False))
        outcome.checks.append(Check("faster, count and sum in SQL", in_sql, 50, at_most=False))
    outcome.notes.append(f"{PRODUCT} is the same days' count, sum and max in SQL; the others give the rows.")
    return outcome
