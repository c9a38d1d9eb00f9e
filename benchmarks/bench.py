"""What every goal is given: the work folder, how thoroughly to measure, and the data sets by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from benchmarks.data import Data, DataSet, make

if TYPE_CHECKING:
    from pathlib import Path


def _sets(*, quick: bool) -> dict[str, DataSet]:
    """The data sets; `quick` has fewer days where making them takes long."""
    return {
        one.name: one
        for one in (
            DataSet("minutes", "1m", date(2022, 1, 1), 730),
            DataSet("hours", "1h", date(2018, 1, 1), 1096 if quick else 3287),
            DataSet("dailies", "1d", date(2018, 1, 1), 1096 if quick else 3287),
            DataSet("symbols", "1d", date(2021, 1, 1), 365 if quick else 1095, 20 if quick else 100, together=True),
            DataSet("seconds", "1s", date(2024, 1, 1), 10 if quick else 60),
        )
    }


@dataclass(slots=True)
class Bench:
    """One run.

    Attributes:
        work: The work folder.
        quick: Whether the essence is enough.
        versions: The versions of what took part, collected on the way.
    """

    work: Path
    quick: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def rounds(self, thorough: int, quick: int) -> int:
        """How many turns to take."""
        return quick if self.quick else thorough

    def data(self, name: str) -> Data:
        """A data set, made if need be."""
        work = self.work / ("quick" if self.quick else "full")
        work.mkdir(exist_ok=True)
        return make(work, _sets(quick=self.quick)[name])
