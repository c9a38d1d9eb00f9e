"""The archive's files: which path stands for which bars, when a file is published, and its bytes.

A zip has the same bytes on every request and does not exist before it is published. Paths, columns and checksum
files are those of github.com/binance/binance-public-data. Knows no HTTP.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import pairwise

from ckvd_sql.errors import InvalidArgumentError
from ckvd_sql.market.parse import parse_interval, parse_symbol
from ckvd_sql.market.periods import DAY, HOUR, MINUTE, SECOND, Month, Period, day_of, day_start
from ckvd_sql.market.series import Interval, Market, Series
from ckvd_sql.sandbox.bars import csv_text
from ckvd_sql.sandbox.history import closed_bars
from ckvd_sql.sandbox.symbols import listing_of

#: The first day whose futures files have a header row; the real archive varies around it.
HEADERS_SINCE = date(2022, 5, 1)

HEADER = (
    b"open_time,open,high,low,close,volume,close_time,"
    b"quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
)

# Observed delays between the end of a period and its publication.
_DAILY_DELAY = {Market.SPOT: 4 * HOUR, Market.UM: 8 * HOUR + 35 * MINUTE, Market.CM: 8 * HOUR + 35 * MINUTE}
_MONTHLY_DELAY = 3 * DAY

_PATH = re.compile(
    r"data/(?P<market>spot|futures/um|futures/cm)/(?P<scope>daily|monthly)/klines/"
    r"(?P<symbol>[^/]+)/(?P<interval>[^/]+)/(?P<file>[^/]+)\.zip"
)
_PERIOD = re.compile(r"(?P<year>\d{4})-(?P<month>\d{2})(?:-(?P<day>\d{2}))?")


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the archive.

    Attributes:
        body: Its bytes.
        published: The instant of its publication, µs.
    """

    body: bytes
    published: int

    @property
    def etag(self) -> str:
        """The MD5 in hex, which is S3's ETag of a file uploaded in one part."""
        return hashlib.md5(self.body, usedforsecurity=False).hexdigest()


def parse_path(path: str) -> tuple[Series, Period] | None:
    """The series and period of a zip's path (`data/...zip`), or None for a path that the archive can't have."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    market = Market(match["market"].removeprefix("futures/"))
    try:
        series = Series(market, parse_symbol(match["symbol"]), parse_interval(match["interval"], market))
    except InvalidArgumentError:
        return None
    period = _period(match["file"].removeprefix(f"{series.symbol}-{series.interval.name}-"))
    if period is None or series.archive_path(period) != path:
        return None
    if series.interval.multi_day and not isinstance(period, Month):
        return None
    return series, period


def _period(text: str) -> Period | None:
    match = _PERIOD.fullmatch(text)
    if match is None:
        return None
    try:
        first = date(int(match["year"]), int(match["month"]), int(match["day"] or 1))
    except ValueError:
        return None
    return first if match["day"] else Month.of(first)


def bounds(period: Period) -> tuple[int, int]:
    """The instants `[start, end)` of a period, µs."""
    if isinstance(period, Month):
        return day_start(period.first), day_start(period.next.first)
    return day_start(period), day_start(period) + DAY


def published_at(market: Market, interval: Interval, period: Period) -> int:
    """The instant (µs) at which a period's files appear: some hours after the day or days after the month.

    Never before the period's last bar is closed, for a 3d or 1w bar may end in the next month.
    """
    start, end = bounds(period)
    delay = _MONTHLY_DELAY if isinstance(period, Month) else _DAILY_DELAY[market]
    slots = interval.slots(start, end)
    closed = interval.open_time(slots[-1] + 1) if slots else end
    return max(end + delay, closed + _DAILY_DELAY[market])


def checksum_text(market: Market, body: bytes, name: str) -> bytes:
    """A `.CHECKSUM` file: SHA-256 in hex, two spaces, the zip's name; a line end on futures alone, as observed."""
    end = "" if market is Market.SPOT else "\n"
    return f"{hashlib.sha256(body).hexdigest()}  {name}{end}".encode()


def zip_of(series: Series, period: Period) -> bytes | None:
    """A period's zip, or None if it has no bars, whether or not it is published."""
    # 1s zips are large, so fewer of them are remembered.
    return (_cached_1s_zip if series.interval.step == SECOND else _cached_zip)(series, period)


def _make_zip(series: Series, period: Period) -> bytes | None:
    listing = listing_of(series.market, series.symbol)
    if listing is None:
        return None
    start, end = bounds(period)
    published = published_at(series.market, series.interval, period)
    # Text is made day by day: a month of 1s bars at once would need a gigabyte.
    cuts = [start, end] if series.interval.multi_day else [*range(start, end, DAY), end]
    texts = [
        csv_text(closed_bars(listing, series.interval, since, until, published), listing, series.interval)
        for since, until in pairwise(cuts)
    ]
    if not any(texts):
        return None
    header = HEADER if series.market is not Market.SPOT and day_of(start) >= HEADERS_SINCE else b""
    return _zipped(f"{series.archive_stem(period)}.csv", header + b"".join(texts), day_of(end))


_cached_zip = lru_cache(maxsize=96)(_make_zip)
_cached_1s_zip = lru_cache(maxsize=3)(_make_zip)


def _zipped(name: str, text: bytes, modified: date) -> bytes:
    # A member dated by its period, not by the clock, makes the same bytes each time.
    member = zipfile.ZipInfo(name, (modified.year, modified.month, modified.day, 0, 0, 0))
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, text, compresslevel=3)
    return buffer.getvalue()


def asset_at(path: str, now: int) -> Asset | None:
    """The file that is published at a path (`data/...zip` or `...zip.CHECKSUM`) by the instant `now` (µs), or None."""
    found = parse_path(path.removesuffix(".CHECKSUM"))
    if found is None:
        return None
    series, period = found
    published = published_at(series.market, series.interval, period)
    if now < published:
        return None
    body = zip_of(series, period)
    if body is None:
        return None
    if path.endswith(".CHECKSUM"):
        body = checksum_text(series.market, body, f"{series.archive_stem(period)}.zip")
    return Asset(body, published)
