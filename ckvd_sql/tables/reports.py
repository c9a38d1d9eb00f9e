"""What stands behind the other SQL names: plan, gaps, symbols and the two cache views, as lazy Arrow datasets.

The bars of a query are in `dataset`. Nothing here knows SQL or DuckDB.
"""

from __future__ import annotations

import functools
import logging
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ckvd_sql.cache.directory import SUFFIX
from ckvd_sql.errors import CacheError
from ckvd_sql.market.bars import BAR_SCHEMA, INSTANT
from ckvd_sql.market.gaps import find_gaps, since_listing
from ckvd_sql.market.periods import consecutive, days_between
from ckvd_sql.market.series import PROVIDER
from ckvd_sql.scan.plan import Origin
from ckvd_sql.scan.pruning import Pruning
from ckvd_sql.tables.klines import WORD, LazyDataset, rows_dataset, word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import date

    from ckvd_sql.cache.snapshot import Snapshot
    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.market.query import Query
    from ckvd_sql.market.series import Market, Series
    from ckvd_sql.scan.resolver import Resolver

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
        planned = resolver.plan(query, series)
        cached = _inventory(resolver.store, series, [one.day for one in planned if one.origin is Origin.CACHE])
        files = {row.pop("date"): row for row in cached.select(["date", "rows", "bytes", "path"]).to_pylist()}
        for one in planned:
            yield {"symbol": series.symbol, "date": one.day, "source": one.origin.value} | files.get(one.day, {})


def gaps_dataset(resolver: Resolver, ask: Callable[[], Query]) -> LazyDataset:
    """A row per run of bars that the grid has and the data lacks; the data is fetched where the cache lacks it."""

    def rows() -> Iterator[dict[str, Any]]:
        query = ask()
        for series in query.series():
            steps = resolver.stream(query.only(series.symbol))
            days = (bars for step in steps for bars in step.batches())
            slots = series.interval.slots(query.span.start, query.span.end)
            for found in find_gaps(series.interval, query.span, query.now, days):
                leading = found.start == series.interval.open_time(
                    slots.start
                )  # perhaps the series only begins after it
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
        pruning = Pruning(filter_, CACHE_SCHEMA, _labels)
        for series, days in _matching(store, pruning):
            for whole, run in groupby(days, key=functools.partial(pruning.covers, series)):
                for first, last in consecutive(run):
                    batches = [_labelled(series, bars) for bars in _readable(store, series, first, last)]
                    kept = batches if whole else [batch.filter(filter_) for batch in batches]
                    yield [batch.select(list(columns)) for batch in kept if batch.num_rows]

    return LazyDataset(CACHE_SCHEMA, scan)


def cache_days_dataset(store: DayStore) -> LazyDataset:
    """A row per day file, with what the file says of itself."""

    def scan(columns: Sequence[str], filter_: pc.Expression | None) -> Iterator[list[pa.RecordBatch]]:
        pruning = Pruning(filter_, CACHE_DAYS_SCHEMA, _labels)
        found = [_inventory(store, series, days) for series, days in _matching(store, pruning)]
        table = pa.concat_tables([CACHE_DAYS_SCHEMA.empty_table(), *found])
        if filter_ is not None:
            table = table.filter(filter_)
        yield table.select(list(columns)).to_batches()

    return LazyDataset(CACHE_DAYS_SCHEMA, scan)


def _matching(store: DayStore, pruning: Pruning) -> Iterator[tuple[Series, list[date]]]:
    """The series, and their days that have a file, in which the filter can be true."""
    for series in store.series():
        if pruning.possible(series):
            days = sorted(store.days(series))
            possible = pruning.days(series, days)
            yield series, [day for day in days if day in possible]


def _readable(store: DayStore, series: Series, first: date, last: date) -> Iterable[pa.RecordBatch]:
    """The bars of a stretch of days; those of a day that can't be read are passed over, which the log tells."""
    snapshot = store.snapshot(series)
    try:
        return snapshot.stretch(first, last)
    except (FileNotFoundError, CacheError):
        return _one_by_one(snapshot, first, last)


def _one_by_one(snapshot: Snapshot, first: date, last: date) -> Iterator[pa.RecordBatch]:
    for day in days_between(first, last):
        try:
            yield snapshot.read(day)
        except (FileNotFoundError, CacheError) as error:
            log.warning("%s; it is passed over", error)


def _labelled(series: Series, bars: pa.RecordBatch) -> pa.RecordBatch:
    """Bars with the columns that `ckvd_cache` has before theirs."""
    words = [word(value, bars.num_rows) for value in _labels(series).values()]
    dates = bars.column("open_time").cast(pa.date32())
    return pa.RecordBatch.from_arrays([*words, dates, *bars.columns], schema=CACHE_SCHEMA)


def _inventory(store: DayStore, series: Series, days: list[date]) -> pa.Table:
    """What the files of these days say of themselves, as rows of `ckvd_cache_days`."""
    found = store.snapshot(series).inventory(days)
    dates = found.column("number").cast(pa.int32()).cast(pa.date32())
    columns = {
        name: pa.repeat(pa.scalar(value, pa.string()), found.num_rows) for name, value in _labels(series).items()
    }
    folder = pa.scalar(f"{store.folder(series)}/", pa.string())
    nothing, suffix = pa.scalar("", pa.string()), pa.scalar(SUFFIX, pa.string())
    columns |= {
        "date": dates,
        "path": pc.binary_join_element_wise(folder, dates.cast(pa.string()), suffix, nothing),
    }
    return pa.Table.from_arrays(
        [columns[name] if name in columns else found.column(name) for name in CACHE_DAYS_SCHEMA.names],
        schema=CACHE_DAYS_SCHEMA,
    )


def _labels(series: Series) -> dict[str, Any]:
    return {
        "provider": PROVIDER,
        "market": series.market.value,
        "symbol": series.symbol,
        "interval": series.interval.name,
    }
