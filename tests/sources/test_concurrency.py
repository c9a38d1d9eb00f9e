"""Retries, several coroutines at once, and work in threads."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from ckvd_sql.sources.concurrency import WorkerThreads, gather_or_cancel, retrying


def attempts(error: Exception, retries: int, failures: int) -> int:
    """How many attempts are made of something that fails this often, where `ConnectionError` is transient."""
    made = 0

    async def run() -> None:
        nonlocal made
        async for attempt in retrying(retries, lambda one: isinstance(one, ConnectionError)):
            with attempt:
                made += 1
                if made <= failures:
                    raise error

    asyncio.run(run())
    return made


def test_a_first_attempt_that_succeeds_is_the_only_one() -> None:
    assert attempts(ConnectionError(), retries=3, failures=0) == 1


def test_a_transient_error_is_tried_again_after_a_wait() -> None:
    began = time.monotonic()
    assert attempts(ConnectionError(), retries=3, failures=1) == 2
    assert 0.2 <= time.monotonic() - began < 2


def test_the_last_error_is_raised_as_it_is() -> None:
    error = ConnectionError("still down")
    with pytest.raises(ConnectionError) as raised:
        attempts(error, retries=1, failures=9)
    assert raised.value is error


@pytest.mark.parametrize(("retries", "error"), [(0, ConnectionError("down")), (3, ValueError("permanent"))])
def test_without_retries_or_with_a_permanent_error_there_is_one_attempt(retries: int, error: Exception) -> None:
    began = time.monotonic()
    with pytest.raises(type(error), match=str(error)):
        attempts(error, retries=retries, failures=1)
    assert time.monotonic() - began < 0.1  # no wait, so no second attempt


def test_results_are_in_the_order_of_the_coroutines_and_not_of_their_ends() -> None:
    async def after(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    assert asyncio.run(gather_or_cancel(after(wait) for wait in (0.03, 0.0, 0.01))) == [0.03, 0.0, 0.01]
    assert asyncio.run(gather_or_cancel([])) == []


def test_coroutines_run_at_once() -> None:
    async def meet(barrier: asyncio.Barrier) -> int:
        return await barrier.wait()

    async def run() -> list[int]:
        barrier = asyncio.Barrier(3)
        return await gather_or_cancel(meet(barrier) for _ in range(3))

    assert sorted(asyncio.run(asyncio.wait_for(run(), 2))) == [0, 1, 2]


def test_when_one_fails_the_others_are_cancelled_and_its_error_is_raised_alone() -> None:
    ended: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("the cause")

    began = time.monotonic()
    with pytest.raises(KeyError, match="the cause") as raised:
        asyncio.run(gather_or_cancel([wait(), fail(), wait()]))
    assert ended == ["cancelled", "cancelled"]
    assert raised.value.__cause__ is None
    assert time.monotonic() - began < 2


def test_cancelling_the_caller_cancels_all() -> None:
    ended: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("ended")

    async def run() -> None:
        task = asyncio.create_task(gather_or_cancel([wait(), wait()]))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    assert ended == ["ended", "ended"]


def test_work_runs_in_another_thread_and_its_result_or_error_comes_back() -> None:
    def work(one: int, *, other: int) -> tuple[int, int]:
        return one + other, threading.get_ident()

    async def run() -> tuple[int, int]:
        return await WorkerThreads().run(work, 1, other=2)

    total, thread = asyncio.run(run())
    assert total == 3
    assert thread != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        asyncio.run(WorkerThreads().run(divmod, 1, 0))


def test_no_more_work_runs_at_once_than_processors_and_one() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1

    async def run() -> None:
        threads = WorkerThreads()
        await gather_or_cancel(threads.run(work) for _ in range(3 * (os.cpu_count() or 1) + 6))

    asyncio.run(run())
    assert most == (os.cpu_count() or 1) + 1
