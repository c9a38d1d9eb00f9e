"""Fetches the missing days of a statement before it runs, with a progress bar.

`sqltext` finds the queries in the statement, the plan their missing days. Knows neither SQL nor sources.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from ckvd_sql.cli.sqltext import find_queries
from ckvd_sql.cli.terminal import Bar
from ckvd_sql.client import CryptoKlineVisionData
from ckvd_sql.market.provenance import Source
from ckvd_sql.scan.resolver import Resolver

if TYPE_CHECKING:
    from ckvd_sql.client import DayReport
    from ckvd_sql.market.query import Query
    from ckvd_sql.settings import Settings


def fetch_first(statement: str, settings: Settings) -> None:
    """Fetch the days of a statement's calls that are missing from the cache, with a progress bar on a terminal.

    Args:
        statement: One SQL statement.
        settings: The settings that it will run with.

    Raises:
        CkvdError: A day could not be fetched; the statement would fail on it too.
    """
    for query in find_queries(statement, settings.clock()):
        _fetch(query, settings)


def _fetch(query: Query, settings: Settings) -> None:
    """Fetch from the first to the last missing day. Days not yet over are left to the statement: they aren't cached."""
    resolver = Resolver(settings)
    query = resolver.catalog.expand(query)
    plans = dict(resolver.plans(query))
    missing = [
        one.day
        for series, days in plans.items()
        for one in days
        if one.source in {Source.VISION, Source.REST} and series.interval.closed_at(one.day) <= query.now
    ]
    if not missing:
        return
    first, last = min(missing), max(missing)
    total = sum(first <= one.day <= last for days in plans.values() for one in days)
    with Bar(total) as bar:

        def advance(day: DayReport) -> None:
            if day.error:
                raise day.error
            bar.advance(day.symbol)

        CryptoKlineVisionData(settings).fetch(
            query.symbols, first, last + timedelta(days=1), query.interval.name, query.market.value, progress=advance
        )
