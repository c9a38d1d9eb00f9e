"""One scan's network: an event loop in a thread of its own, the two clients on it, and nothing that outlives it.

Scans run in DuckDB's threads, which know no event loop. A `Fetcher` starts with the first job and ends with the
scan, whatever ends that: exhaustion, LIMIT, an error, Ctrl-C or a closed connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Self, TypeVar

from ckvd_sql.errors import OfflineError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from datetime import date

    from anyio.from_thread import BlockingPortal

    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.fetch.jobs import DayBars, Job
    from ckvd_sql.market.periods import Month
    from ckvd_sql.market.series import Market
    from ckvd_sql.settings import Settings
    from ckvd_sql.sources.rest import Symbol


T = TypeVar("T")

_TURN = 0.25  # seconds


def outcome(future: Future[T]) -> T:
    """A future's result, waited for in short turns: a signal must get its turn in the main thread."""
    while not future.done():
        wait([future], timeout=_TURN)
    return future.result()


class Fetcher:
    """Runs jobs. Use it as a context manager; it starts nothing before the first job.

    Its clients, `vision` and `rest`, and the `failover` over them are there for what runs on its event loop.

    Args:
        settings: Where the sources are, and how hard to try.
        store: Where fetched days are kept.
        now: The scan's clock, in microseconds since the epoch.
        months: The months of the scan.
    """

    def __init__(self, settings: Settings, store: DayStore, now: int, months: Iterable[Month]) -> None:
        self._settings = settings
        self._store = store
        self._now = now
        self._months = tuple(months)
        self._stack = contextlib.ExitStack()
        self._portal: BlockingPortal | None = None
        self._running: set[asyncio.Task[object]] = set()
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, job: Job) -> Future[dict[date, DayBars]]:
        """Begin a job; its result has every day of the job, some perhaps without bars.

        With the network switched off the result is an `OfflineError`.
        """
        if self._settings.offline:
            refused: Future[dict[date, DayBars]] = Future()
            refused.set_exception(OfflineError("the network is switched off", job.days))
            return refused
        return self._network().start_task_soon(self._fetch, job)

    async def _fetch(self, job: Job) -> dict[date, DayBars]:
        task = asyncio.current_task()
        if self._ended or task is None:
            raise asyncio.CancelledError
        self._running.add(task)
        try:
            return await self.failover.fetch(job)
        finally:
            self._running.discard(task)

    async def _end_jobs(self) -> None:
        """Stop what is under way and wait until it has stopped: a job must not meet a client that is closed."""
        self._ended = True
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def symbols(self, market: Market) -> list[Symbol]:
        """The symbols of a market, from the exchange."""
        return self.call(lambda: self.rest.symbols(market))

    def call(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The result of one call of the clients. Raises `OfflineError` where the network is switched off."""
        if self._settings.offline:
            raise OfflineError("nobody can be asked: the network is switched off (CKVD_OFFLINE)")
        return self._network().call(ask)

    def _network(self) -> BlockingPortal:
        if self._portal is None:
            from anyio.from_thread import start_blocking_portal  # noqa: PLC0415 (as the clients below)

            self._portal = self._stack.enter_context(start_blocking_portal(name="ckvd-fetch"))
            self._stack.enter_context(self._portal.wrap_async_context_manager(self._clients()))
        return self._portal

    @contextlib.asynccontextmanager
    async def _clients(self) -> AsyncIterator[None]:
        # The network's libraries are loaded by the first query that needs them: most need none.
        from ckvd_sql.fetch.failover import Failover  # noqa: PLC0415
        from ckvd_sql.sources.concurrency import Hands  # noqa: PLC0415
        from ckvd_sql.sources.rest import Rest  # noqa: PLC0415
        from ckvd_sql.sources.vision import Vision  # noqa: PLC0415

        slots, hands = asyncio.Semaphore(self._settings.concurrency), Hands()
        async with Vision(self._settings, slots, hands) as self.vision, Rest(self._settings, slots) as self.rest:
            self.failover = Failover(
                self._settings, self._store, self.vision, self.rest, hands, self._now, self._months
            )
            try:
                yield
            finally:
                await self._end_jobs()
