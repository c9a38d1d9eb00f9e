"""Statistics over repeated runs, and what a process costs the system: load, anonymous memory, cached pages.

A single time says little on a shared machine. Contenders therefore take turns, and times of the same turn are compared.
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
    """The median of the ratios of value to other value, turn by turn."""
    return statistics.median(value / other for value, other in zip(values, others, strict=True))


class TurnLimit:
    """Ends turns that take too long: after a minute, two turns beside the `warm` ones are enough."""

    def __init__(self, warm: int) -> None:
        self._enough = warm + 2
        self._until = time.monotonic() + 60

    def reached(self, turn: int) -> bool:
        """Whether to stop before this turn, counted from 0."""
        return turn >= self._enough and time.monotonic() > self._until


def load_average() -> float:
    """The system's load average over the last minute."""
    return os.getloadavg()[0]


def anonymous_memory(pid: int) -> int:
    """Bytes of a process's resident memory that no file backs."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"the system does not report the anonymous memory of process {pid}")


class AnonymousPeak:
    """The highest anonymous memory of another process during a `with`, sampled every two milliseconds."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.before = self.peak = anonymous_memory(pid)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(0.002):
            self.peak = max(self.peak, anonymous_memory(self._pid))


def evict(folders: Iterable[Path]) -> None:
    """Ask the system to drop the files' pages from memory. It skips pages that are dirty or mapped by a process."""
    for folder in folders:
        for path in [folder] if folder.is_file() else folder.rglob("*"):
            if path.is_file():
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(descriptor)
