"""Cost against size (days, rows, symbols), which has to be linear, without a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.contenders import NATIVE, PARQUET, PRODUCT
from benchmarks.goal import Goal
from benchmarks.goals.shared import request, workers_for
from benchmarks.results import Check, Line, Measurement, Plot
from benchmarks.timing import median

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.data import Data
    from benchmarks.results import GoalResult

_NAMES = (PRODUCT, NATIVE, PARQUET)


def _growth(bench: Bench, result: GoalResult) -> None:
    result.setup = "count, sum, max on a live connection"
    few = 3 if bench.quick else 1
    for name, x in (("minutes", "days of 1m"), ("hours", "days of 1h")):
        data = bench.data(name)
        sizes = [n for n in (1, 3, 7, 15, 30, 60, 120, 240, 365, 500, 730, 1096, 2000, 3287) if n <= data.set.days]
        sizes = sizes[::-few][::-1]
        requests = [request(data, "total", 0, size) for size in sizes]
        _measure(bench, result, data, x, sizes, requests)
    if bench.quick:
        return
    data = bench.data("symbols")
    sizes = [n for n in (1, 2, 5, 10, 20, 35, 50, 75, 100) if n <= data.set.symbols]
    requests = [
        request(data, "total") | {"symbols": data.set.names[:size], "all symbols": size == data.set.symbols}
        for size in sizes
    ]
    _measure(bench, result, data, f"symbols, {data.set.days} days of 1d each", sizes, requests)
    data = bench.data("seconds")
    sizes = [n for n in (1, 2, 5, 10, 20, 30, 45, 60) if n <= data.set.days]
    requests = [request(data, "total", 0, size) for size in sizes]
    rows = [round(size * 0.0864, 4) for size in sizes]
    _measure(bench, result, data, "million rows of 1s", rows, requests)


def _measure(
    bench: Bench,
    result: GoalResult,
    data: Data,
    x: str,
    sizes: list[float] | list[int],
    requests: list[dict[str, object]],
) -> None:
    lines = {name: Line(name, [], []) for name in _NAMES}
    with workers_for(data, _NAMES) as group:
        for size, task in zip(sizes, requests, strict=True):
            for name, seconds in group.take_turns(bench.turns(9, 3), task, warm=2).items():
                lines[name].sizes.append(size)
                lines[name].values.append(median(seconds) * 1000)
        bench.record_group(group)
    product = lines[PRODUCT]
    straight = np.polyval(np.polyfit(product.sizes, product.values, 1), product.sizes)
    deviation = float(np.abs(straight - product.values).max()) / max(product.values) * 100
    result.checks.append(
        Check(f"{x}: deviation from a linear fit, relative to the largest value", deviation, 15, unit="%")
    )
    for name, line in lines.items():
        result.measurements.append(Measurement(x, name, line.values[-1], "ms", None, 1, f"at {line.sizes[-1]:g}"))
    slug = x.partition(",")[0].replace(" ", "-")
    result.plots.append(Plot(slug, f"Count, sum, max over {x}", x, "ms", list(lines.values())))


GROWTH = Goal("growth", "Cost against size", _growth)
