"""Whether bars that are missing from an archived day are missing at the exchange too. Asks REST, stores nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from ckvd_sql.errors import InvalidSymbolError, ProviderError
from ckvd_sql.market.bars import open_times
from ckvd_sql.market.provenance import GapCheck
from ckvd_sql.market.series import Market
from ckvd_sql.sources.concurrency import gather_or_cancel
from ckvd_sql.sources.refusals import DelistedError
from ckvd_sql.sources.rest import WINDOW

if TYPE_CHECKING:
    from datetime import date

    import numpy.typing as npt
    import pyarrow as pa

    from ckvd_sql.market.gaps import Gap
    from ckvd_sql.market.series import Series
    from ckvd_sql.sources.rest import RestClient

log = logging.getLogger("ckvd_sql")

#: The most gaps of a day that are compared with REST one by one, the longest ones.
_MOST_GAPS = 20


async def check_gaps(rest: RestClient, series: Series, day: date, bars: pa.RecordBatch, gaps: list[Gap]) -> GapCheck:
    """Whether REST has the bars that are missing from an archived day.

    Each question also asks for an archived bar beside the gap: at times REST answers without bars, which confirms none.
    """
    start, end, archived = gaps[0].start, gaps[-1].end, open_times(bars)
    if series.market is Market.CM or end - start <= 2 * WINDOW * (series.interval.step or 0):
        spans = [_with_neighbour(start, end, archived)]
        questions = [rest.klines(series, *spans[0])]
    else:  # the gaps of 1s bars; the first bar from a gap's begin on settles it
        longest = sorted(gaps, key=lambda gap: -gap.count)[:_MOST_GAPS]
        spans = [_with_next(gap.start, gap.end, archived) for gap in longest]
        questions = [rest.first_bar(series, *span) for span in spans]
    try:
        answers = await gather_or_cancel(questions)
    except (InvalidSymbolError, DelistedError):
        return GapCheck.UNCONFIRMED
    except ProviderError as error:
        log.warning("%s: %s has gaps that can't be compared with REST now, so it is not stored: %s", series, day, error)
        return GapCheck.UNCHECKED
    if any(not np.isin(open_times(answer), archived).all() for answer in answers):
        return GapCheck.TORN
    for span, answer in zip(spans, answers, strict=True):
        if answer.num_rows == 0 and ((archived >= span[0]) & (archived < span[1])).any():
            log.warning("%s: %s has gaps, and REST has no bars beside them now, so it is not stored", series, day)
            return GapCheck.UNCHECKED
    return GapCheck.CONFIRMED


def _with_neighbour(start: int, end: int, archived: npt.NDArray[np.int64]) -> tuple[int, int]:
    """A range with the archived bar before it, or where there is none with the next one."""
    before = archived[archived < start]
    return (int(before[-1]), end) if len(before) else _with_next(start, end, archived)


def _with_next(start: int, end: int, archived: npt.NDArray[np.int64]) -> tuple[int, int]:
    """A range with the archived bar after it, where there is one."""
    after = archived[archived >= end]
    return start, int(after[0]) + 1 if len(after) else end
