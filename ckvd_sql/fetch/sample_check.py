"""Whether a day of an archive whose checksum is wrong equals the exchange's, by one page of its bars.

Asks REST, stores nothing.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from ckvd_sql.errors import InvalidSymbolError, ProviderUnavailableError
from ckvd_sql.market.bars import open_times, rows_between
from ckvd_sql.market.periods import DAY, Span, day_start
from ckvd_sql.sources.refusals import DelistedError
from ckvd_sql.sources.rest import WINDOW

if TYPE_CHECKING:
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.market.series import Series
    from ckvd_sql.sources.rest import RestClient


class SampleCheck(Enum):
    """The result of comparing a sample of an archived day with REST.

    Attributes:
        EQUAL: REST has the same bars.
        DIFFERENT: It has others.
        UNCHECKED: It can't be reached, refuses this address, or does not serve the symbol.
    """

    EQUAL = auto()
    DIFFERENT = auto()
    UNCHECKED = auto()


def exceeds_a_page(series: Series) -> bool:
    """Whether a day has more bars than one call of REST gives, so that a sample is cheaper than the day."""
    return len(series.interval.slots(0, DAY)) > WINDOW


async def check_sample(rest: RestClient, series: Series, day: date, bars: pa.RecordBatch, seed: str) -> SampleCheck:
    """Whether REST has the bars of an archived day, of which it is asked for one page.

    Args:
        rest: The exchange.
        series: The series, of whose bars a day `exceeds_a_page`.
        day: The UTC day.
        bars: Its bars in the archive, at least one.
        seed: The archive's SHA-256, which picks the page: another one for each archive.
    """
    span = _sample(series, day, bars, seed)
    try:
        answer = await rest.klines(series, span.start, span.end)
    except (ProviderUnavailableError, InvalidSymbolError, DelistedError):
        return SampleCheck.UNCHECKED
    equal = answer.equals(rows_between(bars, span.start, span.end))
    return SampleCheck.EQUAL if equal else SampleCheck.DIFFERENT


def _sample(series: Series, day: date, bars: pa.RecordBatch, seed: str) -> Span:
    """A page of the day that has a bar of the archive."""
    length = WINDOW * (series.interval.step or 0)
    picked = int(open_times(bars)[int(seed, 16) % bars.num_rows])
    start = max(day_start(day), min(picked, day_start(day) + DAY - length))
    return Span(start, start + length)
