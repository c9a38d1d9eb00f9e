"""The true bars of the sandbox's market, independent of its clock: what a query for closed days should give."""

from __future__ import annotations

from ckvd_sql.market.series import parse_time
from ckvd_sql.sandbox import market_bars
from ckvd_sql.sandbox.anomalies import ROWS
from tests.support.bars import Bar, Row, bars, series

#: The exchange's time, a Saturday: spot's archive of yesterday is out, today is half over, a bar is forming.
NOW = "2024-06-15T12:00:30"


def at(text: str) -> int:
    """A time in microseconds since the epoch."""
    return parse_time(text, "time")


def true_rows(
    symbol: str, interval: str, start: str, end: str, *, market: str = "spot", now: str = "2026-01-01"
) -> list[Row]:
    """Rows as REST has them, of bars that open in `[start, end)` and are closed at `now`."""
    return [list(row) for row in market_bars(series(market, symbol, interval), at(start), at(end), at(now))]


def true_bars(
    symbol: str, interval: str, start: str, end: str, *, market: str = "spot", now: str = "2026-01-01"
) -> list[Bar]:
    """The same bars in the shape of `tests.support.bars.read`."""
    return bars(true_rows(symbol, interval, start, end, market=market, now=now))


def with_anomaly(name: str, rows: list[Row]) -> list[Bar]:
    """Bars of the rows as the sandbox's anomaly changes them, in order of time."""
    return sorted(bars(ROWS[name]([[str(cell) for cell in row] for row in rows])))
