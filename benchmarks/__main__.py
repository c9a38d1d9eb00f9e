"""Run the benchmarks: `python -m benchmarks [--quick] [--only N ...] [--work DIR] [--out DIR]`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import Bench
from benchmarks.data import work_folder
from benchmarks.goals import GOALS
from benchmarks.report import summary, write
from benchmarks.timing import load

if TYPE_CHECKING:
    from benchmarks.outcome import Outcome


def main() -> None:
    """Measure, print each goal as it is done, and write the report.

    A full run writes beside the benchmarks; one that is quick or partial writes into the work folder.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="the essence, in under two minutes")
    parser.add_argument("--only", nargs="+", choices=list(GOALS), metavar="N", help=f"of {', '.join(GOALS)}")
    parser.add_argument("--work", type=Path, help="where data is kept (CKVD_BENCH_DIR, else the temporary folder)")
    parser.add_argument("--out", type=Path, help="where the report goes")
    given = parser.parse_args()
    bench = Bench(work_folder(given.work), quick=given.quick)
    outcomes = []
    for number in given.only or GOALS:
        outcome = _measured(bench, number)
        print(summary(outcome), flush=True)
        outcomes.append(outcome)
    partial = given.quick or given.only
    out = given.out or (bench.work / "report" if partial else Path(__file__).resolve().parent)
    print(f"\nwrote {write(bench, outcomes, out)}")
    for name, reason in bench.absent.items():
        print(f"absent: {name}: {reason}")


def _measured(bench: Bench, number: str) -> Outcome:
    before, began = load(), time.monotonic()
    outcome = GOALS[number](bench)
    outcome.load, outcome.seconds = (before, load()), time.monotonic() - began
    return outcome


if __name__ == "__main__":
    main()
