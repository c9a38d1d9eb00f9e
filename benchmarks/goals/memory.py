"""Item 7: anonymous memory while 1s bars are scanned that are larger than it may become."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import NATIVE, PARQUET, PRODUCT, reader
from benchmarks.goals.live import collect_one, request
from benchmarks.outcome import Check, Outcome, Row
from benchmarks.timing import AnonymousPeak, median

if TYPE_CHECKING:
    from benchmarks.bench import Bench

_MB = 1_000_000


def seconds(bench: Bench) -> Outcome:
    """Item 7: 60 days of 1s, summed up, and read to the end batch by batch."""
    data = bench.data("seconds")
    rows = data.set.days * 86_400
    outcome = Outcome("7", f"{data.set.days} days of 1s ({rows / 1e6:.1f} M rows, {rows * 88 / 1e6:.0f} MB) scanned")
    for title, asked in (
        ("count, sum, max", request(data, "total")),
        ("every column, batch by batch", request(data, "rows") | {"stream": True}),
    ):
        for name in (PRODUCT, PARQUET, NATIVE):
            grown, times = [], []
            for _ in range(bench.rounds(3, 1)):
                with reader(name, data) as worker, AnonymousPeak(worker.pid) as peak:
                    times += worker.ask(**asked)["seconds"]
                collect_one(bench, worker)
                grown.append((peak.peak - peak.before) / _MB)
            extra = f"{median(times) * 1000:.0f} ms; {peak.before / _MB:.0f} MB before"
            outcome.rows.append(Row(title, name, median(grown), "MB", None, len(grown), extra))
            if name == PRODUCT:
                outcome.checks.append(Check(f"{title}: beyond an idle process", median(grown), 150, unit="MB"))
    return outcome
