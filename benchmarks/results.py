"""What a run found: the measurements, checks and plots of each goal, and their form in results.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

RESULTS_FILE = "results.json"


@dataclass(slots=True)
class Measurement:
    """One contender at one task.

    Attributes:
        task: What was done.
        contender: What did it.
        value: The figure, a median where there are several runs.
        unit: Its unit.
        relative: The contender's time as a multiple of ckvd_sql's (above 1: ckvd_sql is faster); None where
            that makes no sense.
        runs: How many runs were made.
        details: Further figures as text, such as CPU time or a percentile.
    """

    task: str
    contender: str
    value: float
    unit: str
    relative: float | None = None
    runs: int = 1
    details: str = ""


@dataclass(slots=True)
class Check:
    """A measured quantity and its limit: an upper one with `at_most`, else a lower one."""

    quantity: str
    measured: float
    limit: float
    at_most: bool = True
    unit: str = "x"

    @property
    def met(self) -> bool:
        """Whether the quantity is within its limit."""
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit


@dataclass(slots=True)
class Line:
    """One contender's line in a plot."""

    name: str
    sizes: list[float]
    values: list[float]


@dataclass(slots=True)
class Plot:
    """Cost against size; `name` is the name of its file, without the ending."""

    name: str
    title: str
    x: str
    y: str
    lines: list[Line]


@dataclass(slots=True)
class GoalResult:
    """What measuring one goal gave.

    Attributes:
        name: The goal's name.
        title: The goal's title.
        setup: How much was measured, such as the number of days; a quick run measures less.
        measurements: The figures of all contenders.
        checks: The figures that have a limit.
        notes: What to know when reading the figures, one paragraph each.
        plots: The data of the plots.
        load_before: The load average before.
        load_after: The load average after.
        seconds: How long it took.
    """

    name: str
    title: str
    setup: str = ""
    measurements: list[Measurement] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    load_before: float = 0.0
    load_after: float = 0.0
    seconds: float = 0.0


@dataclass(slots=True)
class RunResult:
    """What a run gave.

    Attributes:
        quick: Whether it was a quick run.
        machine: The machine's properties by name.
        versions: The versions of the packages that took part.
        absent: The reason for each contender that did not take part.
        goals: The results in the order of the goals.
    """

    quick: bool
    machine: dict[str, str]
    versions: dict[str, str]
    absent: dict[str, str]
    goals: list[GoalResult]

    def save(self, folder: Path) -> None:
        """Write results.json; each check has `met` there as well."""
        content = asdict(self)
        for result, raw in zip(self.goals, content["goals"], strict=True):
            for check, raw_check in zip(result.checks, raw["checks"], strict=True):
                raw_check["met"] = check.met
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULTS_FILE).write_text(json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> RunResult:
        """Read results.json."""
        content = json.loads((folder / RESULTS_FILE).read_text())
        return cls(**content | {"goals": [_goal_result(raw) for raw in content["goals"]]})


def _goal_result(raw: dict[str, Any]) -> GoalResult:
    checks = [{key: value for key, value in check.items() if key != "met"} for check in raw["checks"]]
    plots = [plot | {"lines": [Line(**line) for line in plot["lines"]]} for plot in raw["plots"]]
    return GoalResult(
        **raw
        | {
            "measurements": [Measurement(**measurement) for measurement in raw["measurements"]],
            "checks": [Check(**check) for check in checks],
            "plots": [Plot(**plot) for plot in plots],
        }
    )
