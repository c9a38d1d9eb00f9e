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

    import pyarrow as pa

    from ckvd_sql.market.gaps import Gap
    from ckvd_sql.market.series import Series
    from ckvd_sql.sources.rest import RestClient

log = logging.getLogger("ckvd_sql")

#: The most gaps of a day that are compared with REST one by one, the longest ones.
_MOST_GAPS = 20


async def check_gaps(rest: RestClient, series: Series, day: date, bars: pa.RecordBatch, gaps: list[Gap]) -> GapCheck:
    """Whether REST has the bars that are missing from an archived day."""
    start, end = gaps[0].start, gaps[-1].end
    if series.market is Market.CM or end - start <= 2 * WINDOW * (series.interval.step or 0):
        questions = [rest.klines(series, start, end)]
    else:  # the gaps of 1s bars; the first bar in a gap settles it
        longest = sorted(gaps, key=lambda gap: -gap.count)[:_MOST_GAPS]
        questions = [rest.first_bar(series, gap.start, gap.end) for gap in longest]
    try:
        answers = await gather_or_cancel(questions)
    except (InvalidSymbolError, DelistedError):
        return GapCheck.UNCONFIRMED
    except ProviderError as error:
        log.warning("%s: %s has gaps that can't be compared with REST now, so it is not stored: %s", series, day, error)
        return GapCheck.UNCHECKED
    archived = open_times(bars)
    torn = any(not np.isin(open_times(answer), archived).all() for answer in answers)
    return GapCheck.TORN if torn else GapCheck.CONFIRMED
