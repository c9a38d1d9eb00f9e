"""What a goal's measurement says: rows of figures, checks against limits, notes. Plain values that go to JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Row:
    """One contender at one piece of work.

    Attributes:
        work: What was done.
        contender: Who did it.
        value: The figure, a median where it comes from repeated runs.
        unit: Its unit.
        times: The figure as a multiple of the product's (above 1: the product is faster), where that makes sense.
        runs: How many runs it is the median of.
        extra: More to say, such as CPU time or a percentile.
    """

    work: str
    contender: str
    value: float
    unit: str
    times: float | None = None
    runs: int = 1
    extra: str = ""


@dataclass(slots=True)
class Check:
    """A figure held against a goal: `at most` or `at least` the limit."""

    what: str
    measured: float
    limit: float
    at_most: bool = True
    unit: str = "x"

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit


@dataclass(slots=True)
class Line:
    """A line of a plot: cost against size."""

    name: str
    sizes: list[float]
    values: list[float]


@dataclass(slots=True)
class Plot:
    """Cost against size, for some contenders."""

    name: str
    title: str
    x: str
    y: str
    lines: list[Line]


@dataclass(slots=True)
class Outcome:
    """Everything that measuring one goal gave. `load` is the machine's, before and after."""

    number: str
    title: str
    rows: list[Row] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    load: tuple[float, float] = (0.0, 0.0)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"met": [check.met for check in self.checks]}
