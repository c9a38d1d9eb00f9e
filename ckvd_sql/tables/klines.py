"""The face towards Arrow: a query as a `pyarrow.dataset.Dataset` that reads nothing before it is scanned.

DuckDB accepts a subclass of `Dataset` and calls `scanner(columns=, filter=)` once a scan. It takes the filter out
of its own plan, so the rows that come back must be exactly those for which it is true. Days that the filter rules
out are neither read nor fetched. Nothing here knows SQL.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from ckvd_sql.market.bars import BAR_SCHEMA, join_days
from ckvd_sql.scan.pruning import Pruning
from ckvd_sql.tables.lazy import reader

if TYPE_CHECKING:
    import pyarrow.compute as pc

    from ckvd_sql.fetch.jobs import DayBars
    from ckvd_sql.market.query import Query
    from ckvd_sql.scan.resolver import Resolver, Step

WORD = pa.dictionary(pa.int8(), pa.string())

#: The columns of `ckvd_klines`. The two words are the same all through a batch, hence dictionaries.
KLINES_SCHEMA = pa.schema(
    [pa.field("symbol", WORD, nullable=False), *BAR_SCHEMA, pa.field("source", WORD, nullable=False)]
)

_WORDS = ("symbol", "source")

Scan = Callable[[Sequence[str], "pc.Expression | None"], Iterator[list[pa.RecordBatch]]]


class LazyDataset(ds.Dataset):  # type: ignore[misc]
    """A dataset whose rows are made when it is scanned.

    Args:
        schema: The columns.
        scan: Gives batches of the named columns, list by list, the rows for which the filter is true; it is called once
            a scan, in whichever thread scans, and closed when the reader is.
    """

    def __new__(cls, *_: Any) -> LazyDataset:  # noqa: PYI034 (Dataset's own constructor refuses)
        """Make the object past `Dataset.__init__`, which is for pyarrow's own datasets."""
        made: LazyDataset = ds.Dataset.__new__(cls)
        return made

    def __init__(self, schema: pa.Schema, scan: Scan) -> None:
        self._lazy_schema = schema
        self._scan = scan

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._lazy_schema

    def scanner(
        self,
        columns: list[str] | None = None,
        filter: pc.Expression | None = None,  # noqa: A002 (the name that pyarrow and DuckDB use)
        **_: Any,
    ) -> LazyScanner:
        """One scan: these columns, the rows for which the filter is true."""
        names = self._lazy_schema.names if columns is None else columns
        schema = pa.schema([self._lazy_schema.field(name) for name in names])
        return LazyScanner(schema, functools.partial(self._scan, names, filter))


class LazyScanner:
    """What DuckDB and pyarrow ask of a scanner."""

    def __init__(self, schema: pa.Schema, batches: Callable[[], Iterator[list[pa.RecordBatch]]]) -> None:
        self.projected_schema = schema
        self._batches = batches

    def to_reader(self) -> pa.RecordBatchReader:
        """The scan as a stream."""
        return reader(self.projected_schema, self._batches())

    def to_table(self) -> pa.Table:
        """The scan as a table."""
        return self.to_reader().read_all()


def rows_dataset(schema: pa.Schema, rows: Callable[[], Iterable[dict[str, Any]]]) -> LazyDataset:
    """A dataset of a few rows that are made when it is scanned."""

    def scan(columns: Sequence[str], filter_: pc.Expression | None) -> Iterator[list[pa.RecordBatch]]:
        table = pa.Table.from_pylist(list(rows()), schema=schema)
        if filter_ is not None:
            table = table.filter(filter_)
        yield table.select(list(columns)).to_batches()

    return LazyDataset(schema, scan)


def klines_dataset(resolver: Resolver, ask: Callable[[], Query]) -> LazyDataset:
    """The bars of a query. It is asked for at each scan, so that an end of now is that scan's now."""

    def scan(columns: Sequence[str], filter_: pc.Expression | None) -> Iterator[list[pa.RecordBatch]]:
        pruning = Pruning(filter_, KLINES_SCHEMA, lambda series: {"symbol": series.symbol})
        schema = pa.schema([KLINES_SCHEMA.field(name) for name in columns])
        for step in resolver.stream(ask(), pruning):
            symbol = step.series.symbol
            if step.stretch:
                yield labelled(step.stretch, symbol, "cache", schema)
            for (source, whole), days in groupby(step.days, key=_sameness(step, pruning)):
                bars = join_days([day.bars for day in days])
                if whole:
                    yield labelled(bars, symbol, source, schema)
                else:
                    kept = [batch.filter(filter_) for batch in labelled(bars, symbol, source)]
                    yield [batch.select(list(columns)) for batch in kept]

    return LazyDataset(KLINES_SCHEMA, scan)


def _sameness(step: Step, pruning: Pruning) -> Callable[[DayBars], tuple[str, bool]]:
    """What neighbouring days must share to be handed on together: their source, and being kept whole."""
    return lambda day: (day.source, pruning.covers(step.series, day.day))


@functools.lru_cache(maxsize=1024)
def word(text: str, rows: int) -> pa.DictionaryArray:
    """One word, `rows` times over, as Arrow readers like it best."""
    return pa.DictionaryArray.from_arrays(_zeros(rows), _dictionary(text), safe=False)  # every index is 0


def plain_word(text: str, rows: int) -> pa.Array:
    """One word, `rows` times over, as polars keeps its strings."""
    return pa.repeat(pa.scalar(text, pa.string_view()), rows)


def labelled(
    bars: Iterable[pa.RecordBatch],
    symbol: str,
    source: str,
    schema: pa.Schema = KLINES_SCHEMA,
    spell: Callable[[str, int], pa.Array] = word,
) -> list[pa.RecordBatch]:
    """Columns of `ckvd_klines` from bars: the two that day files do not store are added, nothing is copied."""
    words, names = {"symbol": symbol, "source": source}, schema.names
    if words.keys().isdisjoint(names):
        return [batch.select(names) for batch in bars]
    return [
        pa.RecordBatch.from_arrays(
            [spell(words[name], batch.num_rows) if name in words else batch.column(name) for name in names],
            schema=schema,
        )
        for batch in bars
    ]


def whole_table(steps: Iterable[Step], spell: Callable[[str, int], pa.Array] = word) -> pa.Table:
    """Every bar of a stream."""
    text = spell("", 0).type
    schema = pa.schema([field.with_type(text) if field.name in _WORDS else field for field in KLINES_SCHEMA])
    parts: list[pa.RecordBatch] = []
    for step in steps:
        parts += labelled(step.stretch, step.series.symbol, "cache", schema, spell)
        for source, days in groupby(step.days, key=lambda day: day.source):
            parts += labelled(join_days([day.bars for day in days]), step.series.symbol, source, schema, spell)
    return pa.Table.from_batches(parts, schema=schema)


@functools.lru_cache(maxsize=1024)
def _dictionary(text: str) -> pa.Array:
    return pa.array([text], pa.string())


@functools.lru_cache(maxsize=8)
def _zero_block(rows: int) -> pa.Array:
    return pa.Array.from_buffers(pa.int8(), rows, [None, pa.py_buffer(bytes(rows))])


def _zeros(rows: int) -> pa.Array:
    """Zeros for `rows` rows out of a block that all batches share."""
    return _zero_block(1 << max(rows - 1, 1).bit_length()).slice(0, rows)
