"""What a cache folder holds, compared with what the sandbox's market has."""

from __future__ import annotations

import functools
import json
from datetime import date
from typing import TYPE_CHECKING, Any

from ckvd_sql import CacheError
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.bars import read_rest
from ckvd_sql.market.series import DAY, INTERVALS, Market, Series, day_start, parse_time
from ckvd_sql.sandbox import Sandbox, market_bars
from tests.support.bars import bars

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from tests.support.bars import Bar

NOW = "2024-06-15T12:00:30"
HOURS = Series(Market.SPOT, "BTCUSDT", INTERVALS["1h"])
MINUTES = Series(Market.SPOT, "BTCUSDT", INTERVALS["1m"])
WEEKS = Series(Market.SPOT, "BTCUSDT", INTERVALS["1w"])
FIRST, LAST = date(2024, 1, 1), date(2024, 1, 5)
ON = date(2024, 1, 3)
CALL = "ckvd_klines('BTCUSDT', '1h', '2024-01-01', '2024-01-06')"


def truth(series: Series, start: str | date, end: str | date) -> list[Bar]:
    """The exchange's closed bars that open in `[start, end)`, as `read` gives them."""
    return bars(market_bars(series, parse_time(start, "start"), parse_time(end, "end"), parse_time(NOW, "now")))


@functools.lru_cache(maxsize=512)
def whole_day(series: Series, day: date) -> pa.RecordBatch:
    """A day as a day file should have it."""
    rows = market_bars(series, day_start(day), day_start(day) + DAY, parse_time(NOW, "now"))
    return read_rest(json.dumps(rows).encode(), "the oracle")


def wrong_days(root: Path) -> list[str]:
    """The day files below a cache folder that do not verify, or are not what the exchange has."""
    store, wrong = DayStore(root), []
    for series in store.series():
        for day in sorted(store.days(series)):
            try:
                store.verify(series, day)
                right = store.read(series, day).equals(whole_day(series, day))
            except CacheError:
                right = False
            if not right:
                wrong.append(f"{series} {day}")
    return wrong


def leftovers(root: Path) -> list[str]:
    """The files below a cache folder that are neither day files nor the shared locks, whose number is bounded."""
    files = [path for path in root.rglob("*") if path.is_file() and path.parent.name != ".locks"]
    return sorted(str(path.relative_to(root)) for path in files if path.suffix != ".arrow")


def locks_held(cache: Path) -> list[str]:
    """The lock files of a cache that somebody holds."""
    import fcntl  # noqa: PLC0415 (POSIX alone)

    held = []
    for path in (cache / ".locks").glob("*.lock"):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(path.name)
    return held


def hosts(exchange: Sandbox, **more: Any) -> dict[str, Any]:
    """The settings that make a program ask the sandbox."""
    return {**exchange.settings, **more}
