"""The state of a cache folder, compared with the bars of the sandbox's market."""

from __future__ import annotations

import functools
import json
from datetime import date
from typing import TYPE_CHECKING, Any

from ckvd_sql import CacheError
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import DAY, day_start
from ckvd_sql.market.series import INTERVALS, Market, Series
from ckvd_sql.sandbox import Sandbox, market_bars
from tests.support.bars import bars
from tests.support.rows import rest_bars

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from tests.support.bars import Bar

NOW = "2024-06-15T12:00:30"
HOURS = Series(Market.SPOT, "BTCUSDT", INTERVALS["1h"])
MINUTES = Series(Market.SPOT, "BTCUSDT", INTERVALS["1m"])
WEEKS = Series(Market.SPOT, "BTCUSDT", INTERVALS["1w"])
FIRST, LAST = date(2024, 1, 1), date(2024, 1, 5)
DATE = date(2024, 1, 3)
CALL = "ckvd_klines('BTCUSDT', '1h', '2024-01-01', '2024-01-06')"


def expected_bars(series: Series, start: str | date, end: str | date) -> list[Bar]:
    """The closed bars that open in `[start, end)`, in the shape of `tests.support.bars.read`."""
    return bars(market_bars(series, parse_time(start, "start"), parse_time(end, "end"), parse_time(NOW, "now")))


@functools.lru_cache(maxsize=512)
def expected_day(series: Series, day: date) -> pa.RecordBatch:
    """The bars that the day file of this day should have."""
    rows = market_bars(series, day_start(day), day_start(day) + DAY, parse_time(NOW, "now"))
    return rest_bars(json.dumps(rows).encode(), "sandbox")


def wrong_days(root: Path) -> list[str]:
    """The day files below a cache folder that do not verify or differ from the exchange's bars."""
    store, wrong = DayStore(root), []
    for series in store.series():
        for day in sorted(store.days(series)):
            try:
                store.verify(series, day)
                right = store.read(series, day).rows.equals(expected_day(series, day))
            except CacheError:
                right = False
            if not right:
                wrong.append(f"{series} {day}")
    return wrong


def leftovers(root: Path) -> list[str]:
    """The files below a cache folder that are neither day files nor lock files; the number of the latter is bounded."""
    files = [path for path in root.rglob("*") if path.is_file() and path.parent.name != ".locks"]
    return sorted(str(path.relative_to(root)) for path in files if path.suffix != ".arrow")


def locks_held(cache: Path) -> list[str]:
    """The lock files of a cache that any process holds."""
    import fcntl  # noqa: PLC0415 (POSIX only)

    held = []
    for path in (cache / ".locks").glob("*.lock"):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(path.name)
    return held


def sandbox_settings(exchange: Sandbox, **more: Any) -> dict[str, Any]:
    """Settings that send every request to the sandbox; `more` overrides them."""
    return {**exchange.settings, **more}
