"""Where the time goes: one request to ckvd_sql under cProfile, in a single thread so that all of it is seen.

`python -m benchmarks.profiling SET TASK [FIRST LAST] [--quick]`, such as `hours total` or `minutes rows 10 17`.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time

from benchmarks.bench import Bench
from benchmarks.contenders import settings
from benchmarks.data import work_folder
from benchmarks.goals.shared import request
from benchmarks.workers import duck

_FUNCTIONS_SHOWN = 28


def main() -> None:
    """Run a request three times and time it, then run it under the profiler."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiling", description=main.__doc__)
    parser.add_argument("set", help="a data set, such as hours")
    parser.add_argument("task", choices=list(duck.STATEMENTS))
    parser.add_argument("first", nargs="?", type=int, default=0, help="the number of the first day")
    parser.add_argument("last", nargs="?", type=int, help="the number of the day after the last")
    parser.add_argument("--quick", action="store_true", help="on the data sets of a quick run")
    options = parser.parse_args()
    folder = work_folder(None)
    data = Bench(folder, quick=options.quick).data(options.set)
    answer = duck.make({"kind": "ckvd", "settings": settings(data), "threads": 1})
    task = request(data, options.task, options.first, options.last)
    for title in ("first", "second", "third"):
        began = time.perf_counter()
        answer(task)
        print(f"{title}: {(time.perf_counter() - began) * 1000:.2f} ms")
    profile = cProfile.Profile()
    profile.runcall(answer, task)
    profile.dump_stats(folder / "profile.pstats")
    pstats.Stats(profile).sort_stats("tottime").print_stats(_FUNCTIONS_SHOWN)


if __name__ == "__main__":
    main()
