"""The sandbox's exchange: clock, data, rate limits, request log and faults; turns a request into an answer.

Knows no sockets: `server` sends the answers, `control` changes the exchange from outside.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import deque
from dataclasses import dataclass
from email.utils import format_datetime
from typing import TYPE_CHECKING

from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import moment_of
from ckvd_sql.sandbox import listing, rest
from ckvd_sql.sandbox.anomalies import Anomalous
from ckvd_sql.sandbox.answer import Answer, no_such_key
from ckvd_sql.sandbox.archive import asset_at
from ckvd_sql.sandbox.bars import json_text
from ckvd_sql.sandbox.faults import FaultBook, corrupted
from ckvd_sql.sandbox.history import rows_between
from ckvd_sql.sandbox.limits import Meter
from ckvd_sql.sandbox.replay import Replay
from ckvd_sql.sandbox.symbols import SYMBOLS, Listing, listing_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ckvd_sql.market.series import Market, Series
    from ckvd_sql.sandbox.archive import Asset

_LOG_SIZE = 100_000
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_INDEX = b"A sandbox of Binance: /data, /api/v3, /fapi/v1, /dapi/v1\n"


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was answered.

    Attributes:
        method: The HTTP method.
        path: The path, decoded.
        query: The query, decoded; empty where there is none.
        status: The status that was sent.
    """

    method: str
    path: str
    query: str
    status: int


class Synthetic:
    """The source of a sandbox whose market is synthetic; implements `rest.Source`."""

    def listings(self, market: Market, now: int) -> Sequence[Listing]:
        """The symbols listed by the instant `now` (µs)."""
        return [one for one in SYMBOLS[market] if one.listed <= now]

    def asset(self, path: str, now: int) -> Asset | None:
        """The file at a path, or None while it is not published."""
        return asset_at(path, now)

    def rows(self, series: Series, window: rest.Window, now: int) -> bytes:
        """REST rows as a JSON array; none for a symbol that is not listed."""
        listed = listing_of(series.market, series.symbol)
        if listed is None:
            return b"[]"
        span = (window.start, window.end)
        bars = rows_between(listed, series.interval, *span, limit=window.limit, now=now, newest=window.newest)
        return json_text(bars, listed, series.interval)


class Clock:
    """The exchange's time: fixed until it is set again, or the real time."""

    def __init__(self, now: object = None) -> None:
        self._fixed: int | None = None
        self.set(now)

    @property
    def fixed(self) -> bool:
        """Whether the time is fixed."""
        return self._fixed is not None

    @property
    def now(self) -> int:
        """The time, µs since the epoch."""
        fixed = self._fixed
        return time.time_ns() // 1000 if fixed is None else fixed

    def set(self, now: object) -> None:
        """Set the time.

        Args:
            now: An instant in µs, a date, a datetime or ISO 8601 text; None for the real time.

        Raises:
            InvalidTimeError: It is none of these.
        """
        if now is None or (isinstance(now, int) and not isinstance(now, bool)):
            self._fixed = now
        else:
            self._fixed = parse_time(now, "now")


class Log:
    """The newest requests that were answered, at most 100,000. Safe to use from several threads."""

    def __init__(self) -> None:
        self._requests: deque[Request] = deque(maxlen=_LOG_SIZE)
        self._lock = threading.Lock()

    def add(self, request: Request) -> None:
        """Append a request."""
        with self._lock:
            self._requests.append(request)

    def snapshot(self) -> tuple[Request, ...]:
        """All requests, oldest first."""
        with self._lock:
            return tuple(self._requests)

    def clear(self) -> None:
        """Remove all requests."""
        with self._lock:
            self._requests.clear()


class Exchange:
    """A sandbox without its network.

    Args:
        now: The time, as `Clock.set` takes it.
        replay: The folder of an archive tree to serve; None for the synthetic market.
    """

    def __init__(self, now: object = None, replay: str | Path | None = None) -> None:
        self.clock = Clock(now)
        self.source: rest.Source = Synthetic() if replay is None else Replay(replay)
        self.meter = Meter()
        self.faults = FaultBook()
        self.log = Log()

    def respond(
        self,
        path: str,
        params: Mapping[str, str],
        client: str,
        headers: Mapping[str, str],
        anomalies: Sequence[str] = (),
    ) -> Answer:
        """Answer a GET, and count its weight.

        Args:
            path: The path, decoded.
            params: The query's parameters.
            client: The client's address, to which the weight is charged.
            headers: The request's headers.
            anomalies: Names from `ANOMALIES` to apply to the data.
        """
        now = self.clock.now
        source = Anomalous(self.source, anomalies) if anomalies else self.source
        found = rest.route(path)
        if found is not None:
            answer = self._rest(source, *found, params, client, now)
        elif path.startswith("/data/"):
            answer = _file(source.asset(path[1:], now), path, headers)
        elif path == "/" and "prefix" in params:
            answer = listing.answer(source, params, now)
        elif path == "/":
            answer = Answer(200, {"Content-Type": "text/plain"}, _INDEX)
        else:
            answer = no_such_key(path)
        return Answer(answer.status, {**answer.headers, "Date": _http_date(now)}, answer.body)

    def clear_faults(self) -> None:
        """Remove all faults, and reset the used weights and bans that they may have caused."""
        self.faults.clear()
        self.meter.reset()

    def corrupt_checksum(self, path: str, answer: Answer) -> Answer:
        """The answer to a `.CHECKSUM` request with the hash of the zip as the fault `corrupt` sends it."""
        asset = self.source.asset(path[1:].removesuffix(".CHECKSUM"), self.clock.now)
        if asset is None:
            return answer
        digest = hashlib.sha256(corrupted(asset.body)).hexdigest().encode()
        return Answer(answer.status, answer.headers, digest + answer.body[len(digest) :])

    def _rest(
        self, source: rest.Source, market: Market, call: str, params: Mapping[str, str], client: str, now: int
    ) -> Answer:
        used, refusal = self.meter.charge(market, client, rest.weight(market, call, params), time.time())
        answer = refusal or rest.answer(source, market, call, params, now)
        return Answer(answer.status, {**answer.headers, "X-MBX-USED-WEIGHT-1M": str(used)}, answer.body)


def _http_date(instant: int) -> str:
    return format_datetime(moment_of(instant).replace(microsecond=0), usegmt=True)


def _file(asset: Asset | None, path: str, request_headers: Mapping[str, str]) -> Answer:
    """A file, or the range or 304 that the request's headers ask for."""
    if asset is None:
        return no_such_key(path)
    headers = {
        "Content-Type": "application/zip" if path.endswith(".zip") else "binary/octet-stream",
        "Last-Modified": _http_date(asset.published),
        "ETag": f'"{asset.etag}"',
        "Accept-Ranges": "bytes",
    }
    if request_headers.get("If-None-Match") == headers["ETag"]:
        return Answer(304, headers)
    range_ = _RANGE.fullmatch(request_headers.get("Range", ""))
    if range_ is None:
        return Answer(200, headers, asset.body)
    size = len(asset.body)
    first, last = int(range_[1]), min(int(range_[2] or size), size - 1)
    if first > last:
        return Answer(416, {**headers, "Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Answer(206, headers, asset.body[first : last + 1])
