"""Why a goal is where it is: what bounds it from below. Written by hand, printed where a goal is missed."""

from __future__ import annotations

#: By the number of the goal. Keep a sentence only for as long as it is true.
WHY = {
    "1": (
        "A batch costs DuckDB some 7 µs whatever its size, so a day a batch costs 730 of them; a filter on open_time "
        "is judged by year, month and day before it is read. Casting a TIMESTAMPTZ to a date goes through the time "
        "zone database and takes longer than reading the bars, with every contender."
    ),
    "3": "A day file costs open, fstat, read and close (7 µs), two messages and a batch (17 µs), and its checks.",
    "4": "As for 3, a hundred thousand times over.",
    "5": "The floor neither parses CSV (1 ms a day) nor writes day files (1 ms a day).",
    "8": "Opening 100,000 files takes longer than the goal allows, whatever is read of them.",
}
