"""Request weight: what a REST call costs, and the budget a minute that all threads and processes on one cache share.

Binance counts weight by address and minute, answers 429 beyond the budget and bans (418) clients that go on. The count
is a small state file for each host, changed under a file lock. Sends nothing itself.
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

#: The part of the budget that is used; the rest is a margin for other programs on this address, and for clock skew.
SHARE = 0.8

_MINUTE = 60.0


def klines_weight(market: Market, limit: int) -> int:
    """The weight of a klines call with this limit."""
    if market is Market.SPOT:
        return 2
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10  # noqa: PLR2004 (Binance's steps)


#: The weight of an exchangeInfo call.
EXCHANGE_INFO_WEIGHT = {Market.SPOT: 20, Market.UM: 1, Market.CM: 1}


@dataclass(frozen=True, slots=True)
class Usage:
    """What has been used of a budget; its fields are those of the state file.

    Attributes:
        minute: The minute that `weight` counts, as minutes since the epoch.
        weight: Weight used in it.
        until: Seconds since the epoch before which nothing may be requested (429, 418).
    """

    minute: int = 0
    weight: int = 0
    until: float = 0.0

    def at(self, now: float) -> Usage:
        """The usage at a later moment, in seconds since the epoch: a new minute starts from zero."""
        minute = int(now // _MINUTE)
        return self if minute == self.minute else replace(self, minute=minute, weight=0)


class WeightBudget:
    """A REST host's budget. Safe for any number of threads and processes.

    Args:
        market: The market, which has the limit.
        url: The REST host; hosts are counted separately.
        folder: The folder of the state files. Where it can't be written, the count is this process's own.
    """

    def __init__(self, market: Market, url: str, folder: Path) -> None:
        parts = urlsplit(url)
        self._limit = BUDGET[market] * SHARE
        self._path = folder / f"weight-{market.value}-{parts.hostname}-{parts.port or 0}.json"
        self._local = Usage()
        self._thread = threading.Lock()

    def reserve(self, weight: int) -> float:
        """Reserve weight for one request: 0 where that was possible, else the seconds to wait before trying again."""
        with self._state() as state:
            now = time.time()
            usage = state.at(now)
            if usage.weight + weight > self._limit and usage.weight:
                return (usage.minute + 1) * _MINUTE - now
            self._save(replace(usage, weight=usage.weight + weight))
            return 0.0

    def observe(self, used_weight: int) -> None:
        """Take over the weight that the exchange has counted, since others may use the same address."""
        with self._state() as state:
            usage = state.at(time.time())
            if used_weight > usage.weight:
                self._save(replace(usage, weight=used_weight))

    def stop(self, until: float) -> None:
        """Let nothing be requested before this moment (seconds since the epoch)."""
        with self._state() as state:
            self._save(replace(state, until=max(until, state.until)))

    def stopped_until(self) -> float:
        """The moment, in seconds since the epoch, before which nothing may be requested; often in the past."""
        with self._state() as state:
            return state.until

    @contextlib.contextmanager
    def _state(self) -> Iterator[Usage]:
        """The state, locked against other threads and processes until the block ends."""
        with self._thread, contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(self._path.with_suffix(".lock"), poll_interval=0.005))
            with contextlib.suppress(OSError, ValueError, TypeError):
                self._local = Usage(**json.loads(self._path.read_text()))
            yield self._local

    def _save(self, usage: Usage) -> None:
        self._local = usage
        with contextlib.suppress(OSError):  # then the count is this process's own
            temporary = self._path.with_suffix(".tmp")
            temporary.write_text(json.dumps(asdict(usage)))
            temporary.replace(self._path)
