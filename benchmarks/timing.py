"""Numbers from repeated runs, and what a process costs: medians, percentiles, ratios, CPU, anonymous memory, pages.

A single time says little on a shared machine. Contenders therefore take turns, and a ratio is the median over the
turns of what the two needed in the same turn.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, int(share * len(ordered) + 0.999999) - 1))]


def ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """How many times the others' value the values are, turn by turn; the median of that."""
    return statistics.median(value / other for value, other in zip(values, others, strict=True))


class Patience:
    """Ends turns that take too long: once a minute is over, two that count are enough."""

    def __init__(self, warm: int) -> None:
        self._enough = warm + 2
        self._until = time.monotonic() + 60

    def over(self, turn: int) -> bool:
        """Whether to leave it at the turns before this one."""
        return turn >= self._enough and time.monotonic() > self._until


def load() -> float:
    """Processes that wanted a core in the last minute, on average."""
    return os.getloadavg()[0]


def anonymous(pid: int) -> int:
    """Bytes of a process's resident memory that no file backs."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"the system does not tell the anonymous memory of process {pid}")


class AnonymousPeak:
    """The highest anonymous memory of another process during a `with`, looked at every two milliseconds."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.before = self.peak = anonymous(pid)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.002):
            self.peak = max(self.peak, anonymous(self._pid))


def evict(folders: Iterable[Path]) -> None:
    """Ask the system to drop the files' pages, which must be written and mapped by nobody."""
    for folder in folders:
        for path in [folder] if folder.is_file() else folder.rglob("*"):
            if path.is_file():
                number = os.open(path, os.O_RDONLY)
                try:
                    os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(number)
