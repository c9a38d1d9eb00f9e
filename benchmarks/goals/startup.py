"""Import and connection in a fresh process, beside the imports that they can't do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import Worker
from benchmarks.goal import Goal
from benchmarks.results import Check, Measurement
from benchmarks.timing import median, ratio

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.results import GoalResult

_NAMES = {"product": "import ckvd_sql; connect()", "dependencies": "import duckdb, pyarrow, polars"}


def _startup(bench: Bench, result: GoalResult) -> None:
    result.setup = "fresh process"
    times: dict[str, list[float]] = {what: [] for what in _NAMES}
    for turn in range(bench.turns(11, 3) + 1):
        for what, seconds in times.items():
            with Worker("startup", {"what": what}) as worker:
                pass
            if turn:
                seconds.append(worker.ready)
    for what, seconds in times.items():
        relative = ratio(seconds, times["product"])
        result.measurements.append(
            Measurement("fresh process", _NAMES[what], median(seconds) * 1000, "ms", relative, len(seconds))
        )
    share = ratio(times["product"], times["dependencies"])
    result.checks.append(Check("time relative to the imports of its dependencies", share, 1.5))


STARTUP = Goal("startup", "import ckvd_sql and connect()", _startup)
