"""How far a query's fetching is, shown once it has taken a second: on a terminal, in a notebook, else in the log.

On a terminal a bar on stderr, which disappears at the end; in a notebook a line of its own; elsewhere lines of the
logger `ckvd_sql` (INFO) at the start, every ten seconds and at the end. Never on stdout, and never in a pipe. The
setting `progress` switches it off.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from ckvd_sql.settings import Settings
    from ckvd_sql.sources.answers import Traffic

log = logging.getLogger("ckvd_sql")

#: What takes no longer is not shown, in seconds.
_SHOWN_AFTER = 1.0
_LOGGED_EVERY = 10.0
_LINE_EVERY = 0.5


#: A terminal has one bar at a time; queries beside it are said in the log.
_one_bar = threading.Lock()


class _Display(Protocol):
    """Where progress is shown."""

    def update(self, done: int, text: str) -> None:
        """Show that so many days are done, and what was received."""

    def close(self, text: str) -> None:
        """Show the end."""


class Progress:
    """The progress of one query; use it as a context manager.

    Args:
        settings: Whether it is shown.
        days: How many days there are to fetch.
        traffic: What has been received.
    """

    def __init__(self, settings: Settings, days: int, traffic: Traffic) -> None:
        self._shown = settings.progress and days > 0
        self._days = days
        self._traffic = traffic
        self._done = 0
        self._began = time.monotonic()
        self._display: _Display | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._display:
            self._display.close(f"fetched {self._text()}")

    def advance(self, days: int) -> None:
        """Count days as fetched."""
        self._done += days
        self.tick()

    def tick(self) -> None:
        """Called again and again while a query waits for days."""
        if not self._shown or time.monotonic() - self._began < _SHOWN_AFTER:
            return
        if self._display is None:
            self._display = _display(self._days)
        self._display.update(self._done, self._text())

    def _text(self) -> str:
        seconds, traffic = time.monotonic() - self._began, self._traffic
        size = traffic.size / (1 << 20)
        return f"{self._done:,} of {self._days:,} days, {traffic.files:,} files, {size:,.1f} MiB in {seconds:,.0f} s"


def _display(days: int) -> _Display:
    if _in_notebook():
        return _Line()
    if _on_terminal() and _one_bar.acquire(blocking=False):
        return _Bar(days)
    return _Log()


def _on_terminal() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # it is closed
        return False


def _in_notebook() -> bool:
    """Whether this is a kernel of Jupyter, whose front end shows rich output."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


class _Bar:
    """A bar on a terminal, by rich, which is loaded now: most queries show none."""

    def __init__(self, days: int) -> None:
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
        from rich.progress import Progress as RichProgress  # noqa: PLC0415

        self._bar = RichProgress(
            BarColumn(complete_style="cyan", finished_style="green"),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
        )
        self._bar.start()
        self._task = self._bar.add_task("", total=days)

    def update(self, done: int, text: str) -> None:
        self._bar.update(self._task, completed=done, description=text, refresh=True)

    def close(self, text: str) -> None:
        del text
        self._bar.stop()
        _one_bar.release()


class _Line:
    """A line of a notebook, which is replaced as the fetching goes on."""

    def __init__(self) -> None:
        from IPython.display import display  # noqa: PLC0415 (it runs in IPython)

        shown: Any = {"text/plain": "fetching"}
        self._handle: Any = display(shown, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        self._next = 0.0

    def update(self, done: int, text: str) -> None:
        del done
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_EVERY
            self._say(f"fetching: {text}")

    def close(self, text: str) -> None:
        self._say(text)

    def _say(self, text: str) -> None:
        self._handle.update({"text/plain": text}, raw=True)


class _Log:
    """Lines of the log."""

    def __init__(self) -> None:
        self._next = 0.0

    def update(self, done: int, text: str) -> None:
        del done
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LOGGED_EVERY
            log.info("fetching: %s", text)

    def close(self, text: str) -> None:
        log.info(text)
