"""Plan, gaps and symbols as lazy Arrow datasets. Nothing here knows SQL or DuckDB."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ckvd_sql.market.bars import INSTANT, open_times, schema_of
from ckvd_sql.market.gaps import find_gaps, since_listing
from ckvd_sql.market.provenance import Source
from ckvd_sql.tables.cache import day_files_table
from ckvd_sql.tables.lazy import rows_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ckvd_sql.market.query import Query
    from ckvd_sql.market.series import Market, Series
    from ckvd_sql.scan.resolver import Resolver
    from ckvd_sql.tables.lazy import LazyDataset

PLAN_SCHEMA = schema_of(
    ("symbol", pa.string()),
    ("date", pa.date32()),
    ("source", pa.string()),
    ("rows", pa.int64()),
    ("bytes", pa.int64()),
    ("path", pa.string()),
)

#: The states of a symbol that has bars now, or will again.
_TRADED = frozenset({"TRADING", "HALT", "PENDING_TRADING"})

GAPS_SCHEMA = schema_of(("symbol", pa.string()), ("from", INSTANT), ("to", INSTANT), ("count", pa.int64()))

SYMBOLS_SCHEMA = schema_of(
    ("symbol", pa.string()),
    ("base", pa.string()),
    ("quote", pa.string()),
    ("status", pa.string()),
    ("first_open", INSTANT),
    ("last_open", INSTANT),
)


def plan_dataset(resolver: Resolver, make_query: Callable[[], Query]) -> LazyDataset:
    """A row per symbol and UTC day: the source it would come from now, and its file where it is cached."""
    return rows_dataset(PLAN_SCHEMA, lambda: plan_rows(resolver, make_query()))


def plan_rows(resolver: Resolver, query: Query) -> Iterator[dict[str, Any]]:
    """The rows of `plan_dataset`."""
    for series, days in resolver.plans(query):
        cached = day_files_table(resolver.store, series, [one.day for one in days if one.source is Source.CACHE])
        files = {row.pop("date"): row for row in cached.select(["date", "rows", "bytes", "path"]).to_pylist()}
        for one in days:
            yield {"symbol": series.symbol, "date": one.day, "source": one.source.value} | files.get(one.day, {})


def gaps_dataset(resolver: Resolver, make_query: Callable[[], Query]) -> LazyDataset:
    """A row per run of bars that the grid has and the data does not. Days that are not cached are fetched."""

    def rows() -> Iterator[dict[str, Any]]:
        query = make_query()
        for wanted in query.series():
            with contextlib.closing(resolver.stream(query.only(wanted.symbol))) as steps:
                batches: Iterable[pa.RecordBatch] = (bars for step in steps for bars in step.batches())
                series = resolver.on_grid(wanted)
                if not series.interval.grid_known:  # the first bars tell it
                    batches = list(batches)
                    series = resolver.on_grid(wanted)
                gaps = list(find_gaps(series.interval, query.span, query.now, batches))
            first_slot = series.interval.slots(query.span.start, query.span.end).start
            for found in gaps:
                leading = found.start == series.interval.open_time(first_slot)  # the series may begin after it
                first_open = resolver.first_open(series) if leading else None
                gap = since_listing(series.interval, found, first_open)
                if gap:
                    yield {"symbol": series.symbol, "from": gap.start, "to": gap.end, "count": gap.count}

    return rows_dataset(GAPS_SCHEMA, rows)


def symbols_dataset(resolver: Resolver, market: Market) -> LazyDataset:
    """The symbols of a market that the exchange lists now, or of which archive or cache have bars."""
    return rows_dataset(SYMBOLS_SCHEMA, lambda: symbol_rows(resolver, market))


def symbol_rows(resolver: Resolver, market: Market) -> Iterator[dict[str, Any]]:
    """The rows of `symbols_dataset`.

    `first_open` is known where the cache has the series' beginning; `last_open`, of a symbol that is no longer traded,
    where the cache has bars of it.
    """
    cached: defaultdict[str, list[Series]] = defaultdict(list)
    for series in resolver.store.series():
        if series.market is market:
            cached[series.symbol].append(series)
    for one in resolver.catalog.symbols(market):
        listed = one.listed
        first = [time for series in cached[one.symbol] if (time := resolver.store.first_open(series)) is not None]
        traded = listed is not None and listed.status in _TRADED
        last = [] if traded else [time for series in cached[one.symbol] if (time := _last_open(resolver, series))]
        yield {
            "symbol": one.symbol,
            "base": listed.base if listed else None,
            "quote": listed.quote if listed else None,
            "status": listed.status if listed else None,
            "first_open": max(first, default=None),  # that of the shortest interval: longer bars open before
            "last_open": max(last, default=None),
        }


def _last_open(resolver: Resolver, series: Series) -> int | None:
    """The open time of the last cached bar of a series."""
    day = resolver.store.last_with_rows(series)
    return None if day is None else int(open_times(resolver.store.read(series, day).rows)[-1])
