"""The command `python -m benchmarks`: measure, and write results.json and RESULTS.md."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.data import work_folder
from benchmarks.goals import GOALS
from benchmarks.machine import machine
from benchmarks.report import HERE, summary, write
from benchmarks.results import RunResult


def main() -> None:
    """Measure the goals, print each as it is done, and write the report.

    A full run writes beside the benchmarks; a quick or partial one writes into the work folder.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="measure less, in under two minutes")
    parser.add_argument("--only", nargs="+", choices=list(GOALS), metavar="GOAL", help=f"of {', '.join(GOALS)}")
    parser.add_argument("--work", type=Path, help="the work folder (default: CKVD_BENCH_DIR, else a temporary folder)")
    parser.add_argument("--out", type=Path, help="the folder of the report")
    options = parser.parse_args()
    bench = Bench(work_folder(options.work), quick=options.quick)
    goals = []
    for name in options.only or GOALS:
        result = GOALS[name].run(bench)
        print(summary(result), flush=True)
        goals.append(result)
    partial = options.quick or options.only
    out = options.out or (bench.folder / "report" if partial else HERE)
    run = RunResult(bench.quick, machine(), bench.versions, bench.absent, goals)
    run.save(out)
    print(f"\nwrote {write(run, out)}")
    if any(result.plots for result in goals):
        print(f"its plots: python -m benchmarks.plots {out}")
    for name, reason in bench.absent.items():
        print(f"absent: {name}: {reason}")


if __name__ == "__main__":
    main()
