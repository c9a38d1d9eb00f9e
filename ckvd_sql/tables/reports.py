"""Plan, gaps and symbols as lazy Arrow datasets. Nothing here knows SQL or DuckDB."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ckvd_sql.market.bars import INSTANT, schema_of
from ckvd_sql.market.gaps import find_gaps, since_listing
from ckvd_sql.market.provenance import Source
from ckvd_sql.tables.cache import day_files_table
from ckvd_sql.tables.lazy import rows_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ckvd_sql.market.query import Query
    from ckvd_sql.market.series import Market
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

GAPS_SCHEMA = schema_of(("symbol", pa.string()), ("from", INSTANT), ("to", INSTANT), ("count", pa.int64()))

SYMBOLS_SCHEMA = pa.schema([(name, pa.string()) for name in ("symbol", "base", "quote", "status")])


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
    """The symbols of a market, as the exchange lists them now."""

    def rows() -> Iterator[dict[str, Any]]:
        for one in resolver.symbols(market):
            yield {"symbol": one.symbol, "base": one.base, "quote": one.quote, "status": one.status}

    return rows_dataset(SYMBOLS_SCHEMA, rows)
