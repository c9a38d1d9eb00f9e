"""The REST client: klines and symbols from the exchange itself, within its limits and its weight budget.

It lives as long as one scan, on that scan's event loop. Every way in which Binance refuses becomes an error that
says what to do. It knows no cache and no archive. Facts on limits, weights and errors: Binance's API documents.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import urlencode

import pyarrow as pa

from ckvd_sql.errors import (
    InvalidSymbolError,
    MalformedDataError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitError,
)
from ckvd_sql.market.bars import BAR_SCHEMA, NO_BARS, open_times
from ckvd_sql.market.periods import DAY, instant_of, moment_of
from ckvd_sql.market.series import INTERVALS, Market, Series
from ckvd_sql.sources.concurrency import retrying, together
from ckvd_sql.sources.parse import read_bars
from ckvd_sql.sources.weight import WeightBudget

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

    from ckvd_sql.settings import Settings

_PREFIX = {Market.SPOT: "/api/v3", Market.UM: "/fapi/v1", Market.CM: "/dapi/v1"}

#: Rows of one call: what every market allows, and on futures cheaper a row than the 1,500 they could give.
PAGE = 1000

#: Coin-margined klines refuse more than 200 days between the bounds; the first contracts opened on 2020-08-10.
_CM_WINDOW = 200 * DAY
_CM_FIRST = 18_475 * DAY  # 2020-08-01

_EXCHANGE_INFO_WEIGHT = {Market.SPOT: 20, Market.UM: 1, Market.CM: 1}

_NO_SUCH_SYMBOL = -1121
_NO_LONGER_TRADED = -1122

_MILLISECOND = 1000
_WEIGHT = re.compile("[0-9]{1,9}")

#: What an answer may unpack to; the list of all spot symbols is some 15 MB.
_LONGEST_ANSWER = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol as the exchange lists it."""

    symbol: str
    base: str
    quote: str
    status: str


class DelistedError(ProviderError):
    """The exchange knows the symbol and serves it no longer. Never leaves the failover."""


def weight(market: Market, limit: int) -> int:
    """What a klines call with this limit costs."""
    if market is Market.SPOT:
        return 2
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10  # noqa: PLR2004 (Binance's steps)


class Rest:
    """The REST hosts, for one scan.

    Args:
        settings: Where the hosts are, and how hard to try.
        slots: Bounds the requests under way, together with the scan's other client.
    """

    def __init__(self, settings: Settings, slots: asyncio.Semaphore) -> None:
        self._settings = settings
        self._slots = slots
        self._client: httpx.AsyncClient | None = None
        self._budgets: dict[Market, WeightBudget] = {}
        #: The exchange's clock at its last answer, in microseconds since the epoch, by its `Date` header.
        self.server_now: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client:
            await self._client.aclose()

    @property
    def _http(self) -> httpx.AsyncClient:
        """The HTTP client, made when it is first needed: most scans need none, and it and its library take a while."""
        if self._client is None:
            import httpx  # noqa: PLC0415

            # Redirects are not followed: a REST host that sends one is not the exchange.
            self._client = httpx.AsyncClient(timeout=self._settings.timeout, follow_redirects=False)
        return self._client

    async def klines(self, series: Series, start: int, end: int) -> pa.RecordBatch:
        """The bars that open in `[start, end)`, the one still forming included; instants in microseconds.

        The range is asked for in windows of fewer bars than a page holds, so that neither the silent cap of spot
        nor the newest-first order of coin-margined futures can cut rows off.

        Raises:
            RateLimitError: The exchange asks to wait, or has banned this address.
            InvalidSymbolError: It does not know the symbol.
            DelistedError: It knows the symbol and serves it no longer.
            ProviderUnavailableError: It can't be reached, or refuses this address.
            MalformedDataError: It keeps answering with something other than bars.
        """
        slots = series.interval.slots(start, end)
        if not slots:
            return NO_BARS
        page = PAGE - 2
        if series.market is Market.CM:
            page = min(page, _CM_WINDOW // (series.interval.step or 31 * DAY))
        bounds = [start, *(series.interval.open_time(slot) for slot in slots[page::page]), end]
        pages = await together(self._page(series, first, last) for first, last in pairwise(bounds))
        return _joined(pages)

    async def first_open(self, series: Series) -> int | None:
        """The open time of the series' first bar ever, or None where the exchange has no bar. Raises as `klines`."""
        if series.market is not Market.CM:
            bars, _ = await self._klines(series, 0, self._settings.clock() + DAY, limit=1)
            return int(open_times(bars)[0]) if bars.num_rows else None
        daily = Series(series.market, series.symbol, INTERVALS["1d"])
        now = self._settings.clock()
        for start in range(_CM_FIRST, now, _CM_WINDOW):
            bars = await self._page(daily, start, min(start + _CM_WINDOW, now))
            if bars.num_rows:
                day = int(open_times(bars)[0])
                slot = series.interval.slot(day)  # a longer bar may have opened before its first day of trade
                exact = await self.klines(series, series.interval.open_time(slot), day + DAY)
                return int(open_times(exact)[0]) if exact.num_rows else day
        return None

    async def symbols(self, market: Market) -> list[Symbol]:
        """Every symbol of a market, delisted ones included where the exchange lists them."""
        url = f"{self._settings.rest_url(market)}{_PREFIX[market]}/exchangeInfo"
        body = await self._get(market, url, {}, _EXCHANGE_INFO_WEIGHT[market], None)
        try:
            return [
                Symbol(
                    entry["symbol"],
                    entry["baseAsset"],
                    entry["quoteAsset"],
                    entry.get("status") or entry["contractStatus"],
                )
                for entry in json.loads(body)["symbols"]
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MalformedDataError(f"{url} did not answer with a list of symbols: {error!r}", url=url) from error

    async def _page(self, series: Series, start: int, end: int) -> pa.RecordBatch:
        slots = series.interval.slots(start, end)
        limit = min(PAGE, len(slots) + 2)
        bars, full = await self._klines(series, start, end, limit=limit)
        if not full:
            return bars
        if len(slots) < 2:  # noqa: PLR2004
            url = f"{self._settings.rest_url(series.market)}{_PREFIX[series.market]}/klines"
            raise MalformedDataError(f"{url} answered with more klines than there can be", url=url)
        middle = series.interval.open_time(slots[len(slots) // 2])  # a full page may have been cut
        return _joined([await self._page(series, start, middle), await self._page(series, middle, end)])

    async def _klines(self, series: Series, start: int, end: int, limit: int) -> tuple[pa.RecordBatch, bool]:
        """The bars of one call, and whether it gave as many rows as it may, so that some may be cut off."""
        url = f"{self._settings.rest_url(series.market)}{_PREFIX[series.market]}/klines"
        parameters = {
            "symbol": series.symbol,
            "interval": series.interval.rest_name,
            "startTime": -(-start // _MILLISECOND),
            "endTime": -(-end // _MILLISECOND) - 1,
            "limit": limit,
        }
        async for attempt in retrying(self._settings.retries, _worth_another_try):
            with attempt:
                body = await self._get(series.market, url, parameters, weight(series.market, limit), series)
                return read_bars(body, f"{url}?{urlencode(parameters)}", start, end, limit)
        raise AssertionError("unreachable: a try returns or raises")

    async def _get(
        self, market: Market, url: str, parameters: dict[str, Any], cost: int, series: Series | None
    ) -> bytes:
        """One request, once the budget allows it; anything but status 200 raises."""
        budget = self._budgets.get(market) or self._budgets.setdefault(
            market,
            WeightBudget(market, self._settings.rest_url(market), self._settings.cache_dir / ".rest"),
        )
        await self._wait_for(budget, cost, url)
        async with self._slots:
            answer, body = await self._read(url, parameters)
        self._read_clock(answer)
        used = answer.headers.get("X-MBX-USED-WEIGHT-1M", "")
        if _WEIGHT.fullmatch(used):
            await asyncio.to_thread(budget.observe, int(used))
        if answer.status_code != HTTPStatus.OK:
            self._refuse(answer, body, budget, market, series)
        return body

    async def _read(self, url: str, parameters: dict[str, Any]) -> tuple[httpx.Response, bytes]:
        """An answer and its body, which is not read on once it is too long to be one."""
        from httpx import HTTPError, InvalidURL  # noqa: PLC0415 (as the client)

        body = bytearray()
        try:
            async with (
                asyncio.timeout(self._settings.patience),
                self._http.stream("GET", url, params=parameters) as answer,
            ):
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > _LONGEST_ANSWER:
                        raise MalformedDataError(f"{url} answered with more than {_LONGEST_ANSWER} bytes", url=url)
        except (HTTPError, InvalidURL, OSError, UnicodeError) as error:  # a TimeoutError is an OSError
            reason = str(error) or type(error).__name__
            raise ProviderUnavailableError(f"no answer from {url}: {reason}", url=url) from error
        return answer, bytes(body)

    def _read_clock(self, answer: httpx.Response) -> None:
        with contextlib.suppress(KeyError, ValueError, TypeError):
            self.server_now = instant_of(parsedate_to_datetime(answer.headers["Date"]))

    async def _wait_for(self, budget: WeightBudget, cost: int, url: str) -> None:
        """Come back when the request may be sent. Raises `RateLimitError` while the exchange wants silence."""
        while True:
            until = await asyncio.to_thread(budget.stopped_until)
            if until > time.time():
                raise _rate_limit(url, None, until)
            wait = await asyncio.to_thread(budget.reserve, cost)
            if wait <= 0:
                return
            await asyncio.sleep(wait)

    def _refuse(
        self, answer: httpx.Response, body: bytes, budget: WeightBudget, market: Market, series: Series | None
    ) -> NoReturn:
        status, url = answer.status_code, str(answer.url)
        setting = f"CKVD_{market.value.upper()}_URL"
        code, text = _said(answer, body)
        if status in {429, 418}:
            until = time.time() + _retry_after(answer, 60.0 if status == 429 else 120.0)  # noqa: PLR2004
            budget.stop(until)
            raise _rate_limit(url, status, until)
        if series is not None and code == _NO_SUCH_SYMBOL:
            known = (
                f"the exchange has no such symbol on {market.value}; ckvd_symbols('{market.value}') lists those it has"
            )
            raise InvalidSymbolError("symbol", series.symbol, known)
        if series is not None and code == _NO_LONGER_TRADED:
            raise DelistedError(f"{series.symbol} is no longer served on {market.value}", url=url, status=status)
        if status == 451:  # noqa: PLR2004
            message = (
                f"Binance does not serve this location from {answer.url.host} (HTTP 451); set {setting} to a host that "
                "serves yours, for spot market data https://data-api.binance.vision"
            )
        elif status == 403:  # noqa: PLR2004
            message = (
                f"the firewall of {answer.url.host} refuses this address (HTTP 403); wait some minutes, or set "
                f"{setting} to another host, for spot market data https://data-api.binance.vision"
            )
        else:
            message = f"{url} answered HTTP {status}: {text}"
            if status < 500 and not answer.is_redirect:  # noqa: PLR2004
                raise ProviderError(message, url=url, status=status)
        raise ProviderUnavailableError(message, url=url, status=status)


def _joined(pages: list[pa.RecordBatch]) -> pa.RecordBatch:
    table = pa.Table.from_batches(pages, schema=BAR_SCHEMA).combine_chunks()
    return next(iter(table.to_batches()), NO_BARS)


def _worth_another_try(error: BaseException) -> bool:
    if isinstance(error, ProviderUnavailableError):
        return error.status is None or error.status >= 500  # noqa: PLR2004
    return isinstance(error, MalformedDataError)


def _said(answer: httpx.Response, content: bytes) -> tuple[int | None, str]:
    """Binance's error code and message, where the body is one of its errors."""
    try:
        body = json.loads(content)
        return int(body["code"]), str(body["msg"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None, answer.reason_phrase


def _retry_after(answer: httpx.Response, otherwise: float) -> float:
    try:
        seconds = float(answer.headers["Retry-After"])
    except (KeyError, ValueError):
        return otherwise
    return min(max(seconds, 1.0), 3 * 86_400.0) if math.isfinite(seconds) else otherwise  # bans last three days at most


def _rate_limit(url: str, status: int | None, until: float) -> RateLimitError:
    moment = moment_of(int(until * 1_000_000))
    seconds = max(0.0, until - time.time())
    what = "has banned this address" if status == 418 else "asks this address to wait"  # noqa: PLR2004
    return RateLimitError(
        f"Binance {what} until {moment:%Y-%m-%d %H:%M:%S} UTC, {seconds:.0f} s from now; the days fetched so far are "
        "cached, so the same query goes on from there",
        retry_after=seconds,
        until=moment,
        url=url,
        status=status,
    )
