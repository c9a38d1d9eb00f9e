"""Fetching what a statement lacks before it runs, so that a person sees how far it is.

`sqltext` says which bars the statement will read, the plan which of their days lack.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from ckvd_sql.cli.sqltext import find_queries
from ckvd_sql.cli.terminal import Bars
from ckvd_sql.client import CryptoKlineVisionData
from ckvd_sql.market.provenance import Source
from ckvd_sql.scan.resolver import Resolver

if TYPE_CHECKING:
    from ckvd_sql.client import DayReport
    from ckvd_sql.market.query import Query
    from ckvd_sql.settings import Settings


def fetch_first(statement: str, settings: Settings) -> None:
    """Fetch the days that a statement's calls lack, under a progress bar on a terminal.

    Args:
        statement: One SQL statement.
        settings: The settings it will run with.

    Raises:
        CkvdError: A day can't be had; the statement could not have it either.
    """
    for query in find_queries(statement, settings.clock()):
        _fetch(query, settings)


def _fetch(query: Query, settings: Settings) -> None:
    """Fetch from the first to the last day that lacks and can be kept; today can't, the statement will ask for it."""
    plans = dict(Resolver(settings).plans(query))
    lacking = [
        one.day
        for series, days in plans.items()
        for one in days
        if one.source in {Source.VISION, Source.REST} and series.interval.closed_at(one.day) <= query.now
    ]
    if not lacking:
        return
    first, last = min(lacking), max(lacking)
    totals = {series.symbol: sum(first <= one.day <= last for one in days) for series, days in plans.items()}
    with Bars(totals) as bars:

        def advance(day: DayReport) -> None:
            if day.error:
                raise day.error
            bars.advance(day.symbol)

        CryptoKlineVisionData(settings).fetch(
            query.symbols, first, last + timedelta(days=1), query.interval.name, query.market.value, progress=advance
        )
