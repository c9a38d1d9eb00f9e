"""Requests to the sandbox over plain HTTP, without the package, and the rows that they should answer with."""

from __future__ import annotations

import hashlib
import io
import zipfile
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ckvd_sql.market.parse import parse_interval
from ckvd_sql.market.periods import DAY, Period
from ckvd_sql.market.series import INTERVALS, Market, Series
from ckvd_sql.sandbox import market_bars
from tests.support.truth import at

if TYPE_CHECKING:
    import httpx

    from tests.support.bars import Row

ROUTES = {Market.SPOT: "/api/v3", Market.UM: "/fapi/v1", Market.CM: "/dapi/v1"}
BTC = {Market.SPOT: "BTCUSDT", Market.UM: "BTCUSDT", Market.CM: "BTCUSD_PERP"}
ZIP = "/data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-06-01.zip"


def ms(text: str) -> int:
    """A time in milliseconds since the epoch."""
    return at(text) // 1000


def klines(client: httpx.Client, market: Market, **params: Any) -> httpx.Response:
    """REST's answer for hours of bitcoin unless `params` say otherwise; a parameter of None is left out."""
    asked = {"symbol": BTC[market], "interval": "1h", **params}
    return client.get(f"{ROUTES[market]}/klines", params={k: v for k, v in asked.items() if v is not None})


def rest_rows(client: httpx.Client, market: Market, **params: Any) -> list[Row]:
    """The rows of such an answer."""
    answer = klines(client, market, **params)
    assert answer.status_code == 200, answer.text
    found: list[Row] = answer.json()
    return found


def series(market: Market, interval: str, symbol: str | None = None) -> Series:
    """A series of the market, of bitcoin unless a symbol is given."""
    return Series(market, symbol or BTC[market], parse_interval(interval, market))


def zip_path(market: Market, interval: str, period: Period, symbol: str | None = None) -> str:
    """The path of an archive, percent-encoded."""
    return "/" + quote(series(market, interval, symbol).archive_path(period))


def zip_rows(client: httpx.Client, path: str) -> list[list[str]]:
    """The CSV rows of an archive, its checksum and its only member's name verified."""
    body, checksum = client.get(path), client.get(f"{path}.CHECKSUM")
    assert body.status_code == checksum.status_code == 200
    digest, name = checksum.text.strip().split("  ")
    assert digest == hashlib.sha256(body.content).hexdigest()
    assert name == body.url.path.rpartition("/")[2]
    with zipfile.ZipFile(io.BytesIO(body.content)) as archive:
        (member,) = archive.namelist()
        assert member == name.replace(".zip", ".csv")
        return [line.split(",") for line in archive.read(member).decode().splitlines()]


def in_rest_shape(cells: list[str]) -> Row:
    """A CSV row as REST has it."""
    opened, closed = int(cells[0]), int(cells[6])
    if opened >= 10**14:
        opened, closed = opened // 1000, closed // 1000
    return [opened, *cells[1:6], closed, cells[7], int(cells[8]), *cells[9:]]


def added_up(parts: list[Row], interval: str) -> list[tuple[Any, ...]]:
    """Bars of an interval made of shorter ones, in exact decimals."""
    grid = INTERVALS[interval].with_bar_at(parts[0][0] * 1000)
    out = []
    for slot, group in groupby(parts, key=lambda row: grid.slot(row[0] * 1000)):
        bars = list(group)
        sums = [sum(Decimal(bar[column]) for bar in bars) for column in (5, 7, 8, 9, 10)]
        high, low = max(Decimal(bar[2]) for bar in bars), min(Decimal(bar[3]) for bar in bars)
        opened, closed = grid.open_time(slot) // 1000, grid.open_time(slot + 1) // 1000 - 1
        out.append((opened, Decimal(bars[0][1]), high, low, Decimal(bars[-1][4]), closed, *sums))
    return out


def as_decimals(bars: list[Row]) -> list[tuple[Any, ...]]:
    """The same columns of REST rows, in exact decimals."""
    return [
        (bar[0], *map(Decimal, bar[1:5]), bar[6], *(Decimal(bar[column]) for column in (5, 7, 8, 9, 10)))
        for bar in bars
    ]


def expected_rows(market: Market, interval: str, start: str, end: str, symbol: str | None = None) -> list[Row]:
    """The REST rows of the bars that open in `[start, end)`, all closed."""
    return [list(row) for row in market_bars(series(market, interval, symbol), at(start), at(end), at(end) + 40 * DAY)]
