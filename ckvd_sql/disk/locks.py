"""Locks between threads and processes, as files: one holder at a time, and none is waited for without end.

A holder touches its lock file now and then. One that has not done so for a while is stopped, or cut off from its disk:
others then go on without the lock, with one warning. So whatever is done under a lock must also be safe without it.
What that is, is not known here.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ckvd_sql.disk.files import Shared, create, make_folder

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType

log = logging.getLogger("ckvd_sql")

#: Seconds without a sign of life after which a holder is not waited for, unless the caller says so.
PATIENCE = 30.0

_LEAST_PATIENCE = 3.0  # some disks' clocks tick every two seconds
_SIGN_EVERY = 0.5
_POLL_EVERY = 0.01
_LONGEST_POLL = 0.1  # a poll that took longer says that this process was stopped itself

#: The lock files whose holders were given up, with the time of the last sign of life in ns.
_given_up: dict[str, int] = {}


class LockFile:
    """A lock file. It is never deleted, since others may be waiting for it.

    Args:
        path: The file; its folder is made.
        root: The folder from which downwards what is made is shared.
        shared: Who else may use the lock.
        patience: Seconds without a sign of life after which the holder is not waited for.

    Attributes:
        held: Whether this object holds the lock.
    """

    def __init__(self, path: Path, root: Path, shared: Shared = Shared.OFF, *, patience: float = PATIENCE) -> None:
        self.held = False
        self._path = path
        self._root = root
        self._shared = shared
        self._patience = max(patience, _LEAST_PATIENCE)
        self._file = -1
        self._seen = -1
        self._silent = 0.0
        self._polled = time.monotonic()

    @contextlib.contextmanager
    def hold(self, *, wait: bool = True) -> Iterator[LockFile]:
        """Hold the lock; without it where it can't be had: see `held`."""
        try:
            while not self._is_settled() and wait:
                time.sleep(_POLL_EVERY)
            yield self
        finally:
            self._release()

    @contextlib.asynccontextmanager
    async def hold_async(self) -> AsyncIterator[LockFile]:
        """The same on an event loop, which gives the signs of life."""
        import asyncio  # noqa: PLC0415 (most processes only read, and need none)

        signs: asyncio.Task[None] | None = None
        try:
            while not self._is_settled():  # noqa: ASYNC110 (another process has no event to wait for)
                await asyncio.sleep(_POLL_EVERY)
            signs = asyncio.create_task(self._give_signs())
            yield self
        finally:
            if signs:
                signs.cancel()
            self._release()

    def give_sign(self) -> None:
        """Tell those who wait that the holder is alive."""
        if self.held:
            with contextlib.suppress(OSError):
                os.utime(self._file)

    async def _give_signs(self) -> None:
        import asyncio  # noqa: PLC0415 (as above)

        while self.held:
            await asyncio.sleep(_SIGN_EVERY)
            self.give_sign()

    def _is_settled(self) -> bool:
        """Try once; whether the lock is held, or is not to be waited for."""
        try:
            make_folder(self._path.parent, self._root, self._shared)
            return self._take() or self._is_given_up()
        except OSError:  # the disk allows no lock files: then nothing can be shared either
            return True

    def _take(self) -> bool:
        try:
            file = self._open()
        except FileNotFoundError:  # deleted meanwhile
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(file).st_nlink:  # deleted meanwhile: it locks nothing
                raise BlockingIOError
        except OSError as error:
            os.close(file)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._file, self.held = file, True
        _given_up.pop(str(self._path), None)
        self.give_sign()
        return True

    def _open(self) -> int:
        """The lock file's descriptor; the file is made if need be."""
        with contextlib.suppress(FileExistsError):
            if not self._path.is_symlink() and not self._path.exists():
                return create(self._path, self._shared)
        file = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError("it is not a regular file")
        return file

    def _is_given_up(self) -> bool:
        """Whether the holder has given no sign of life for as long as it is waited for."""
        now, name = time.monotonic(), str(self._path)
        try:
            sign = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        if _given_up.get(name) == sign:
            return True
        self._silent = self._silent + min(now - self._polled, _LONGEST_POLL) if sign == self._seen else 0.0
        self._seen, self._polled = sign, now
        if self._silent < self._patience:
            return False
        _given_up[name] = sign
        log.warning(
            "lock file %s is held%s, without a sign of life for %.0f s; going on without the lock",
            name,
            _by_whom(self._path),
            self._silent,
        )
        return True

    def _release(self) -> None:
        if self.held:
            self.held = False
            fcntl.flock(self._file, fcntl.LOCK_UN)  # a forked child may have the descriptor too
            os.close(self._file)


class ThreadLock:
    """A lock among the threads of one process. A forked child has its own: the owner may not live on there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()

    def __enter__(self) -> None:
        if self._process != os.getpid():
            self._lock = threading.Lock()
            self._process = os.getpid()
        self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lock.release()


def _by_whom(path: Path) -> str:
    """` by process 123`, where the system tells (Linux)."""
    with contextlib.suppress(OSError, ValueError):
        inode = str(path.stat().st_ino)
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            _, kind, _, _, process, place, *_ = line.split()
            if kind == "FLOCK" and place.rsplit(":", 1)[-1] == inode and int(process) > 0:
                return f" by process {process}"
    return ""
