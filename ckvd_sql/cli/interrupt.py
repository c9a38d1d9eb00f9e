"""Ctrl-C that ends a command soon, wherever it waits.

Python tells its main thread of a signal once that runs Python again, which a thread that waits for a query doesn't.
So another thread hears of the signal too, and ends the process if it is still there after a moment. That is safe:
what the cache and the output files consist of appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, NoReturn, Self

if TYPE_CHECKING:
    from collections.abc import Callable

STATUS = 130  # what a shell reports of a command that Ctrl-C ended
MESSAGE = "interrupted; what was fetched is kept, the same command goes on from there"

_PATIENCE = 1.0  # seconds for a command to end by itself
_AFTER_BAR = "\x1b[?25h\n"  # a progress bar hides the cursor, and its line has no end

#: Called before a process is ended from outside its main thread; they tidy up what the main thread can't.
on_sudden_end: list[Callable[[], object]] = []


class Interruptible:
    """A command that Ctrl-C ends. `seen` tells whether it was pressed."""

    def __init__(self) -> None:
        self.seen = False
        self._over = threading.Event()
        self._told = threading.Lock()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self  # signals are the main thread's
        ear, mouth = socket.socketpair()
        mouth.settimeout(0)
        threading.Thread(target=self._listen, args=(ear,), name="ckvd-interrupt", daemon=True).start()
        self._stack.callback(mouth.close)
        self._stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False))
        self._stack.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, self._raise))
        return self

    def __exit__(self, *_: object) -> None:
        if not self.seen:  # else the process is ending, which may take threads that wait
            self._over.set()
        self._stack.close()

    def tell(self) -> None:
        """Say once that the command was interrupted."""
        with contextlib.suppress(OSError):
            if self._told.acquire(blocking=False):
                os.write(2, f"{MESSAGE}\n".encode())

    def _raise(self, *_: object) -> NoReturn:
        self.seen = True
        raise KeyboardInterrupt

    def _listen(self, ear: socket.socket) -> None:
        with ear:
            while heard := ear.recv(1):
                if heard[0] == signal.SIGINT and not self._over.wait(_PATIENCE):
                    self._end()

    def _end(self) -> NoReturn:
        for tidy in on_sudden_end:
            with contextlib.suppress(OSError):
                tidy()
        if sys.stderr.isatty():
            os.write(2, _AFTER_BAR.encode())
        self.tell()
        os._exit(STATUS)
