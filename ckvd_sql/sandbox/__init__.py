r"""A stand-in for Binance on loopback: archive and REST, with synthetic or replayed data, and faults on request.

with Sandbox(now="2024-06-15T12:00:00") as exchange:
    exchange.add(Fault(path=r"\.zip$", kind="status", status=503, times=2))
"""

from __future__ import annotations

from ckvd_sql.sandbox.anomalies import ANOMALIES
from ckvd_sql.sandbox.exchange import Request
from ckvd_sql.sandbox.faults import KINDS, Fault
from ckvd_sql.sandbox.history import market_bars
from ckvd_sql.sandbox.server import Sandbox, serve
from ckvd_sql.sandbox.symbols import OUTAGES, SYMBOLS, Listing, Outage

__all__ = [
    "ANOMALIES",
    "KINDS",
    "OUTAGES",
    "SYMBOLS",
    "Fault",
    "Listing",
    "Outage",
    "Request",
    "Sandbox",
    "market_bars",
    "serve",
]
