"""The bars of a query as an Arrow dataset or table, in the columns of `ckvd_klines`.

Days that a filter rules out are neither read nor fetched. Nothing here knows SQL.
"""

from __future__ import annotations

import contextlib
import functools
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ckvd_sql.market.bars import BAR_SCHEMA, join_days
from ckvd_sql.scan.emptiness import stream_for_user
from ckvd_sql.scan.pruning import Pruning
from ckvd_sql.tables.lazy import LazyDataset, filter_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow.compute as pc

    from ckvd_sql.fetch.jobs import DayBars
    from ckvd_sql.market.provenance import Source
    from ckvd_sql.market.query import Query
    from ckvd_sql.scan.resolver import Resolver
    from ckvd_sql.scan.steps import Step

#: The type of a column with one value in a whole batch.
LABEL = pa.dictionary(pa.int8(), pa.string())

#: The columns of `ckvd_klines`; `symbol` and `source` are not stored, and constant in a batch.
KLINES_SCHEMA = pa.schema(
    [pa.field("symbol", LABEL, nullable=False), *BAR_SCHEMA, pa.field("source", LABEL, nullable=False)]
)

_LABELS = ("symbol", "source")


def klines_dataset(resolver: Resolver, make_query: Callable[[], Query]) -> LazyDataset:
    """The bars of a query. It is made anew for each scan, so that an end of now is that scan's now."""

    def scan(columns: Sequence[str], filter_: pc.Expression | None) -> Iterator[list[pa.RecordBatch]]:
        query = make_query()
        longest = {} if query.interval.multi_day else {"longest": query.interval.step or 0}
        pruning = Pruning(filter_, KLINES_SCHEMA, lambda series: {"symbol": series.symbol}, **longest)
        schema = pa.schema([KLINES_SCHEMA.field(name) for name in columns])
        with contextlib.closing(stream_for_user(resolver, query, pruning, columns)) as steps:
            for step in steps:
                symbol = step.series.symbol
                for source, parts in groupby(step.stored, key=lambda part: part.source):
                    yield with_labels([part.rows for part in parts], symbol, source, schema)
                for (source, whole), days in groupby(step.days, key=_run_key(step, pruning)):
                    bars = join_days([day.bars for day in days])
                    if whole:
                        yield with_labels(bars, symbol, source, schema)
                    else:
                        kept = filter_batches(with_labels(bars, symbol, source), filter_)
                        yield [batch.select(list(columns)) for batch in kept]

    return LazyDataset(KLINES_SCHEMA, scan)


def klines_table(steps: Iterable[Step], encode_label: Callable[[str, int], pa.Array[Any]] | None = None) -> pa.Table:
    """Every bar of a stream as a table.

    Args:
        steps: The stream.
        encode_label: Makes the columns `symbol` and `source`: `constant_column` if None, or `constant_string_view`.
    """
    encode = encode_label or constant_column
    label = encode("", 0).type
    schema = pa.schema([field.with_type(label) if field.name in _LABELS else field for field in KLINES_SCHEMA])
    parts: list[pa.RecordBatch] = []
    for step in steps:
        for source, cached in groupby(step.stored, key=lambda part: part.source):
            parts += with_labels([part.rows for part in cached], step.series.symbol, source, schema, encode)
        for source, days in groupby(step.days, key=lambda day: day.source):
            bars = join_days([day.bars for day in days])
            parts += with_labels(bars, step.series.symbol, source, schema, encode)
    return pa.Table.from_batches(parts, schema=schema)


@functools.lru_cache(maxsize=1024)
def constant_column(text: str, rows: int) -> pa.DictionaryArray[Any, Any]:
    """A column of one text in every row, as a dictionary of one entry: DuckDB reads it without a copy."""
    return pa.DictionaryArray.from_arrays(_zeros(rows), _dictionary(text), safe=False)  # every index is 0


def constant_string_view(text: str, rows: int) -> pa.StringViewArray:
    """A column of one text in every row, in the layout that polars uses for strings."""
    return pa.repeat(pa.scalar(text, pa.string_view()), rows)


def with_labels(
    bars: Iterable[pa.RecordBatch],
    symbol: str,
    source: Source,
    schema: pa.Schema = KLINES_SCHEMA,
    encode_label: Callable[[str, int], pa.Array[Any]] = constant_column,
) -> list[pa.RecordBatch]:
    """The columns of a part of `KLINES_SCHEMA` from stored bars; `symbol` and `source` are added, nothing is copied."""
    labels, names = {"symbol": symbol, "source": source.value}, schema.names
    if labels.keys().isdisjoint(names):
        return [batch.select(names) for batch in bars]
    return [
        pa.RecordBatch.from_arrays(
            [encode_label(labels[name], batch.num_rows) if name in labels else batch.column(name) for name in names],
            schema=schema,
        )
        for batch in bars
    ]


def _run_key(step: Step, pruning: Pruning) -> Callable[[DayBars], tuple[Source, bool]]:
    """What adjacent days share where they are yielded together: their source, and whether all their rows are kept."""
    return lambda day: (day.source, pruning.keeps_all(step.series, day.day))


@functools.lru_cache(maxsize=1024)
def _dictionary(text: str) -> pa.StringArray:
    return pa.array([text], pa.string())


@functools.lru_cache(maxsize=8)
def _zero_block(rows: int) -> pa.Array[Any]:
    return pa.Array.from_buffers(pa.int8(), rows, [None, pa.py_buffer(bytes(rows))])


def _zeros(rows: int) -> pa.Array[Any]:
    """Zeros for `rows` rows out of a block that all batches share."""
    return _zero_block(1 << max(rows - 1, 1).bit_length()).slice(0, rows)
