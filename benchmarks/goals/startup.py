"""Item 10: getting going."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import Worker
from benchmarks.outcome import Check, Outcome, Row
from benchmarks.timing import median, ratio

if TYPE_CHECKING:
    from benchmarks.bench import Bench


def imports(bench: Bench) -> Outcome:
    """Item 10: `import ckvd_sql` and `connect()` in a fresh process, beside the imports it can't do without."""
    outcome = Outcome("10", "import ckvd_sql and connect(), fresh process")
    times: dict[str, list[float]] = {"product": [], "parts": []}
    for turn in range(bench.rounds(11, 3) + 1):
        for what, seconds in times.items():
            with Worker("startup", {"what": what}) as worker:
                pass
            if turn:
                seconds.append(worker.ready)
    names = {"product": "import ckvd_sql; connect()", "parts": "import duckdb, pyarrow, polars"}
    for what, seconds in times.items():
        others = ratio(seconds, times["product"])
        outcome.rows.append(Row("fresh process", names[what], median(seconds) * 1000, "ms", others, len(seconds)))
    outcome.checks.append(Check("of the imports' time", ratio(times["product"], times["parts"]), 1.5))
    return outcome
