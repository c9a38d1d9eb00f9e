"""The weight budget: what all threads and processes on one cache may ask of a REST host in a minute.

Binance counts weight by address and minute, answers 429 beyond the budget and bans (418) whoever goes on. So the
count is shared: a small state file a host, changed under a file lock. It decides; it asks nothing of the network.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from filelock import FileLock

from ckvd_sql.market.series import Market

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Weight that one address may use in a minute.
BUDGET = {Market.SPOT: 6000, Market.UM: 2400, Market.CM: 2400}

#: The part of the budget that is used: other programs on this address, and clocks that differ, get the rest.
SHARE = 0.8

_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Used:
    """What has been used of a budget.

    Attributes:
        minute: The minute that `weight` counts, as minutes since the epoch.
        weight: Weight used in it.
        until: Seconds since the epoch before which nothing may be asked (429, 418).
    """

    minute: int = 0
    weight: int = 0
    until: float = 0.0

    def at(self, now: float) -> Used:
        """The same at a later moment: a new minute starts from nothing."""
        minute = int(now // _MINUTE)
        return self if minute == self.minute else replace(self, minute=minute, weight=0)


class WeightBudget:
    """A REST host's budget. Safe for any number of threads and processes.

    Args:
        market: Whose budget it is.
        url: The REST host; hosts are counted apart.
        folder: Where the shared state is kept. Where it can't be written, the count is this process's own.
    """

    def __init__(self, market: Market, url: str, folder: Path) -> None:
        parts = urlsplit(url)
        self._limit = BUDGET[market] * SHARE
        self._path = folder / f"weight-{market.value}-{parts.hostname}-{parts.port or 0}.json"
        self._local = Used()
        self._thread = threading.Lock()

    def reserve(self, weight: int) -> float:
        """Take weight for one request, or say how many seconds to wait before asking for it again."""
        with self._state() as state:
            now = time.time()
            used = state.at(now)
            if used.weight + weight > self._limit and used.weight:
                return (used.minute + 1) * _MINUTE - now
            self._keep(replace(used, weight=used.weight + weight))
            return 0.0

    def observe(self, used_weight: int) -> None:
        """Learn what the exchange has counted: others may use the same address."""
        with self._state() as state:
            used = state.at(time.time())
            if used_weight > used.weight:
                self._keep(replace(used, weight=used_weight))

    def stop(self, until: float) -> None:
        """Nobody asks before this moment (seconds since the epoch)."""
        with self._state() as state:
            self._keep(replace(state, until=max(until, state.until)))

    def stopped_until(self) -> float:
        """The moment before which nothing may be asked; in the past where nothing is in the way."""
        with self._state() as state:
            return state.until

    @contextlib.contextmanager
    def _state(self) -> Iterator[Used]:
        """The state, nobody else's to change until the block ends."""
        with self._thread, contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(self._path.with_suffix(".lock"), poll_interval=0.005))
            with contextlib.suppress(OSError, ValueError, TypeError):
                self._local = Used(**json.loads(self._path.read_text()))
            yield self._local

    def _keep(self, used: Used) -> None:
        self._local = used
        with contextlib.suppress(OSError):  # then the count is this process's own
            temporary = self._path.with_suffix(".tmp")
            temporary.write_text(json.dumps(asdict(used)))
            temporary.replace(self._path)
