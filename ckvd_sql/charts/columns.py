"""Bars as the columns that a chart draws: times in seconds since the epoch, prices and volumes as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ckvd_sql.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

PRICES = ("open", "high", "low", "close")

#: More bars than these are not drawn: no screen has as many pixels.
MOST_BARS = 200_000


def table_of(source: Any) -> pa.Table:
    """A DuckDB relation, or a pyarrow, polars or pandas table, as a pyarrow table with its bars in order of time.

    Raises:
        InvalidArgumentError: It is none of these, has no bars of one symbol, or too many.
    """
    rule = f"it is a relation or frame with open_time, {', '.join(PRICES)} and perhaps volume, of one symbol"
    if hasattr(source, "to_arrow_table"):
        table: pa.Table = source.to_arrow_table()
    elif isinstance(source, pa.Table) or hasattr(source, "__arrow_c_stream__"):
        table = pa.table(source)
    else:
        raise InvalidArgumentError("source", type(source).__name__, rule)
    missing = [name for name in ("open_time", *PRICES) if name not in table.column_names]
    if missing:
        raise InvalidArgumentError("source", f"without {', '.join(missing)}", rule)
    if "symbol" in table.column_names and len(pc.unique(table.column("symbol").cast(pa.string()))) > 1:
        raise InvalidArgumentError("source", "several symbols", rule)
    if table.num_rows > MOST_BARS:
        raise InvalidArgumentError("source", f"{table.num_rows:,} bars", f"a chart has {MOST_BARS:,} bars at most")
    drawn = [name for name in ("open_time", *PRICES, "volume") if name in table.column_names]
    if "symbol" in table.column_names:
        table = table.set_column(table.column_names.index("symbol"), "symbol", table.column("symbol").cast(pa.string()))
        drawn.append("symbol")
    return table.select(drawn).sort_by("open_time")


def columns_of(table: pa.Table, missing: Iterable[int] = ()) -> dict[str, list[Any]]:
    """The columns of a table that a chart draws.

    Args:
        table: The bars, in order of time.
        missing: The open times of bars that the exchange does not have, in microseconds.
    """
    times = table.column("open_time").cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    columns = {name: table.column(name).to_pylist() for name in PRICES}
    volume = table.column("volume").to_pylist() if "volume" in table.column_names else []
    seconds = pc.divide(times, 1_000_000).to_pylist()
    return {"time": seconds, **columns, "volume": volume, "missing": [time // 1_000_000 for time in missing]}
