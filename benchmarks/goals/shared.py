"""What several goals need: a group of workers over a data set, a task for them, and measurements from their times."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import PRODUCT, WorkerGroup, worker_for
from benchmarks.results import Measurement
from benchmarks.timing import median, ratio

if TYPE_CHECKING:
    from benchmarks.data import Data
    from benchmarks.results import GoalResult


def workers_for(data: Data, names: tuple[str, ...]) -> WorkerGroup:
    """These contenders over a data set."""
    return WorkerGroup({name: functools.partial(worker_for, name, data) for name in names})


def request(data: Data, task: str, first: int = 0, last: int | None = None) -> dict[str, Any]:
    """A request for a task on the days `first` to `last` (exclusive) of a data set; by default on all of them."""
    days = data.set.days if last is None else last
    return {
        "task": task,
        "symbols": data.set.names,
        "interval": data.set.interval,
        "start": data.set.day(first),
        "end": data.set.day(days),
        "whole": first == 0 and days == data.set.days,
        "all symbols": True,
    }


def add_times(result: GoalResult, task: str, times: dict[str, list[float]], group: WorkerGroup) -> None:
    """Add a measurement a contender from its seconds a turn, with the median CPU time of the group's last turns."""
    for name, seconds in times.items():
        relative = ratio(seconds, times[PRODUCT]) if PRODUCT in times else None
        details = f"{group.cpu[name] * 1000:.1f} ms CPU"
        result.measurements.append(
            Measurement(task, name, median(seconds) * 1000, "ms", relative, len(seconds), details)
        )
