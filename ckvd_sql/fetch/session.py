"""The network of one scan: an event loop in a thread of its own with the clients of both sources on it.

Scans run in DuckDB's threads, which have no event loop. A session starts with the first job and ends with the scan,
whatever ends that: exhaustion, LIMIT, an error, Ctrl-C or a closed connection. It decides nothing about days.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Self, TypeVar

from ckvd_sql.errors import CkvdError, MalformedDataError, OfflineError, ProviderError
from ckvd_sql.market.periods import Month
from ckvd_sql.sources.answers import Traffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
    from datetime import date

    import pyarrow as pa
    from anyio.from_thread import BlockingPortal

    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.fetch.jobs import DayBars, Job
    from ckvd_sql.market.periods import Period, Span
    from ckvd_sql.market.series import Market, Series
    from ckvd_sql.settings import Settings
    from ckvd_sql.sources.rest import Symbol
    from ckvd_sql.sources.vision import Archive

T = TypeVar("T")
E = TypeVar("E", bound=CkvdError)

_POLL_SECONDS = 0.25

#: So many daily archives are in memory at a time where they are only compared.
_DAYS_AT_ONCE = 8


def wait_for(future: Future[T], tick: Callable[[], object] | None = None) -> T:
    """A future's result, waited for in short intervals, so that the main thread can handle signals in between.

    `tick` is called after each interval.
    """
    while not future.done():
        wait([future], timeout=_POLL_SECONDS)
        if tick:
            tick()
    return future.result()


async def _or_error(work: Coroutine[None, None, T], kind: type[E]) -> T | E:
    """The result of a coroutine, or its error of this kind."""
    try:
        return await work
    except kind as error:
        return error


class FetchSession:
    """Runs jobs and asks the sources. Use it as a context manager; nothing is started before the first request.

    Args:
        settings: The sources' URLs, timeouts and retries.
        store: Where fetched days are stored.
        now: The scan's clock, in microseconds since the epoch.
        include_open: Whether the scan wants the bar that is still forming.

    Attributes:
        traffic: What has been received.
    """

    def __init__(self, settings: Settings, store: DayStore, now: int, *, include_open: bool = False) -> None:
        self.traffic = Traffic()
        self._settings = settings
        self._store = store
        self._now = now
        self._include_open = include_open
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

        The result is an `OfflineError` where the network is switched off, and a `SettingsError` where it can't be used
        as it is set.
        """
        try:
            if self._settings.offline:
                raise OfflineError("the network is switched off", job.days)
            network = self._network()
            return network.start_task_soon(self._run, lambda: self._failover.fetch(job))
        except CkvdError as error:
            refused: Future[dict[date, DayBars]] = Future()
            refused.set_exception(error)
            return refused

    def known_symbols(self, market: Market) -> tuple[list[Symbol] | ProviderError, list[str] | ProviderError]:
        """The symbols of a market that the exchange lists and those that the archive has, each or its error.

        Raises `OfflineError`.
        """

        async def both() -> tuple[list[Symbol] | ProviderError, list[str] | ProviderError]:
            listed = _or_error(self._rest.symbols(market), ProviderError)
            archived = _or_error(self._vision.symbols(market), ProviderError)
            return await asyncio.gather(listed, archived)

        return self._call(both)

    def first_open(self, series: Series) -> int | None:
        """The open time of a series' first bar in microseconds since the epoch; None where it can't be learnt.

        Raises:
            InvalidSymbolError: No source knows the symbol.
            OfflineError: The network is switched off.
        """
        return self._call(lambda: self._failover.first_open(series))

    def published_checksums(
        self, series: Series, periods: Sequence[Period]
    ) -> dict[Period, str | MalformedDataError | None]:
        """The SHA-256 in hex that the archive publishes now for each period.

        None where it has no file, and the error of a file that states none.

        Raises:
            OfflineError: The network is switched off.
            ProviderError: The archive can't be asked.
        """
        found = self._gather(
            lambda: (
                _or_error(self._vision.published_checksum(series, period), MalformedDataError) for period in periods
            )
        )
        return dict(zip(periods, found, strict=True))

    def archives(
        self, series: Series, periods: Sequence[Period]
    ) -> Iterator[tuple[Period, Archive | ProviderError | None]]:
        """The archives of some periods as they are now, whatever their checksums; nothing is stored.

        None where there is none, and the error of one that can't be had. Few are in memory at a time: months one by
        one, days in groups. Raises `OfflineError`.
        """

        def fetch(period: Period) -> Coroutine[None, None, Archive | ProviderError | None]:
            return _or_error(self._vision.fetch(series, period, verify=False), ProviderError)

        groups: list[list[Period]] = [[period] for period in periods if isinstance(period, Month)]
        days = [period for period in periods if not isinstance(period, Month)]
        groups += [list(days[first : first + _DAYS_AT_ONCE]) for first in range(0, len(days), _DAYS_AT_ONCE)]
        for group in groups:
            yield from zip(group, self._gather(functools.partial(map, fetch, group)), strict=True)

    def bars(self, series: Series, spans: Sequence[Span]) -> list[pa.RecordBatch | CkvdError]:
        """The bars that REST has now in each of some ranges, or the error of one; nothing is stored.

        Raises `OfflineError`.
        """
        return self._gather(
            lambda: (_or_error(self._rest.klines(series, span.start, span.end), CkvdError) for span in spans)
        )

    def _gather(self, ask: Callable[[], Iterable[Coroutine[None, None, T]]]) -> list[T]:
        """The answers to several questions, in order; they are asked at once."""

        async def gathered() -> list[T]:
            from ckvd_sql.sources.concurrency import gather_or_cancel  # noqa: PLC0415 (as the clients below)

            return await gather_or_cancel(ask())

        return self._call(gathered)

    def _call(self, ask: Callable[[], Awaitable[T]]) -> T:
        if self._settings.offline:
            raise OfflineError("the network is switched off (CKVD_OFFLINE), so this can't be asked")
        return wait_for(self._network().start_task_soon(self._run, ask))

    async def _run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Work that is cancelled when the session ends."""
        task = asyncio.current_task()
        if self._ended or task is None:
            raise asyncio.CancelledError
        self._running.add(task)
        try:
            return await work()
        finally:
            self._running.discard(task)

    async def _end_work(self) -> None:
        """Cancel what is running and wait until it has ended: no work must meet a client that is closed."""
        self._ended = True
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def _network(self) -> BlockingPortal:
        if self._portal is None:
            from anyio.from_thread import start_blocking_portal  # noqa: PLC0415 (as the clients below)

            with contextlib.ExitStack() as stack:
                portal = stack.enter_context(start_blocking_portal(name="ckvd-fetch"))
                stack.enter_context(portal.wrap_async_context_manager(self._clients()))
                self._portal = portal
                self._stack = stack.pop_all()
        return self._portal

    @contextlib.asynccontextmanager
    async def _clients(self) -> AsyncIterator[None]:
        # The network's libraries are loaded by the first query that needs them: most need none.
        from ckvd_sql.fetch.context import FetchContext  # noqa: PLC0415
        from ckvd_sql.fetch.failover import Failover  # noqa: PLC0415
        from ckvd_sql.sources.concurrency import WorkerThreads  # noqa: PLC0415
        from ckvd_sql.sources.http import HttpClient  # noqa: PLC0415
        from ckvd_sql.sources.rest import RestClient  # noqa: PLC0415
        from ckvd_sql.sources.vision import VisionClient  # noqa: PLC0415

        slots, threads = asyncio.Semaphore(self._settings.concurrency), WorkerThreads()
        async with HttpClient(self._settings, self.traffic) as http:
            self._vision = VisionClient(self._settings, http, slots, threads, self._store.wrong_checksums)
            self._rest = RestClient(self._settings, http, slots)
            self._failover = Failover(
                FetchContext(
                    self._settings,
                    self._store,
                    self._vision,
                    self._rest,
                    threads,
                    self._now,
                    include_open=self._include_open,
                )
            )
            try:
                yield
            finally:
                await self._end_work()
