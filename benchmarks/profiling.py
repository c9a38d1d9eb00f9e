"""Where the time goes: one request of the product under cProfile, in one thread so that nothing escapes it.

`python -m benchmarks.profiling SET WORK [FIRST LAST]`, such as `hours total` or `minutes rows 10 17`.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.contenders import settings
from benchmarks.data import work_folder
from benchmarks.goals.live import request
from benchmarks.workers import duck

_SHOWN = 28


def main(name: str, work: str, first: str = "0", last: str = "") -> None:
    """Run a request twice to warm it, time it some times, then run it under the profiler."""
    data = Bench(work_folder(None), quick="--quick" in sys.argv).data(name)
    answer = duck.make({"kind": "ckvd", "settings": settings(data), "threads": 1})
    asked: dict[str, Any] = request(data, work, int(first), int(last) if last else None)
    for title in ("first", "second", "third"):
        began = time.perf_counter()
        answer(asked)
        print(f"{title}: {(time.perf_counter() - began) * 1000:.2f} ms")
    profile = cProfile.Profile()
    profile.runcall(answer, asked)
    out = Path(work_folder(None)) / "profile.pstats"
    profile.dump_stats(out)
    pstats.Stats(profile).sort_stats("tottime").print_stats(_SHOWN)


if __name__ == "__main__":
    main(*[one for one in sys.argv[1:] if not one.startswith("--")])
