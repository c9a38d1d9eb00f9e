"""Blocks: what a scan reads together, either a range that is wholly in the cache, or days with at most one job.

Blocks are made from plans, from the names of cached days and from what a filter rules out. No network here, and no
bars are read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from ckvd_sql.fetch.jobs import Job, job_start
from ckvd_sql.market.periods import DAY, SECOND, Month, Span, consecutive, day_of, day_start, days_between
from ckvd_sql.market.provenance import Source
from ckvd_sql.scan.plan import DayPlan, plan
from ckvd_sql.scan.pruning import Cover

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    from ckvd_sql.cache.snapshot import Snapshot
    from ckvd_sql.lake.parquet import Coverage, LakeBars
    from ckvd_sql.market.query import Query
    from ckvd_sql.market.series import Series
    from ckvd_sql.scan.pruning import Pruning

_LONGEST_BAR = 31 * DAY


@dataclass(frozen=True, slots=True)
class Block:
    """What is read together: either a range that is wholly in the cache, or days of which a job fetches some.

    Attributes:
        series: The series.
        days: The days, in order.
        job: Fetches those of them that are missing from the cache.
        cached_span: The range, in place of `days`.
        lake: What the lake has of the days, in place of a job.
    """

    series: Series
    days: tuple[date, ...] = ()
    job: Job | None = None
    cached_span: Span | None = None
    lake: LakeBars | None = None

    def all_days(self, cached: Iterable[date]) -> list[date]:
        """Every day of the block; in a range, cached days off the grid are among them."""
        if self.cached_span is None:
            return list(self.days)
        on_grid = self.series.interval.days_in(self.cached_span)
        return sorted({*on_grid, *filter(self.cached_span.touches, cached)})


def plan_of_series(query: Query, series: Series, snapshot: Snapshot, lake: Coverage | None = None) -> list[DayPlan]:
    """The plan of one series of a query, from what cache and lake have of it."""
    return plan(
        series,
        query.span,
        query.now,
        include_open=query.include_open,
        cached=snapshot.days,
        in_lake=lake.days if lake else (),
        first_open=lake.first_open if lake and snapshot.first_open is None else snapshot.first_open,
    )


def blocks_of_query(
    query: Query,
    series: Series,
    snapshot: Snapshot,
    pruning: Pruning | None = None,
    *,
    by_day: bool = False,
) -> Iterator[Block]:
    """One series of a query as blocks in order of time, without the days that the filter rules out.

    Whole years, then months, that are in the cache are one block without a look at their days.

    Args:
        query: The query.
        series: One of its series.
        snapshot: What the cache has of the series.
        pruning: The filter.
        by_day: Make no ranges.
    """
    covers = pruning.months(series, list(query.span.months())) if pruning and pruning.active else {}

    def is_cached(span: Span) -> bool:
        unfiltered = all(covers.get(month, Cover.ALL) is Cover.ALL for month in (span.months() if covers else ()))
        return not by_day and unfiltered and _all_cached(snapshot, series, span, query.now)

    # Years are separate because a LIMIT may need few rows; all years of long bars are few rows.
    if series.interval.kept_by_year and not query.span.empty and is_cached(query.span):
        yield Block(series, cached_span=query.span)
        return
    for year in query.span.years():
        if is_cached(year):
            yield Block(series, cached_span=year)
            continue
        parts = [year.intersect(month.span) for month in year.months()]
        for cached, run in groupby(parts, key=is_cached):
            if cached:
                months = list(run)
                yield Block(series, cached_span=Span(months[0].start, months[-1].end))
                continue
            for part in run:
                cover = covers.get(Month.of(day_of(part.start)), Cover.ALL)
                if cover is not Cover.NONE:
                    partial = pruning if cover is Cover.PART else None
                    days = _days_of_month(query, series, part, snapshot, partial)
                    for block in blocks_of_plan(series, days):
                        yield from [block] if by_day else _with_ranges(block, part, query.now, snapshot, pruning)


def blocks_of_plan(series: Series, days: Iterable[DayPlan]) -> Iterator[Block]:
    """A plan as blocks in order of time, each with at most one job.

    A whole missing month is one job, and so is every month of bars longer than a day. Other days are fetched in groups
    of `DAYS_PER_JOB`, and so are all of 1s, whose months are too large to hold in memory.
    """
    for month, planned in groupby(days, key=lambda one: Month.of(one.day)):
        of_month = list(planned)
        monthly = series.interval.step != SECOND and _whole_month_missing(month, of_month)
        if series.interval.multi_day or monthly:
            yield _month_block(series, month, of_month)
            continue
        for (source, _), run in groupby(of_month, key=_group_key):
            same = tuple(one.day for one in run)
            if source is Source.CACHE:
                yield Block(series, same)
            elif source is Source.VISION:
                yield Block(series, same, Job(series, month, archived=same))
            elif source is Source.REST:
                yield Block(series, same, Job(series, month, live=same))


def _days_of_month(
    query: Query, series: Series, part: Span, snapshot: Snapshot, pruning: Pruning | None
) -> list[DayPlan]:
    """The plan of a month, without the days that the filter rules out."""
    days = plan_of_series(replace(query, span=part), series, snapshot)
    covers = pruning.days(series, [one.day for one in days]) if pruning else {}
    return [one for one in days if covers.get(one.day) is not Cover.NONE]


def _with_ranges(block: Block, span: Span, now: int, snapshot: Snapshot, pruning: Pruning | None) -> Iterator[Block]:
    """A block without a job as ranges of the days that the filter keeps whole, and the other days as they are."""
    series = block.series
    if block.job or series.interval.multi_day:
        yield block
        return
    covers = pruning.days(series, block.days) if pruning else {}
    for whole, run in groupby(block.days, key=lambda day: covers.get(day, Cover.ALL) is Cover.ALL):
        for first, last in consecutive(run):
            part = Span(day_start(first), day_start(last) + DAY).intersect(span)
            if whole and _all_cached(snapshot, series, part, now):
                yield Block(series, cached_span=part)
            else:
                yield Block(series, tuple(days_between(first, last)))


def _all_cached(snapshot: Snapshot, series: Series, span: Span, now: int) -> bool:
    """Whether every bar of a range is closed and in the cache; one off the grid may close later than the grid's."""
    last = day_of(span.end - 1)
    closed_at = day_start(last) + DAY + (_LONGEST_BAR if series.interval.multi_day else 0)
    return closed_at <= now and snapshot.has_all(day_of(span.start), last)


def _group_key(one: DayPlan) -> tuple[Source, date | None]:
    """What adjacent days share where they are in one block."""
    return one.source, job_start(one.day) if one.source is Source.VISION else None


def _whole_month_missing(month: Month, days: list[DayPlan]) -> bool:
    missing = {one.day for one in days if one.source is Source.VISION}
    unlisted = {one.day for one in days if one.source is Source.UNLISTED}
    return bool(missing) and missing | unlisted == set(month.days())


def _month_block(series: Series, month: Month, days: list[DayPlan]) -> Block:
    archived = tuple(one.day for one in days if one.source is Source.VISION)
    live = tuple(one.day for one in days if one.source is Source.REST)
    job = Job(series, month, archived, live, monthly=bool(archived)) if archived or live else None
    return Block(series, tuple(one.day for one in days if one.source is not Source.UNLISTED), job)
