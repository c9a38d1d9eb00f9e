"""Ctrl-C that ends a command within about a second, whatever the main thread waits for.

Python runs a signal handler only when the main thread next executes bytecode, and a thread that waits for a query
does not. So a second thread watches for the signal too, and ends the process if it is still running after a moment.
That is safe, because cache and output files are replaced atomically. Knows no command.
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

STATUS = 130  # the exit status of a command that SIGINT ended, by the convention of shells: 128 + 2
MESSAGE = "interrupted; fetched days are cached, and the same command continues from there"

_GRACE = 1.0  # seconds in which a command may end by itself
_AFTER_BAR = "\x1b[?25h\n"  # shows the cursor, which a progress bar hides, and ends the bar's line

#: Called before the process is ended from outside its main thread, whose own clean-up then does not run.
on_sudden_end: list[Callable[[], object]] = []


class Interruptible:
    """A context in which Ctrl-C ends the process.

    Attributes:
        seen: Whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.seen = False
        self._finished = threading.Event()
        self._reported = threading.Lock()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread may set signal handlers
        read_end, write_end = socket.socketpair()
        write_end.settimeout(0)
        threading.Thread(target=self._watch, args=(read_end,), name="ckvd-interrupt", daemon=True).start()
        self._stack.callback(write_end.close)
        self._stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(write_end.fileno(), warn_on_full_buffer=False))
        self._stack.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, self._raise))
        return self

    def __exit__(self, *_: object) -> None:
        # After Ctrl-C the watching thread stays on guard: the process may still wait for other threads to end.
        if not self.seen:
            self._finished.set()
        self._stack.close()

    def report(self) -> None:
        """Write the message to stderr, once however many threads call."""
        with contextlib.suppress(OSError):
            if self._reported.acquire(blocking=False):
                os.write(2, f"{MESSAGE}\n".encode())

    def _raise(self, *_: object) -> NoReturn:
        self.seen = True
        raise KeyboardInterrupt

    def _watch(self, read_end: socket.socket) -> None:
        with read_end:
            while number := read_end.recv(1):
                if number[0] == signal.SIGINT and not self._finished.wait(_GRACE):
                    self._end()

    def _end(self) -> NoReturn:
        for clean_up in on_sudden_end:
            with contextlib.suppress(OSError):
                clean_up()
        if sys.stderr.isatty():
            os.write(2, _AFTER_BAR.encode())
        self.report()
        os._exit(STATUS)
