"""The two views over the cache, with a hundred thousand day files in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import PRODUCT
from benchmarks.goal import Goal
from benchmarks.goals.shared import request, workers_for
from benchmarks.results import Check, Measurement
from benchmarks.timing import median

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.results import GoalResult

_FILES = 100_000


def _cache_views(bench: Bench, result: GoalResult) -> None:
    data = bench.data("symbols")
    files = data.set.days * data.set.symbols
    result.setup = f"{files:,} day files"
    for inventory in data.cache.rglob(".packs/inventory"):
        inventory.unlink()
    with workers_for(data, (PRODUCT,)) as group:
        seconds = group.take_turns(1, request(data, "days of cache"), warm=0)[PRODUCT]
    result.measurements.append(
        Measurement(
            "ckvd_cache_days, no inventory yet", PRODUCT, seconds[0] * 1000, "ms", None, 1, "opens every day file"
        )
    )
    for title, task, limit in (
        ("ckvd_cache_days, all of it", "days of cache", 1000),
        ("ckvd_cache, a month of one symbol", "pruned cache", 100),
    ):
        with workers_for(data, (PRODUCT,)) as group:
            symbol_month = request(data, task, 200, 230) | {"symbols": data.set.names[-1:]}
            first = group.take_turns(1, symbol_month, warm=0)[PRODUCT]
            times = group.take_turns(bench.turns(7, 2), symbol_month, warm=0)[PRODUCT]
            bench.record_group(group)
        details = f"first query of the process {first[0] * 1000:.0f} ms"
        result.measurements.append(Measurement(title, PRODUCT, median(times) * 1000, "ms", None, len(times), details))
        result.checks += [
            Check(title, median(times) * 1000, limit, unit="ms"),
            Check(f"{title}, first query of a process", first[0] * 1000, limit, unit="ms"),
        ]
    if files < _FILES:
        result.notes.append(f"Measured over {files:,} files, not {_FILES:,}.")


CACHE_VIEWS = Goal("cache-views", "The views over the cache", _cache_views)
