"""Habits of a scan's event loop: how it tries again, does several things at once, and has work done in threads."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_random

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

#: The longest wait between two tries, in seconds; the first one is about a fifth of a second.
LONGEST_WAIT = 5.0

P = ParamSpec("P")
T = TypeVar("T")


class Hands:
    """Threads for work that keeps a processor busy, for one scan.

    There is one more of them than processors, for one waits for the disk; more would only take them from each other.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore((os.cpu_count() or 1) + 1)

    async def do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a function, which runs in a thread."""
        async with self._free:
            return await asyncio.to_thread(work, *args, **kwargs)


def retrying(retries: int, worth_it: Callable[[BaseException], bool]) -> AsyncRetrying:
    """One try and up to `retries` more of what is worth it; the last error is raised as it is."""
    return AsyncRetrying(
        stop=stop_after_attempt(retries + 1),
        wait=wait_exponential(multiplier=0.2, max=LONGEST_WAIT) + wait_random(0, 0.1),
        retry=retry_if_exception(worth_it),
        reraise=True,
    )


async def together(work: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """The results in order; when one fails the others are stopped and its error is raised, alone."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
