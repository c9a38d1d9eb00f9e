"""The demo: one query through archive, REST and cache, against a sandbox on loopback.

The sandbox's time is fixed before the archive publishes the previous day, so that all sources occur.
"""

from __future__ import annotations

import tempfile
import time
from typing import TYPE_CHECKING, Any

from ckvd_sql.cli.output import draw, table_width
from ckvd_sql.cli.terminal import plan_table
from ckvd_sql.market.query import parse_query
from ckvd_sql.sandbox import Sandbox
from ckvd_sql.scan.resolver import Resolver
from ckvd_sql.settings import Settings
from ckvd_sql.sql import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from duckdb import DuckDBPyConnection

_NOW = "2024-06-15T02:30:00"
_SYMBOL, _INTERVAL, _START = "BTCUSDT", "1h", "2024-04-01"
_CALL = f"ckvd_klines('{_SYMBOL}', '{_INTERVAL}', '{_START}')"
_QUERY = f"SELECT open_time, open, high, low, close, volume, trades, source FROM {_CALL}"  # noqa: S608 (constants)
_CLOSED = " WHERE open_time < '2024-06-15'"
_SOURCES = """
    SELECT source, count(*) AS bars, min(open_time)::DATE AS first_day, max(open_time)::DATE AS last_day
    FROM bars GROUP BY source ORDER BY first_day, last_day
"""


def run(say: Callable[[str], object]) -> None:
    """Run the demo.

    Args:
        say: Called with the text of each step.
    """
    with tempfile.TemporaryDirectory(prefix="ckvd-demo-") as folder, Sandbox(now=_NOW) as exchange:
        overrides: dict[str, Any] = {**exchange.settings, "cache_dir": folder, "offline": False}
        settings = Settings.load(**overrides)
        with connect(**overrides) as con:
            say(f"A sandbox of Binance at {exchange.url}, its time fixed at {_NOW} UTC, and an empty cache.\n")
            say("The source of each day, before:\n")
            say(_plan(settings))
            say(f"\n{_QUERY};\n")
            bars, seconds = _timed(con, _QUERY)
            say(draw(con, con.from_arrow(bars), table_width(), rows=10))
            say(f"\n{_summary(exchange, bars, seconds)}:\n")
            say(_sources(con, bars))
            say("\nThe source of each day, after:\n")
            say(_plan(settings))
            exchange.forget()
            bars, seconds = _timed(con, _QUERY)
            say(f"\nThe same query again: {_summary(exchange, bars, seconds)}, today being in memory until it is over.")
            exchange.forget()
            bars, seconds = _timed(con, _QUERY + _CLOSED)
            say(f"\nThe same query with{_CLOSED}: {_summary(exchange, bars, seconds)}.")


def _timed(con: DuckDBPyConnection, query: str) -> tuple[pa.Table, float]:
    begin = time.perf_counter()
    bars = con.sql(query).to_arrow_table()
    return bars, time.perf_counter() - begin


def _summary(exchange: Sandbox, bars: pa.Table, seconds: float) -> str:
    archive = sum(request.path.startswith("/data/") for request in exchange.requests)
    rest = len(exchange.requests) - archive
    return (
        f"{bars.num_rows:,} bars in {seconds * 1000:,.0f} ms, with {archive} requests to the archive and {rest} to REST"
    )


def _plan(settings: Settings) -> str:
    query = parse_query(_SYMBOL, _INTERVAL, _START, "now", now=settings.clock())
    return plan_table({series.symbol: days for series, days in Resolver(settings).plans(query)})


def _sources(con: DuckDBPyConnection, bars: pa.Table) -> str:
    con.register("bars", bars)
    return draw(con, con.sql(_SOURCES), table_width())
