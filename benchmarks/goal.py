"""A goal: what is measured, under which name, and why its limits are missed where they are."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.results import GoalResult
from benchmarks.timing import load_average

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal of the benchmarks.

    Attributes:
        name: Its name on the command line and in the results.
        title: Its heading in RESULTS.md.
        measure: Takes the measurements and adds them, with the checks, to the result.
        reason_for_miss: What bounds the figures, shown where a check is not met. Remove what is no longer true.
    """

    name: str
    title: str
    measure: Callable[[Bench, GoalResult], None]
    reason_for_miss: str = ""

    def run(self, bench: Bench) -> GoalResult:
        """Measure it."""
        result = GoalResult(self.name, self.title, load_before=load_average())
        began = time.monotonic()
        self.measure(bench, result)
        result.load_after, result.seconds = load_average(), time.monotonic() - began
        return result
