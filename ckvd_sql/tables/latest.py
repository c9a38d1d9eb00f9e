"""The last bars of series as a lazy Arrow dataset: only the days are read or fetched that these bars need.

A filter or an ORDER BY with a LIMIT over a wide range can't do that, because DuckDB hands neither to a source of rows
whose order it does not know.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from ckvd_sql.market.periods import DAY, FIRST_DAY, Span, day_start
from ckvd_sql.tables.klines import KLINES_SCHEMA, with_labels
from ckvd_sql.tables.lazy import LazyDataset, filter_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa
    import pyarrow.compute as pc

    from ckvd_sql.market.provenance import Source
    from ckvd_sql.market.query import Query
    from ckvd_sql.market.series import Series
    from ckvd_sql.scan.resolver import Resolver

    Part = tuple[Source, pa.RecordBatch]

#: A series with gaps, or one that is no longer traded, is looked at so many times further back each time.
_WIDER = 8

_LONGEST_BAR = 31 * DAY


def latest_dataset(resolver: Resolver, make_query: Callable[[], Query], bars: int) -> LazyDataset:
    """The last bars of each symbol of a query, in order of time, in the columns of `ckvd_klines`.

    Args:
        resolver: The failover.
        make_query: Makes the query anew for each scan; its range is until now.
        bars: How many bars of each symbol.
    """

    def scan(columns: Sequence[str], filter_: pc.Expression | None) -> Iterator[list[pa.RecordBatch]]:
        query = make_query()
        for series in query.series():
            for source, batch in _last(resolver, query.only(series.symbol), series, bars):
                kept = filter_batches(with_labels([batch], series.symbol, source), filter_)
                yield [one.select(list(columns)) for one in kept]

    return LazyDataset(KLINES_SCHEMA, scan)


def _last(resolver: Resolver, query: Query, series: Series, bars: int) -> list[Part]:
    """The last bars of a series, by source, in order of time."""
    step = series.interval.step or _LONGEST_BAR
    found: list[Part] = []
    end, reach = query.span.end, (bars + 1) * step  # the one that is forming is among them, wanted or not
    begin = day_start(FIRST_DAY)
    while end > begin and (missing := bars - sum(batch.num_rows for _, batch in found)) > 0:
        start = max(begin, end - reach)
        found = [*_tail(_read(resolver, replace(query, span=Span(start, end))), missing), *found]
        end, reach = start, reach * _WIDER
        if sum(batch.num_rows for _, batch in found) < bars and (first_open := resolver.first_open(series)) is not None:
            begin = max(begin, first_open)
    return found


def _read(resolver: Resolver, query: Query) -> list[Part]:
    parts: list[Part] = []
    with contextlib.closing(resolver.stream(query)) as steps:
        for step in steps:
            parts += [(part.source, part.rows) for part in step.stored]
            parts += [(day.source, day.bars) for day in step.days]
    return parts


def _tail(parts: list[Part], rows: int) -> list[Part]:
    """The last rows of all parts together."""
    kept: list[Part] = []
    for source, batch in reversed(parts):
        if rows <= 0:
            break
        kept.append((source, batch.slice(max(0, batch.num_rows - rows))))
        rows -= batch.num_rows
    return kept[::-1]
