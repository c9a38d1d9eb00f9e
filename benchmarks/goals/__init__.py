"""The goals, a module for each group of them."""

from __future__ import annotations

from benchmarks.goals.cache_views import CACHE_VIEWS
from benchmarks.goals.cold import COLD_FETCH, FIRST_ROWS
from benchmarks.goals.growth import GROWTH
from benchmarks.goals.many_files import MANY_DAYS, MANY_SYMBOLS
from benchmarks.goals.memory import SCAN_MEMORY
from benchmarks.goals.polars_frame import POLARS_FRAME
from benchmarks.goals.startup import STARTUP
from benchmarks.goals.warm import WARM_LONG_RANGE, WARM_SHORT_RANGE

#: By name, in the order in which they are measured and reported.
GOALS = {
    goal.name: goal
    for goal in (
        WARM_LONG_RANGE,
        WARM_SHORT_RANGE,
        MANY_DAYS,
        MANY_SYMBOLS,
        COLD_FETCH,
        FIRST_ROWS,
        SCAN_MEMORY,
        CACHE_VIEWS,
        POLARS_FRAME,
        STARTUP,
        GROWTH,
    )
}
