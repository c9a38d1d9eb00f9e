"""Bars as Arrow: the schema of klines, and how record batches of bars are cut, joined and read as numbers.

One schema and one time unit from parser to file to SQL. No clock, no disk, no network here.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ckvd_sql.market.periods import DAY, numbered_day

if TYPE_CHECKING:
    from datetime import date

INSTANT = pa.timestamp("us", tz="UTC")


def schema_of(*columns: tuple[str, pa.DataType] | pa.Field[Any]) -> pa.Schema:
    """A schema of columns of different types, each a name and a type, or a field."""
    return pa.schema([one if isinstance(one, pa.Field) else pa.field(*one) for one in columns])


#: The stored columns of a kline; prices and volumes are float64. `symbol` and `source` are added by the scan.
BAR_SCHEMA = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in (
            ("open_time", INSTANT),
            ("open", pa.float64()),
            ("high", pa.float64()),
            ("low", pa.float64()),
            ("close", pa.float64()),
            ("volume", pa.float64()),
            ("close_time", INSTANT),
            ("quote_volume", pa.float64()),
            ("trades", pa.int64()),
            ("taker_buy_volume", pa.float64()),
            ("taker_buy_quote_volume", pa.float64()),
        )
    ]
)

NO_BARS = pa.RecordBatch.from_pylist([], schema=BAR_SCHEMA)

_SMALL_DAY_ROWS = 512  # days with fewer rows are joined, since each batch costs DuckDB some microseconds


def open_times(bars: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """The open times as microseconds since the epoch, without a copy."""
    return integers(bars.column("open_time"))


def close_times(bars: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """The close times as microseconds since the epoch, without a copy."""
    return integers(bars.column("close_time"))


def join_days(days: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Bars in few batches: large days as they are, small ones joined into one batch."""
    small = sum(day.num_rows for day in days) < _SMALL_DAY_ROWS * len(days)
    return [concat_batches(days)] if small and len(days) > 1 else days


def concat_batches(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Several batches in one, copied."""
    one: pa.RecordBatch = pa.concat_batches(batches)  # type: ignore[attr-defined] # pyarrow-stubs: not there yet
    return one


def rows_between(bars: pa.RecordBatch, start: int, end: int) -> pa.RecordBatch:
    """The rows that open in `[start, end)`, without a copy. The rows must be sorted."""
    first, last = np.searchsorted(open_times(bars), (start, end))
    return bars.slice(int(first), max(0, int(last - first)))


def closed_rows(bars: pa.RecordBatch, now: int) -> pa.RecordBatch:
    """The rows whose close time has passed."""
    return bars if all_closed(bars, now) else bars.filter(pa.array(close_times(bars) < now))


def all_closed(bars: pa.RecordBatch, now: int) -> bool:
    """Whether the close time of every row has passed."""
    return bars.num_rows == 0 or bool(close_times(bars).max() < now)


def integers(column: pa.Array[Any]) -> npt.NDArray[np.int64]:
    """A column's values as if they were whole numbers, eight bytes each, without a copy."""
    values: npt.NDArray[np.int64] = column.view(pa.int64()).to_numpy(zero_copy_only=True)
    return values


def split_days(bars: pa.RecordBatch) -> dict[date, pa.RecordBatch]:
    """Sorted bars by the UTC day of their open time."""
    if bars.num_rows == 0:
        return {}
    numbers = open_times(bars) // DAY
    bounds = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), bars.num_rows]
    return {numbered_day(int(numbers[first])): bars.slice(first, last - first) for first, last in pairwise(bounds)}
