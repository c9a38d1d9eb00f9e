"""What every goal is given: the data sets by name, the number of turns, and the place where versions are recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from benchmarks.data import Data, DataSet, make

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.contenders import Worker, WorkerGroup


def _data_sets(*, quick: bool) -> dict[str, DataSet]:
    """The data sets by name; a quick run has fewer days of those that take long to make."""
    data_sets = (
        DataSet("minutes", "1m", date(2022, 1, 1), 730),
        DataSet("hours", "1h", date(2018, 1, 1), 1096 if quick else 3287),
        DataSet("dailies", "1d", date(2018, 1, 1), 1096 if quick else 3287),
        DataSet("symbols", "1d", date(2021, 1, 1), 365 if quick else 1095, 20 if quick else 100, together=True),
        DataSet("seconds", "1s", date(2024, 1, 1), 10 if quick else 60),
    )
    return {data_set.name: data_set for data_set in data_sets}


@dataclass(slots=True)
class Bench:
    """One run of the benchmarks.

    Attributes:
        folder: The work folder.
        quick: Whether to measure less, with fewer turns.
        versions: The versions of the contenders, recorded while they are measured.
        absent: Contenders that could not take part, and the reason.
    """

    folder: Path
    quick: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def turns(self, full: int, quick: int) -> int:
        """How many turns to take: the number for a full run, or for a quick one."""
        return quick if self.quick else full

    def data(self, name: str) -> Data:
        """A data set, made if it is missing."""
        folder = self.folder / ("quick" if self.quick else "full")
        folder.mkdir(exist_ok=True)
        return make(folder, _data_sets(quick=self.quick)[name])

    def record(self, worker: Worker) -> None:
        """Record the versions of a worker's packages."""
        self.versions |= worker.versions

    def record_group(self, group: WorkerGroup) -> None:
        """Record the versions of a group's workers, and which contenders were absent."""
        for worker in group.workers.values():
            self.record(worker)
        self.absent |= group.absent
