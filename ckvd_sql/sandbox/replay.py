"""A source that replays a folder with an archive tree: its files unchanged, and REST rows read from its zips.

Reads the folder on each call, so that files can be added and removed. Knows no HTTP.
"""

from __future__ import annotations

import json
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckvd_sql.market.periods import Month, Period
from ckvd_sql.market.series import Market, Series
from ckvd_sql.sandbox.archive import Asset, bounds, parse_path
from ckvd_sql.sandbox.symbols import Listing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ckvd_sql.sandbox.rest import Window

Row = tuple[Any, ...]

_QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USD", "EUR", "TRY", "BTC", "ETH", "BNB")
_MICROSECONDS_FROM = 10**14  # an open time in ms has 13 digits, in µs 16
_TRADES = 8  # the only column but the times that REST gives as a number


class Replay:
    """The source of a sandbox that replays a folder; implements `rest.Source`.

    Args:
        root: The folder that contains `data/`; raises ValueError if it does not.
    """

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root).resolve()
        if not (self._root / "data").is_dir():
            raise ValueError(f"{root} can't be replayed: an archive tree has a folder named data")

    def listings(self, market: Market, now: int) -> Sequence[Listing]:
        """A listing for each symbol that has a folder, whatever the time."""
        del now
        folder = self._root / "data" / market.archive_path
        names = {path.name for scope in ("daily", "monthly") for path in (folder / scope / "klines").glob("*")}
        return tuple(_listing(market, name) for name in sorted(names))

    def asset(self, path: str, now: int) -> Asset | None:
        """The file at a path below the folder, whatever the time; None if there is none."""
        del now
        file = (self._root / path).resolve()
        if not file.is_relative_to(self._root / "data") or not file.is_file():
            return None
        return Asset(file.read_bytes(), file.stat().st_mtime_ns // 1000)

    def rows(self, series: Series, window: Window, now: int) -> bytes:
        """REST rows as a JSON array, from the zips of the same symbol and interval; those that opened by `now`."""
        end = min(window.end, now + 1)
        months: dict[Month, list[Path]] = {}
        for period, file in self._files(series):
            first, last = bounds(period)
            if first < end and last > window.start:
                month = period if isinstance(period, Month) else Month.of(period)
                months.setdefault(month, []).append(file)
        selected: list[Row] = []
        for month in sorted(months, reverse=window.newest):
            by_open = {row[0]: row for file in months[month] for row in _rows(file, file.stat().st_mtime_ns)}
            rows = [by_open[opened] for opened in sorted(by_open) if window.start <= opened * 1000 < end]
            selected = rows + selected if window.newest else selected + rows
            if len(selected) >= window.limit:
                break
        selected = selected[-window.limit :] if window.newest else selected[: window.limit]
        return json.dumps(selected, separators=(",", ":")).encode()

    def _files(self, series: Series) -> Iterator[tuple[Period, Path]]:
        """The series' zips with their periods: monthly ones first, so that daily ones override them."""
        for scope in ("monthly", "daily"):
            klines = self._root / "data" / series.market.archive_path / scope / "klines"
            for file in sorted((klines / series.symbol / series.interval.name).glob("*.zip")):
                parsed = parse_path(file.relative_to(self._root).as_posix())
                if parsed is not None:
                    yield parsed[1], file


def _listing(market: Market, symbol: str) -> Listing:
    """A listing with the assets that the symbol's name suggests."""
    pair = symbol.partition("_")[0]
    quote = next((asset for asset in _QUOTES if pair.endswith(asset) and pair != asset), "")
    base = pair.removesuffix(quote) if quote else pair
    coin = {"contract_size": 100 if base == "BTC" else 10} if market is Market.CM else {}
    return Listing(market, symbol, base, quote, **coin)


@lru_cache(maxsize=64)
def _rows(file: Path, changed: int) -> tuple[Row, ...]:
    """A zip's rows as REST has them; none if it can't be read, for a folder may contain torn zips on purpose."""
    del changed  # part of the cache key alone, so that a changed file is read again
    try:
        with zipfile.ZipFile(file) as archive:
            text = archive.read(archive.namelist()[0]).decode()
        lines = (line.split(",") for line in text.splitlines() if line[:1].isdigit())
        return tuple(_row(line) for line in lines)
    except (zipfile.BadZipFile, EOFError, IndexError, ValueError):
        return ()


def _row(cells: list[str]) -> Row:
    opened, closed = int(cells[0]), int(cells[6])
    if opened >= _MICROSECONDS_FROM:
        opened, closed = opened // 1000, closed // 1000
    return (opened, *cells[1:6], closed, cells[7], int(cells[_TRADES]), *cells[9:12])
