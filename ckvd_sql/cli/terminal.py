"""What a person sees: plain columns, warnings, and progress bars that never get into a pipe.

Knows rich; what the words mean is not its business.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from itertools import groupby
from typing import TYPE_CHECKING, Self

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ckvd_sql.scan.plan import DayPlan

#: With more bars than this only the one that moves is shown.
_BARS_AT_ONCE = 10

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024


def columns(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows below a header, in columns; numbers and what ends in a unit stand to the right."""
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
    """Bytes as people read them: `512 B`, `1.4 MiB`."""
    amount = float(size)
    for unit in _UNITS:
        if amount < _STEP or unit == _UNITS[-1]:
            break
        amount /= _STEP
    return f"{size} B" if unit == _UNITS[0] else f"{amount:.1f} {unit}"


def plan_table(plans: Mapping[str, Sequence[DayPlan]]) -> str:
    """Plans by symbol as text, neighbouring days of one origin on one line."""
    rows = []
    for symbol, days in plans.items():
        for source, run in groupby(days, key=lambda one: one.source):
            same = [one.day for one in run]
            span = str(same[0]) if len(same) == 1 else f"{same[0]} to {same[-1]}"
            rows.append((symbol, span, len(same), source.value))
    return columns(("symbol", "dates", "days", "source"), rows)


class Warnings(logging.Handler):
    """Shows the library's warnings on stderr, a line each, above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show one."""
        with contextlib.suppress(OSError):  # stderr is gone
            # Not click.echo, which finds a way around the stream that a bar puts in place of stderr.
            sys.stderr.write(f"warning: {' '.join(record.getMessage().split())}\n")


@contextlib.contextmanager
def shown_warnings() -> Iterator[None]:
    """Show the library's warnings for as long as this lasts."""
    log, handler = logging.getLogger("ckvd_sql"), Warnings(logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class Bars:
    """A progress bar per name on stderr; nothing at all where stderr is no terminal.

    Args:
        totals: How many days each name has.
    """

    def __init__(self, totals: Mapping[str, int]) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(complete_style="cyan", finished_style="green"),
            MofNCompleteColumn(),
            TextColumn("days"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._all = len(totals) <= _BARS_AT_ONCE
        self._tasks = {
            name: self._progress.add_task(name, total=total, visible=self._all) for name, total in totals.items()
        }
        self._left = dict(totals)

    def __enter__(self) -> Self:
        try:
            self._progress.start()
        except BaseException:  # Ctrl-C may come right now, and the cursor is hidden by then
            self._progress.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, name: str) -> None:
        """One day of a name is done."""
        self._left[name] -= 1
        self._progress.update(self._tasks[name], advance=1, visible=self._all or self._left[name] > 0)
