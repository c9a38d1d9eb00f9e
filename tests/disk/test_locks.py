"""Lock files: one holder at a time, a silent holder is not waited for, and what is no lock file is no obstacle."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.disk import locks
from ckvd_sql.disk.locks import LockFile, ThreadLock
from tests.support.damage import writable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _soon_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_LEAST_PATIENCE", 0.2)
    monkeypatch.setattr(locks, "_SIGN_EVERY", 0.02)


def lock(tmp_path: Path) -> LockFile:
    return LockFile(tmp_path / "locks" / "one.lock", tmp_path, patience=0.2)


def test_one_at_a_time_holds_it(tmp_path: Path) -> None:
    with lock(tmp_path).hold() as first, lock(tmp_path).hold(wait=False) as second:
        assert first.held
        assert not second.held
    with lock(tmp_path).hold(wait=False) as third:
        assert third.held
    assert (tmp_path / "locks" / "one.lock").exists()


@pytest.mark.timeout(10)
def test_a_silent_holder_is_given_up_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with lock(tmp_path).hold():
        for _ in range(3):
            with lock(tmp_path).hold() as waiting:
                assert not waiting.held
        (warning,) = caplog.messages
        assert str(tmp_path / "locks" / "one.lock") in warning
        if os.path.exists("/proc/locks"):  # noqa: PTH110
            assert f"by process {os.getpid()}" in warning
    with lock(tmp_path).hold() as after:
        assert after.held


@pytest.mark.timeout(10)
def test_a_holder_that_gives_signs_of_life_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> list[str]:
        order: list[str] = []

        async def hold(name: str, seconds: float) -> None:
            async with lock(tmp_path).hold_async() as one:
                assert one.held
                await asyncio.sleep(seconds)
                order.append(name)

        first = asyncio.create_task(hold("first", 1))
        await asyncio.sleep(0.05)
        await asyncio.gather(first, hold("second", 0))
        return order

    assert asyncio.run(run()) == ["first", "second"]
    assert caplog.messages == []


@pytest.mark.timeout(10)
def test_a_holder_on_a_thread_tells_that_it_is_alive(tmp_path: Path) -> None:
    held = threading.Event()

    def hold() -> None:
        with lock(tmp_path).hold() as one:
            held.set()
            for _ in range(20):
                time.sleep(0.05)
                one.give_sign()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    with lock(tmp_path).hold() as waiting:
        assert waiting.held
    holder.join()


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "dangling link", "a file for a folder"])
def test_what_is_no_lock_file_is_no_obstacle_and_stays(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "locks" / "one.lock"
    if kind == "a file for a folder":
        (tmp_path / "locks").touch()
    else:
        path.parent.mkdir()
        (tmp_path / "mine").write_text("mine")
        match kind:
            case "folder":
                path.mkdir()
            case "pipe":
                os.mkfifo(path)
            case "link":
                path.symlink_to(tmp_path / "mine")
            case "dangling link":
                path.symlink_to(tmp_path / "nowhere")
    with lock(tmp_path).hold() as one:
        assert not one.held
    assert not (tmp_path / "nowhere").exists()


def test_the_content_of_a_lock_file_is_of_no_account(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    writable(tmp_path / "locks" / "one.lock").write_bytes(b"\xff\0 damaged")
    with lock(tmp_path).hold() as one:
        assert one.held
    assert (tmp_path / "locks" / "one.lock").read_bytes() == b"\xff\0 damaged"


def test_a_lock_file_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    with lock(tmp_path).hold():
        (tmp_path / "locks" / "one.lock").unlink()
        with lock(tmp_path).hold() as second:
            assert second.held


@pytest.mark.timeout(10)
def test_a_forked_child_does_not_wait_for_a_thread_of_its_parent() -> None:
    one = ThreadLock()
    with one:
        child = os.fork()
        if child == 0:
            with one:
                os._exit(7)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
