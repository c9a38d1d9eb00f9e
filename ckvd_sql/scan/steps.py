"""Steps: what a scan yields together, cut to its query."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from ckvd_sql.fetch.jobs import DayBars
from ckvd_sql.market.bars import closed_rows, rows_between
from ckvd_sql.market.periods import DAY, day_start
from ckvd_sql.market.provenance import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from ckvd_sql.lake.parquet import LakeBars
    from ckvd_sql.market.periods import Span
    from ckvd_sql.market.provenance import SourcedRows
    from ckvd_sql.market.query import Query
    from ckvd_sql.market.series import Series
    from ckvd_sql.scan.blocks import Block
    from ckvd_sql.scan.failures import Failure
    from ckvd_sql.scan.pruning import Pruning


@dataclass(frozen=True, slots=True)
class Step:
    """What a stream yields together, cut to the query.

    Attributes:
        series: The series.
        stored: A range out of the cache or the lake, as batches with their sources.
        days: Days in order.
        failures: The days that could not be had.
    """

    series: Series
    stored: tuple[SourcedRows, ...] = ()
    days: tuple[DayBars, ...] = ()
    failures: tuple[Failure, ...] = ()

    def batches(self) -> list[pa.RecordBatch]:
        """The bars, in order."""
        return [*(part.rows for part in self.stored), *(day.bars for day in self.days)]


def steps_of_lake(
    query: Query, block: Block, bars: LakeBars, pruning: Pruning | None, *, whole_days: bool
) -> Iterator[Step]:
    """The days of a block that the lake has: runs that the filter keeps whole together, the others day by day."""
    series = block.series
    for whole, run in groupby(block.days, key=lambda day: pruning is None or pruning.keeps_all(series, day)):
        if whole and not whole_days:
            yield Step(series, stored=tuple(cut_parts(bars.parts(list(run)), query.span)))
            continue
        days = [DayBars(day, bars.rows_of(day), bars.days[day], Source.LAKE) for day in run]
        yield Step(series, days=tuple(days if whole_days else (cut_day(query, day) for day in days)))


def cut_parts(parts: list[SourcedRows], span: Span) -> list[SourcedRows]:
    """Rows that open in a range."""
    return [part._replace(rows=rows_between(part.rows, span.start, span.end)) for part in parts]


def cut_day(query: Query, day: DayBars) -> DayBars:
    """A day's bars that open in the range of a query."""
    begin = day_start(day.day)
    if query.span.start <= begin and begin + DAY <= query.span.end:
        return day
    return replace(day, bars=rows_between(day.bars, query.span.start, query.span.end))


def closed_day(query: Query, day: DayBars) -> DayBars:
    """A day's bars without one that is still forming, unless the query wants it."""
    return day if query.include_open else replace(day, bars=closed_rows(day.bars, query.now))
