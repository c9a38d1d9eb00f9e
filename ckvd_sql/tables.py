"""What stands behind the other SQL names: plan, gaps, symbols and the two cache views, as lazy Arrow datasets.

The bars of a query are in `dataset`. Nothing here knows SQL or DuckDB.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ckvd_sql.bars import BAR_SCHEMA, INSTANT
from ckvd_sql.dataset import WORD, LazyDataset, rows_dataset, word
from ckvd_sql.errors import CacheError
from ckvd_sql.fcp import Origin
from ckvd_sql.gaps import find_gaps, since_listing
from ckvd_sql.market import PROVIDER
from ckvd_sql.pruning import Pruning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date

    import pyarrow.compute as pc

    from ckvd_sql.cache import DayStore
    from ckvd_sql.dayfile import DayFile
    from ckvd_sql.fcp import Resolver
    from ckvd_sql.market import Market, Series
    from ckvd_sql.query import Query

log = logging.getLogger("ckvd_sql")

PLAN_SCHEMA = pa.schema(
    [
        ("symbol", pa.string()),
        ("date", pa.date32()),
        ("source", pa.string()),
        ("rows", pa.int64()),
        ("bytes", pa.int64()),
        ("path", pa.string()),
    ]
)

GAPS_SCHEMA = pa.schema([("symbol", pa.string()), ("from", INSTANT), ("to", INSTANT), ("count", pa.int64())])

SYMBOLS_SCHEMA = pa.schema([(name, pa.string()) for name in ("symbol", "base", "quote", "status")])

_SERIES_FIELDS = [(name, WORD) for name in ("provider", "market", "symbol", "interval")]

CACHE_SCHEMA = pa.schema([*_SERIES_FIELDS, ("date", pa.date32()), *BAR_SCHEMA])

CACHE_DAYS_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name, _ in _SERIES_FIELDS),
        ("date", pa.date32()),
        ("rows", pa.int64()),
        ("bytes", pa.int64()),
        ("source", pa.string()),
        ("url", pa.string()),
        ("sha256", pa.string()),
        ("checksum", pa.string()),
        ("gaps", pa.string()),
        ("fetched_at", INSTANT),
        ("path", pa.string()),
    ]
)


def plan_dataset(resolver: Resolver, ask: Callable[[], Query]) -> LazyDataset:
    """A row per symbol and UTC day: where it would come from now, and its file where it is cached."""
    return rows_dataset(PLAN_SCHEMA, lambda: plan_rows(resolver, ask()))


def plan_rows(resolver: Resolver, query: Query) -> Iterator[dict[str, Any]]:
    """The rows of `plan_dataset`."""
    for series in query.series():
        for one in resolver.plan(query, series):
            row: dict[str, Any] = {"symbol": series.symbol, "date": one.day, "source": one.origin.value}
            if one.origin is Origin.CACHE and (file := _described(resolver.store, series, one.day)):
                row |= {"rows": file.rows, "bytes": file.size, "path": str(file.path)}
            yield row


def gaps_dataset(resolver: Resolver, ask: Callable[[], Query]) -> LazyDataset:
    """A row per run of bars that the grid has and the data lacks; the data is fetched where the cache lacks it."""

    def rows() -> Iterator[dict[str, Any]]:
        query = ask()
        for series in query.series():
            steps = resolver.stream(query.only(series.symbol))
            days = (bars for step in steps for bars in step.batches())
            slots = series.interval.slots(query.span.start, query.span.end)
            for found in find_gaps(series.interval, query.span, query.now, days):
                leading = found.start == series.interval.opens(slots.start)  # perhaps the series only begins after it
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


def cache_dataset(store: DayStore) -> LazyDataset:
    """Every bar in the day files. The filter picks series and days by their names before a file is opened."""

    def scan(columns: Sequence[str], filter_: pc.Expression | None) -> Iterator[list[pa.RecordBatch]]:
        for series, day, covered in _matching(store, CACHE_SCHEMA, filter_):
            try:
                bars = store.read(series, day)
            except (FileNotFoundError, CacheError) as error:
                log.warning("%s; it is passed over", error)
                continue
            rows = bars.num_rows
            words = [word(value, rows) for value in _labels(series).values()]
            dates = pa.repeat(pa.scalar(day), rows)
            batch = pa.RecordBatch.from_arrays([*words, dates, *bars.columns], schema=CACHE_SCHEMA)
            if not covered:
                batch = batch.filter(filter_)
            if batch.num_rows:
                yield [batch.select(list(columns))]

    return LazyDataset(CACHE_SCHEMA, scan)


def cache_days_dataset(store: DayStore) -> LazyDataset:
    """A row per day file, with what the file says of itself."""

    def scan(columns: Sequence[str], filter_: pc.Expression | None) -> Iterator[list[pa.RecordBatch]]:
        rows: list[dict[str, Any]] = [
            _labels(series)
            | {
                "date": day,
                "rows": file.rows,
                "bytes": file.size,
                "source": file.provenance.source,
                "url": file.provenance.url,
                "sha256": file.provenance.sha256 or None,
                "checksum": file.provenance.checksum or None,
                "gaps": file.provenance.gaps or None,
                "fetched_at": file.provenance.fetched_at,
                "path": str(file.path),
            }
            for series, day, _ in _matching(store, CACHE_DAYS_SCHEMA, filter_)
            if (file := _described(store, series, day))
        ]
        table = pa.Table.from_pylist(rows, schema=CACHE_DAYS_SCHEMA)
        if filter_ is not None:
            table = table.filter(filter_)
        yield table.select(list(columns)).to_batches()

    return LazyDataset(CACHE_DAYS_SCHEMA, scan)


def _matching(store: DayStore, schema: pa.Schema, filter_: pc.Expression | None) -> Iterator[tuple[Series, date, bool]]:
    """The day files in which the filter can be true, and whether it is true for all their rows."""
    pruning = Pruning(filter_, schema, _labels)
    for series in store.series():
        if pruning.possible(series):
            for day in sorted(pruning.days(series, sorted(store.days(series)))):
                yield series, day, pruning.covers(series, day)


def _labels(series: Series) -> dict[str, Any]:
    return {
        "provider": PROVIDER,
        "market": series.market.value,
        "symbol": series.symbol,
        "interval": series.interval.name,
    }


def _described(store: DayStore, series: Series, day: date) -> DayFile | None:
    """What a day file says of itself; None where it can't be read, which the log tells."""
    try:
        return store.describe(series, day)
    except (FileNotFoundError, CacheError) as error:
        log.warning("%s", error)
        return None
