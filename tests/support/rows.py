"""One day of BTCUSDT's hourly rows, as the archive's CSV and as REST's JSON have them."""

from __future__ import annotations

import io
import zipfile
from datetime import date
from typing import TYPE_CHECKING, Any

from ckvd_sql.market.bars import BAR_SCHEMA, close_times, open_times
from ckvd_sql.market.periods import HOUR, day_start
from ckvd_sql.market.series import INTERVALS, Market, Series
from ckvd_sql.sources.parse import read_rest

if TYPE_CHECKING:
    import pyarrow as pa

    from tests.support.bars import Row

SERIES = Series(Market.SPOT, "BTCUSDT", INTERVALS["1h"])
DATE = date(2024, 6, 1)
START = day_start(DATE)


def row(number: int, **changes: Any) -> Row:
    """The bar of the day's hour `number`, times in milliseconds."""
    opened = (START + number * HOUR) // 1000
    cells: dict[str, Any] = {
        "open_time": opened,
        "open": f"{100 + number}.5",
        "high": f"{110 + number}.00000000",
        "low": f"{90 + number}",
        "close": f"{101 + number}.25",
        "volume": f"{number}.125",
        "close_time": opened + 3_600_000 - 1,
        "quote_volume": "1000.1",
        "trades": number,
        "taker_buy_volume": "0.5",
        "taker_buy_quote_volume": "50.75",
        "ignore": "0",
    }
    return list((cells | changes).values())


def in_microseconds(cells: Row) -> Row:
    """The same row as spot's archive writes it since 2025."""
    return [cells[0] * 1000, *cells[1:6], cells[6] * 1000 + 999, *cells[7:]]


ROWS = [row(number) for number in range(24)]


def csv_lines(rows: list[Row], end: str = "\n") -> bytes:
    """Rows as CSV without a header, each line with that ending."""
    return "".join(f"{','.join(map(str, cells))}{end}" for cells in rows).encode()


def zipped(text: bytes, *names: str, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of members that each hold the text; by default the one that the day's archive has."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in names or (f"{SERIES.archive_stem(DATE)}.csv",):
            archive.writestr(name, text)
    return buffer.getvalue()


def rest_bars(body: bytes, url: str) -> pa.RecordBatch:
    """The bars of a REST answer, whatever their time."""
    return read_rest(body, url, 0, 2**62, 1000)[0]


def values(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    """Bars in the shape of `tests.support.bars.bar`."""
    columns = {name: batch.column(name).to_pylist() for name in BAR_SCHEMA.names}
    columns |= {"open_time": open_times(batch).tolist(), "close_time": close_times(batch).tolist()}
    return list(zip(*columns.values(), strict=True))
