"""Short forms of the findings of `ckvd_audit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    Found = list[tuple[str, str, str]]


def audit(
    con: DuckDBPyConnection,
    symbol: str,
    interval: str,
    start: str,
    end: str,
    *,
    market: str = "spot",
    remote: bool = False,
) -> Found:
    """The check, severity and day of each finding."""
    call = f"ckvd_audit('{symbol}', '{interval}', '{start}', '{end}', market := '{market}', remote := {remote})"
    return con.sql(f'SELECT "check", severity, date::VARCHAR FROM {call}').fetchall()


def audit_days(con: DuckDBPyConnection, symbol: str, interval: str, start: str, end: str) -> list[str]:
    """The days that have a finding."""
    return sorted({day for *_, day in audit(con, symbol, interval, start, end)})
