"""Anonymous memory while more 1s bars are scanned than the limit has room for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import NATIVE, PARQUET, PRODUCT, worker_for
from benchmarks.goal import Goal
from benchmarks.goals.shared import request
from benchmarks.results import Check, Measurement
from benchmarks.timing import AnonymousPeak, median

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.results import GoalResult

_MB = 1_000_000


def _scan_memory(bench: Bench, result: GoalResult) -> None:
    data = bench.data("seconds")
    rows = data.set.days * 86_400
    result.setup = f"{data.set.days} days of 1s, {rows / 1e6:.1f} M rows, {rows * 88 / 1e6:.0f} MB"
    for title, task in (
        ("count, sum, max", request(data, "total")),
        ("every column, batch by batch", request(data, "rows") | {"stream": True}),
    ):
        for name in (PRODUCT, PARQUET, NATIVE):
            growth, times = [], []
            for _ in range(bench.turns(3, 1)):
                with worker_for(name, data) as worker, AnonymousPeak(worker.pid) as peak:
                    times += worker.run(**task)["seconds"]
                bench.record(worker)
                growth.append((peak.peak - peak.before) / _MB)
            details = f"{median(times) * 1000:.0f} ms; {peak.before / _MB:.0f} MB before"
            result.measurements.append(Measurement(title, name, median(growth), "MB", None, len(growth), details))
            if name == PRODUCT:
                result.checks.append(Check(f"{title}: growth of the process", median(growth), 150, unit="MB"))


SCAN_MEMORY = Goal("scan-memory", "Memory while 1s bars are scanned", _scan_memory)
