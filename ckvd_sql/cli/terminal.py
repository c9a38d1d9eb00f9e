"""Text for a terminal: columns, plans, warnings, and a progress bar on stderr.

Knows no command.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from itertools import groupby
from typing import TYPE_CHECKING, Self

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from ckvd_sql.scan.plan import DayPlan

_LOG = logging.getLogger("ckvd_sql")

#: Without a terminal a line of progress is written this often, in seconds.
_LINE_EVERY = 10.0

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024


def columns(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows below a header, in columns; those of numbers and sizes are right-aligned."""
    cells = [
        [name.upper() for name in header],
        *([f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows),
    ]
    widths = [max(cell_len(row[n]) for row in cells) for n in range(len(header))]
    right = [all(_is_amount(row[n]) for row in rows) and bool(rows) for n in range(len(header))]

    def line(row: list[str]) -> str:
        spaces = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        placed = [
            f"{space}{cell}" if to_right else f"{cell}{space}"
            for cell, space, to_right in zip(row, spaces, right, strict=True)
        ]
        return "  ".join(placed).rstrip()

    return "\n".join(line(row) for row in cells)


def _is_amount(cell: object) -> bool:
    return isinstance(cell, int) or str(cell).endswith(_UNITS) or cell == ""


def human_size(size: int) -> str:
    """A number of bytes with its binary unit: `512 B`, `1.4 MiB`."""
    amount = float(size)
    for unit in _UNITS:
        if amount < _STEP or unit == _UNITS[-1]:
            break
        amount /= _STEP
    return f"{size} B" if unit == _UNITS[0] else f"{amount:.1f} {unit}"


def plan_table(plans: Mapping[str, Sequence[DayPlan]]) -> str:
    """Plans by symbol as text, with one line per run of adjacent days of one source."""
    rows = []
    for symbol, plan in plans.items():
        for source, run in groupby(plan, key=lambda planned: planned.source):
            days = [planned.day for planned in run]
            span = str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]}"
            rows.append((symbol, span, len(days), source.value))
    return columns(("symbol", "dates", "days", "source"), rows)


class Warnings(logging.Handler):
    """Writes the library's warnings to stderr, one line each, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a warning."""
        with contextlib.suppress(OSError):  # stderr is closed
            # Not click.echo, which bypasses the stream that rich puts in place of stderr under a progress bar.
            sys.stderr.write(f"warning: {' '.join(record.getMessage().split())}\n")


@contextlib.contextmanager
def _attached(handler: logging.Handler) -> Iterator[None]:
    """Pass what the library logs to a handler within this context."""
    _LOG.addHandler(handler)
    try:
        yield
    finally:
        _LOG.removeHandler(handler)


def shown_warnings() -> AbstractContextManager[None]:
    """Write the library's warnings to stderr within this context."""
    return _attached(Warnings(logging.WARNING))


class Notes(logging.Handler):
    """Writes what the library says of a command's progress to stderr, one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a note; warnings are written by `Warnings`."""
        if record.levelno == logging.INFO:
            with contextlib.suppress(OSError):
                sys.stderr.write(f"{record.getMessage()}\n")


@contextlib.contextmanager
def shown_notes() -> Iterator[None]:
    """Write the library's notes to stderr within this context."""
    level = _LOG.level
    _LOG.setLevel(logging.INFO)
    try:
        with _attached(Notes(logging.INFO)):
            yield
    finally:
        _LOG.setLevel(level)


class Bar:
    """How far a fetch of some symbols is: one bar on stderr with the time left; a line now and then without a terminal.

    Args:
        total: The number of days of all symbols.
    """

    def __init__(self, total: int) -> None:
        self._progress = Progress(
            BarColumn(complete_style="cyan", finished_style="green"),
            MofNCompleteColumn(),
            TextColumn("days"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task("", total=total)
        self._total = total
        self._done = 0
        self._next_line = time.monotonic() + _LINE_EVERY

    def __enter__(self) -> Self:
        try:
            self._progress.start()
        except BaseException:  # such as Ctrl-C, when the cursor is already hidden
            self._progress.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, symbol: str) -> None:
        """Count a day of a symbol as done."""
        self._done += 1
        self._progress.update(self._task, advance=1, description=symbol)
        if self._progress.disable and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_EVERY
            with contextlib.suppress(OSError):
                sys.stderr.write(f"{self._done:,} of {self._total:,} days, {symbol}\n")
