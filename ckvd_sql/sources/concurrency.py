"""Concurrency on a scan's event loop: retries, several coroutines at once, and CPU-bound work in threads."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_random

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

#: The longest wait between two attempts, in seconds; the first one is about a fifth of a second.
LONGEST_WAIT = 5.0

P = ParamSpec("P")
T = TypeVar("T")


class WorkerThreads:
    """Threads for CPU-bound work of one scan.

    There is one more than processors, because one waits for the disk; more would only compete with each other.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore((os.cpu_count() or 1) + 1)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a function, which runs in a thread."""
        async with self._free:
            return await asyncio.to_thread(work, *args, **kwargs)


def retrying(retries: int, is_transient: Callable[[BaseException], bool]) -> AsyncRetrying:
    """One attempt, and up to `retries` more after transient errors; the last error is raised as it is."""
    return AsyncRetrying(
        stop=stop_after_attempt(retries + 1),
        wait=wait_exponential(multiplier=0.2, max=LONGEST_WAIT) + wait_random(0, 0.1),
        retry=retry_if_exception(is_transient),
        reraise=True,
    )


async def gather_or_cancel(work: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """The results in order; when one fails the others are cancelled and its error is raised, alone."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
