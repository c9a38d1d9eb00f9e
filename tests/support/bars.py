"""Bars as plain tuples, from a query, an archive's CSV or REST rows, so that sources can be compared."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

from ckvd_sql.market.parse import parse_interval
from ckvd_sql.market.series import Market, Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from duckdb import DuckDBPyConnection

Row = list[Any]
Bar = tuple[Any, ...]

HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)

#: The columns of `ckvd_klines` that a source states, times as microseconds since the epoch.
FIELDS = (
    "epoch_us(open_time), open, high, low, close, volume, epoch_us(close_time), quote_volume, trades, "
    "taker_buy_volume, taker_buy_quote_volume"
)


def series(market: str, symbol: str, interval: str) -> Series:
    """A series by its names."""
    place = Market(market)
    return Series(place, symbol, parse_interval(interval, place))


def read(con: DuckDBPyConnection, call: str) -> list[Bar]:
    """The bars of a call such as `ckvd_klines(...)`, in order of time, in the shape of `bar`."""
    return con.sql(f"SELECT {FIELDS} FROM {call} ORDER BY open_time").fetchall()


def bar(cells: Sequence[Any]) -> Bar:
    """A row of an archive or a REST answer as `read` should give it: numbers as Python reads their text."""
    opened, closed = int(cells[0]), int(cells[6])
    if len(str(opened)) == len("1577836800000"):  # milliseconds, the last of which is whole
        opened, closed = opened * 1000, closed * 1000 + 999
    prices = [float(cell) for cell in cells[1:6]]
    return (opened, *prices, closed, float(cells[7]), int(cells[8]), float(cells[9]), float(cells[10]))


def bars(rows: Iterable[Sequence[Any]]) -> list[Bar]:
    """Rows as `read` should give them."""
    return [bar(row) for row in rows]


def csv_rows(text: bytes) -> list[list[str]]:
    """The rows of an archive's CSV, its header left out."""
    lines = text.decode().splitlines()
    return [line.split(",") for line in lines if not line.startswith("open_time")]


def csv_text(rows: Iterable[Sequence[Any]], *, header: bool = False) -> bytes:
    """Rows as an archive's CSV."""
    lines = [HEADER] if header else []
    return "".join(f"{line}\n" for line in [*lines, *(",".join(map(str, row)) for row in rows)]).encode()


def zipped(name: str, text: bytes) -> bytes:
    """One deflated file in a zip, as the archive has it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return buffer.getvalue()
