"""The views `ckvd_cache` and `ckvd_cache_days` as lazy Arrow datasets: every stored bar, and every day file.

Nothing here fetches, and nothing knows SQL or DuckDB.
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
from ckvd_sql.market.bars import BAR_SCHEMA, INSTANT, schema_of
from ckvd_sql.market.periods import consecutive, days_between
from ckvd_sql.market.series import PROVIDER
from ckvd_sql.scan.pruning import Cover, Pruning
from ckvd_sql.tables.klines import LABEL, constant_column
from ckvd_sql.tables.lazy import LazyDataset, filter_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from ckvd_sql.cache.snapshot import Snapshot
    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.market.series import Series

log = logging.getLogger("ckvd_sql")

_SERIES_FIELDS = [(name, LABEL) for name in ("provider", "market", "symbol", "interval")]

CACHE_SCHEMA = pa.schema([*_SERIES_FIELDS, ("date", pa.date32()), *BAR_SCHEMA])

CACHE_DAYS_SCHEMA = schema_of(
    *((name, pa.string()) for name, _ in _SERIES_FIELDS),
    ("date", pa.date32()),
    ("rows", pa.int64()),
    ("bytes", pa.int64()),
    ("source", pa.string()),
    ("url", pa.string()),
    ("sha256", pa.string()),
    ("checksum", pa.string()),
    ("gaps", pa.string()),
    ("duplicates", pa.string()),
    ("fetched_at", INSTANT),
    ("path", pa.string()),
)


def cache_dataset(store: DayStore) -> LazyDataset:
    """Every bar in the day files. The filter selects series and days by their names before a file is opened."""

    def scan(columns: Sequence[str], filter_: pc.Expression | None) -> Iterator[list[pa.RecordBatch]]:
        pruning = Pruning(filter_, CACHE_SCHEMA, _labels)
        for series, days in _matching(store, pruning):
            for whole, run in groupby(days, key=functools.partial(pruning.keeps_all, series)):
                for first, last in consecutive(run):
                    batches = [_with_labels(series, bars) for bars in _readable(store, series, first, last)]
                    kept = batches if whole else filter_batches(batches, filter_)
                    yield [batch.select(list(columns)) for batch in kept if batch.num_rows]

    return LazyDataset(CACHE_SCHEMA, scan)


def cache_days_dataset(store: DayStore) -> LazyDataset:
    """A row per day file, with its metadata."""

    def scan(columns: Sequence[str], filter_: pc.Expression | None) -> Iterator[list[pa.RecordBatch]]:
        pruning = Pruning(filter_, CACHE_DAYS_SCHEMA, _labels)
        found = [day_files_table(store, series, days) for series, days in _matching(store, pruning)]
        table = pa.concat_tables([CACHE_DAYS_SCHEMA.empty_table(), *found])
        if filter_ is not None:
            table = table.filter(filter_)
        yield table.select(list(columns)).to_batches()

    return LazyDataset(CACHE_DAYS_SCHEMA, scan)


def day_files_table(store: DayStore, series: Series, days: list[date]) -> pa.Table:
    """The metadata of the files of these days, by `CACHE_DAYS_SCHEMA`; files that can't be read are logged instead."""
    found = store.snapshot(series).inventory(days)
    dates = found.column("number").cast(pa.int32()).cast(pa.date32())
    columns: dict[str, pa.Array[Any] | pa.ChunkedArray[Any]] = {
        name: pa.repeat(pa.scalar(value, pa.string()), found.num_rows) for name, value in _labels(series).items()
    }
    folder = pa.scalar(f"{store.folder(series)}/", pa.string())
    separator, suffix = pa.scalar("", pa.string()), pa.scalar(SUFFIX, pa.string())
    columns |= {
        "date": dates,
        "path": pc.binary_join_element_wise(  # type: ignore[call-overload] # pyarrow-stubs: no scalars beside arrays
            folder, dates.cast(pa.string()), suffix, separator
        ),
    }
    return pa.Table.from_arrays(
        [columns[name] if name in columns else found.column(name) for name in CACHE_DAYS_SCHEMA.names],
        schema=CACHE_DAYS_SCHEMA,
    )


def _matching(store: DayStore, pruning: Pruning) -> Iterator[tuple[Series, list[date]]]:
    """The series, and their days that have a file, in which the filter can be true."""
    for series in store.series():
        if pruning.can_match(series):
            covers = pruning.days(series, sorted(store.days(series)))
            yield series, [day for day, cover in covers.items() if cover is not Cover.NONE]


def _readable(store: DayStore, series: Series, first: date, last: date) -> Iterator[pa.RecordBatch]:
    """The bars of a range of days; days that can't be read are skipped with a warning."""
    snapshot = store.snapshot(series)
    try:
        parts = snapshot.read_range(first, last)
    except (FileNotFoundError, CacheError):
        yield from _one_by_one(snapshot, first, last)
    else:
        yield from (part.rows for part in parts)


def _one_by_one(snapshot: Snapshot, first: date, last: date) -> Iterator[pa.RecordBatch]:
    for day in days_between(first, last):
        try:
            yield snapshot.read(day).rows
        except (FileNotFoundError, CacheError) as error:
            log.warning("%s; it is skipped", error)


def _with_labels(series: Series, bars: pa.RecordBatch) -> pa.RecordBatch:
    """Bars with the columns that `ckvd_cache` has before theirs."""
    labels = [constant_column(value, bars.num_rows) for value in _labels(series).values()]
    dates = bars.column("open_time").cast(pa.date32())
    return pa.RecordBatch.from_arrays([*labels, dates, *bars.columns], schema=CACHE_SCHEMA)


def _labels(series: Series) -> dict[str, str]:
    return {
        "provider": PROVIDER,
        "market": series.market.value,
        "symbol": series.symbol,
        "interval": series.interval.name,
    }
