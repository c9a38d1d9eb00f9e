"""The goals, one module a group: each function measures one item of the table and gives an `Outcome`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.goals import download, frames, fresh, growth, inventory, live, memory, startup

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench
    from benchmarks.outcome import Outcome

#: What measures which item. `growth` has no number in the table: it draws cost against size.
GOALS: dict[str, Callable[[Bench], Outcome]] = {
    "1": live.two_years,
    "2": live.small_ranges,
    "3": fresh.nine_years,
    "4": fresh.many_symbols,
    "5": download.year,
    "6": download.first_rows,
    "7": memory.seconds,
    "8": inventory.cache_views,
    "9": frames.legacy,
    "10": startup.imports,
    "growth": growth.cost_against_size,
}
