"""Days of made-up bars, one for each slot of the grid: as REST rows, as Arrow, and in a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from ckvd_sql.market.bars import BAR_SCHEMA, NO_BARS
from ckvd_sql.market.periods import DAY, day_start
from ckvd_sql.market.provenance import Provenance, Source
from tests.support.bars import bars, csv_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.market.periods import Period
    from ckvd_sql.market.series import Series
    from tests.support.bars import Row
    from tests.support.stand_in import StandIn

FROM_REST = Provenance(Source.REST, "https://api.example", "", fetched_at=0)


def rest_row(opened: int, closed: int) -> Row:
    """A row of a REST answer or an archive, in milliseconds, whose values depend on the open time alone."""
    price = 100 + opened // 1000 % 997
    prices = [str(price + change) for change in (0, 2.5, -1.5, 1)]
    return [opened // 1000, *prices, "9.5", closed // 1000, str(9.5 * price), 7, "4.25", str(4.25 * price), "0"]


def rest_rows(series: Series, start: int, end: int) -> list[Row]:
    """The rows of every bar that the grid opens in `[start, end)`."""
    interval = series.interval
    return [rest_row(interval.open_time(slot), interval.open_time(slot + 1) - 1) for slot in interval.slots(start, end)]


def to_arrow(rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows as the package stores them."""
    if not rows:
        return NO_BARS
    columns = zip(*bars(rows), strict=True)
    arrays = [pa.array(list(column)).cast(field.type) for column, field in zip(columns, BAR_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=BAR_SCHEMA)


def day_rows(series: Series, day: date) -> list[Row]:
    """The rows of a UTC day."""
    return rest_rows(series, day_start(day), day_start(day) + DAY)


def day_bars(series: Series, day: date) -> pa.RecordBatch:
    """The bars of a UTC day."""
    return to_arrow(day_rows(series, day))


def write_days(store: DayStore, series: Series, days: Iterable[date]) -> None:
    """Put days into a store."""
    store.write_days(series, {day: (day_bars(series, day), FROM_REST) for day in days})


def publish_days(stand_in: StandIn, series: Series, period: Period, days: Iterable[date]) -> None:
    """Put days into an archive as one file."""
    stand_in.publish(series, period, csv_text(row for day in days for row in day_rows(series, day)))
