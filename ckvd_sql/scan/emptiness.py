"""Bars for a user, who is told in one warning a statement which series have none in the range, and why if it is known.

What is known comes from the cache and from this process's memory; nothing is requested for it.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from ckvd_sql.fetch.learnt import learnt_from
from ckvd_sql.market.periods import DAY, Month, day_of, day_start, moment_of

if TYPE_CHECKING:
    from collections.abc import Collection, Generator
    from datetime import date

    from ckvd_sql.market.periods import Span
    from ckvd_sql.market.query import Query
    from ckvd_sql.market.series import Series
    from ckvd_sql.scan.pruning import Pruning
    from ckvd_sql.scan.resolver import Resolver
    from ckvd_sql.scan.steps import Step

log = logging.getLogger("ckvd_sql")

_MOST_NAMED = 3


def stream_for_user(
    resolver: Resolver, query: Query, pruning: Pruning | None = None, columns: Collection[str] | None = None
) -> Generator[Step]:
    """As `Resolver.stream`; when all bars were taken, one warning names the series of the query that have none.

    Nothing is said where the filter may be why there are none, or where no bar of the range can be closed yet.
    """
    with_bars: set[str] = set()
    with contextlib.closing(resolver.stream(query, pruning, columns=columns, for_user=True)) as steps:
        for step in steps:
            if step.series.symbol not in with_bars and any(batch.num_rows for batch in step.batches()):
                with_bars.add(step.series.symbol)
            yield step
    if len(with_bars) < len(query.symbols):
        without = [series for series in query.series() if series.symbol not in with_bars]
        if text := _explanation(resolver, query, without, pruning):
            log.warning(text)


def _explanation(resolver: Resolver, query: Query, without: list[Series], pruning: Pruning | None) -> str | None:
    """What is said of series without a bar; None where nothing is."""
    if query.span.start > query.now:
        names = _named(query, dict.fromkeys(without, ""))
        return f"{names}no bars, for the range begins in the future, at {_time(query.span.start)}"
    reasons = {}
    for wanted in without:
        series = resolver.on_grid(wanted)
        if _closes_a_bar(query, series) and (not pruning or pruning.can_match(series)):
            reason = _reason(resolver, query.span, series, filtered=bool(pruning and pruning.active))
            if reason is not None:
                reasons[series] = reason
    if not reasons:
        return None
    span = f"no bars in {_time(query.span.start)}..{_time(query.span.end)}"
    return f"{_named(query, reasons)}{span}{_listed(query, reasons)}"


def _reason(resolver: Resolver, span: Span, series: Series, *, filtered: bool) -> str | None:
    """Why a series may have no bar in a range, empty where that is not known; None where nothing is to be said."""
    first_open = resolver.store.first_open(series)
    if first_open is not None and first_open >= span.end:
        return f"its first bar opens at {_time(first_open)}"
    learnt = learnt_from(resolver.settings)
    first_day = learnt.first_days.get(series.key)
    if filtered or (first_day and day_start(first_day) >= span.end):  # the latter has been said while it was fetched
        return None
    last = _last_known(resolver, series, learnt.last_months.get(series.key))
    after = last and (last.first if isinstance(last, Month) else last) > day_of(span.start)
    return f"its last bar known here is of {last}" if last and not after else ""


def _last_known(resolver: Resolver, series: Series, archived: Month | None) -> date | Month | None:
    """The last day of a series that is cached with bars, or the last month in the archive where that is later."""
    cached = resolver.store.last_with_rows(series)
    return archived if archived and (cached is None or Month.of(cached) < archived) else cached


def _closes_a_bar(query: Query, series: Series) -> bool:
    """Whether the grid has a bar in the range that is closed."""
    interval, span = series.interval, query.span
    if not interval.grid_known:
        step = interval.step or 0
        return span.end - span.start >= step and span.start + 2 * step <= query.now
    slots = interval.slots(span.start, span.end)
    return bool(slots) and interval.open_time(slots[0] + 1) <= query.now


def _named(query: Query, reasons: dict[Series, str]) -> str:
    """The beginning of the warning: the only series, or how many of how many symbols."""
    if len(query.symbols) == 1:
        return f"{query.series()[0]}: "
    total = len(query.symbols)
    return f"{len(reasons)} of {total} symbols ({query.interval.name}, {query.market.value}) have "


def _listed(query: Query, reasons: dict[Series, str]) -> str:
    """The end of the warning: the reason of the only series, or some symbols with theirs."""
    if len(query.symbols) == 1:
        return "".join(f"; {reason}" for reason in reasons.values() if reason)
    some = list(reasons.items())[:_MOST_NAMED]
    names = ", ".join(f"{series.symbol} ({reason})" if reason else series.symbol for series, reason in some)
    more = len(reasons) - len(some)
    return f": {names} and {more} more" if more else f": {names}"


def _time(instant: int) -> str:
    """A time as people write it: without a time of day at midnight."""
    return f"{moment_of(instant):%Y-%m-%d}" if instant % DAY == 0 else f"{moment_of(instant):%Y-%m-%d %H:%M:%S}"
