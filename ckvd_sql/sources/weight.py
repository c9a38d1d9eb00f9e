"""Request weight: what a REST call costs, and the budget a minute that all threads and processes on one cache share.

Binance counts weight by address and minute, answers 429 beyond the budget and bans (418) clients that go on. The count
is a small state file for each host, changed under a file lock; one that is damaged or impossible is begun anew. Sends
nothing itself.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ckvd_sql.disk.files import Shared, make_folder, read_whole, with_digest, without_digest, write_whole
from ckvd_sql.disk.locks import LockFile, ThreadLock
from ckvd_sql.market.series import Market

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Weight that one address may use in a minute.
BUDGET = {Market.SPOT: 6000, Market.UM: 2400, Market.CM: 2400}

#: The part of the budget that is used; the rest is a margin for other programs on this address, and for clock skew.
SHARE = 0.8

#: Seconds; no refusal (429, 418) lasts longer.
LONGEST_BAN = 3 * 86_400.0

_MINUTE = 60.0
_MOST_WEIGHT = 1_000_000  # no exchange has counted as much in a minute
_LOCK_PATIENCE = 3.0  # seconds; the lock is held for as long as it takes to write a small file


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

    def is_possible(self, now: float) -> bool:
        """Whether this may have been so at this moment, in seconds since the epoch."""
        return (
            type(self.minute) is type(self.weight) is int
            and type(self.until) in (int, float)
            and 0 <= self.weight <= _MOST_WEIGHT
            and 0 <= self.until <= now + LONGEST_BAN
        )


class WeightBudget:
    """A REST host's budget. Safe for any number of threads and processes.

    Args:
        market: The market, which has the limit.
        url: The REST host; hosts are counted separately.
        folder: The folder of the state files. Where it can't be written, the count is this process's own.
        shared: Who else may use what is written.
    """

    def __init__(self, market: Market, url: str, folder: Path, shared: Shared = Shared.OFF) -> None:
        parts = urlsplit(url)
        self._limit = BUDGET[market] * SHARE
        self._path = folder / f"weight-{market.value}-{parts.hostname}-{parts.port or 0}.json"
        self._shared = shared
        self._local = Usage()
        self._alone = False
        self._thread = ThreadLock()

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
                self._save(replace(usage, weight=min(used_weight, _MOST_WEIGHT)))

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
        folder = self._path.parent
        lock = LockFile(self._path.with_suffix(".lock"), folder.parent, self._shared, patience=_LOCK_PATIENCE)
        with self._thread, lock.hold():
            self._alone = lock.held
            now = time.time()
            candidates = (one for one in (self._stored(), self._local) if one and one.is_possible(now))
            self._local = next(candidates, Usage())
            yield self._local

    def _stored(self) -> Usage | None:
        """The state that is stored, possible or not; None where there is none."""
        try:
            content = without_digest(read_whole(str(self._path)), self._path.name)
            return Usage(**json.loads(bytes(content or b"")))
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def _save(self, usage: Usage) -> None:
        self._local = usage
        content = with_digest(json.dumps(asdict(usage)).encode(), self._path.name)
        with contextlib.suppress(OSError):  # then the count is this process's own
            make_folder(self._path.parent, self._path.parent.parent, self._shared)
            write_whole(self._path, [content], self._shared, alone=self._alone, durable=False)
