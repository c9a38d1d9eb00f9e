"""Cost against size: days, rows, symbols. A goal of its own: it grows linearly, with no step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.contenders import NATIVE, PARQUET, PRODUCT
from benchmarks.goals.live import collect, field_of, request
from benchmarks.outcome import Check, Line, Outcome, Plot, Row
from benchmarks.timing import median

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.data import Data

_NAMES = (PRODUCT, NATIVE, PARQUET)


def cost_against_size(bench: Bench) -> Outcome:
    """Count, sum and max over more and more days, rows and symbols, on a live connection."""
    outcome = Outcome("growth", "Cost against size, live connection")
    few = 3 if bench.quick else 1
    for name, x in (("minutes", "days of 1m"), ("hours", "days of 1h")):
        data = bench.data(name)
        sizes = [n for n in (1, 3, 7, 15, 30, 60, 120, 240, 365, 500, 730, 1096, 2000, 3287) if n <= data.set.days]
        sizes = sizes[::-few][::-1]
        asked = [request(data, "total", 0, size) for size in sizes]
        _measure(bench, outcome, data, x, sizes, asked)
    if bench.quick:
        return outcome
    data = bench.data("symbols")
    sizes = [n for n in (1, 2, 5, 10, 20, 35, 50, 75, 100) if n <= data.set.symbols]
    asked = [
        request(data, "total") | {"symbols": data.set.names[:size], "all symbols": size == data.set.symbols}
        for size in sizes
    ]
    _measure(bench, outcome, data, f"symbols, {data.set.days} days of 1d each", sizes, asked)
    data = bench.data("seconds")
    sizes = [n for n in (1, 2, 5, 10, 20, 30, 45, 60) if n <= data.set.days]
    asked = [request(data, "total", 0, size) for size in sizes]
    rows = [round(size * 0.0864, 4) for size in sizes]
    _measure(bench, outcome, data, "million rows of 1s", rows, asked)
    return outcome


def _measure(
    bench: Bench, outcome: Outcome, data: Data, x: str, sizes: list[float] | list[int], asked: list[dict[str, object]]
) -> None:
    lines = {name: Line(name, [], []) for name in _NAMES}
    with field_of(data, _NAMES) as field:
        for size, one in zip(sizes, asked, strict=True):
            for name, seconds in field.turns(bench.rounds(9, 3), one, warm=2).items():
                lines[name].sizes.append(size)
                lines[name].values.append(median(seconds) * 1000)
        collect(bench, field)
    product = lines[PRODUCT]
    straight = np.polyval(np.polyfit(product.sizes, product.values, 1), product.sizes)
    off = float(np.abs(straight - product.values).max()) / max(product.values) * 100
    outcome.checks.append(Check(f"{x}: farthest from a straight line, of the largest", off, 15, unit="%"))
    for name, line in lines.items():
        outcome.rows.append(Row(x, name, line.values[-1], "ms", None, 1, f"at {line.sizes[-1]:g}"))
    slug = x.partition(",")[0].replace(" ", "-")
    outcome.plots.append(Plot(slug, f"Count, sum, max over {x}", x, "ms", list(lines.values())))
