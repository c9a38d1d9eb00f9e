"""REST: klines and symbols from the exchange itself, within its limits and its weight budget.

The client lives as long as one scan, on that scan's event loop. It knows no cache and no archive. Facts on limits,
weights and errors: Binance's API documents.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pyarrow as pa

from ckvd_sql.errors import MalformedDataError, ProviderUnavailableError
from ckvd_sql.market.bars import BAR_SCHEMA, NO_BARS, open_times
from ckvd_sql.market.periods import DAY, MINUTE, instant_of, moment_of
from ckvd_sql.market.series import INTERVALS, Market, Series
from ckvd_sql.sources.answers import SYMBOLS_BYTES, rest_bytes
from ckvd_sql.sources.concurrency import gather_or_cancel, retrying
from ckvd_sql.sources.parse import read_rest
from ckvd_sql.sources.refusals import Refusal, rate_limit_error
from ckvd_sql.sources.weight import EXCHANGE_INFO_WEIGHT, WeightBudget, klines_weight

if TYPE_CHECKING:
    from datetime import date

    from ckvd_sql.settings import Settings
    from ckvd_sql.sources.http import Answer, HttpClient

log = logging.getLogger("ckvd_sql")

_PREFIX = {Market.SPOT: "/api/v3", Market.UM: "/fapi/v1", Market.CM: "/dapi/v1"}

#: Rows of one call: the most that all markets allow; on futures a row costs less weight than with their 1,500.
PAGE = 1000

#: Bars of the grid that are asked for in one call, so that a full page shows that there are more than the grid has.
WINDOW = PAGE - 2

#: Coin-margined klines refuse more than 200 days between the bounds; the first contracts opened on 2020-08-10.
_CM_WINDOW = 200 * DAY
_CM_FIRST = 18_475 * DAY  # 2020-08-01

_MILLISECOND = 1000

#: The most by which the exchange's clock may be behind the local one and still count.
_CLOCK_SKEW = 10 * MINUTE
_USED_WEIGHT = re.compile("[0-9]{1,9}")

#: Values and brackets in the list of symbols, which has some hundred thousands: each may take 60 bytes of memory.
_MOST_PARTS = 3_000_000


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol as the exchange lists it."""

    symbol: str
    base: str
    quote: str
    status: str


class RestClient:
    """The REST hosts, for one scan.

    Args:
        settings: The hosts' URLs, and retries.
        http: The client.
        slots: Bounds the concurrent requests, together with the scan's archive client.
    """

    def __init__(self, settings: Settings, http: HttpClient, slots: asyncio.Semaphore) -> None:
        self._settings = settings
        self._http = http
        self._slots = slots
        self._budgets: dict[Market, WeightBudget] = {}
        self._server_now: int | None = None  # by the `Date` header of the last answer
        self._warned_clock = False

    def agreed_now(self, now: int) -> int:
        """`now`, or the exchange's clock at its last answer where that is a little earlier; in microseconds.

        A local clock that runs ahead must not close a bar early. A `Date` header that is far behind the local clock is
        not used, with a warning. A fixed clock (`settings.now`) is taken as it is.
        """
        if self._settings.now is not None or self._server_now is None or self._server_now >= now:
            return now
        if now - self._server_now <= _CLOCK_SKEW:
            return self._server_now
        if not self._warned_clock:
            self._warned_clock = True
            log.warning(
                "the exchange's clock says %s, more than %s minutes behind this machine's, so it is not used",
                moment_of(self._server_now),
                _CLOCK_SKEW // MINUTE,
            )
        return now

    async def klines(
        self, series: Series, start: int, end: int, conflicting: set[date] | None = None
    ) -> pa.RecordBatch:
        """The bars that open in `[start, end)`, including the one still forming; instants in microseconds.

        Days that have different rows for one open time are added to `conflicting`, and the last row is used; where that
        is None they are malformed.

        The range is requested in windows of fewer bars than a page holds, so that neither the silent limit of spot
        nor the newest-first order of coin-margined futures can cut rows off.

        Raises:
            RateLimitError: The exchange asks to wait, or has banned this address.
            InvalidSymbolError: It does not know the symbol.
            DelistedError: It knows the symbol and no longer serves it.
            ProviderUnavailableError: It can't be reached, or refuses this address.
            MalformedDataError: It keeps answering with something other than bars.
        """
        slots = series.interval.slots(start, end)
        if not slots and series.interval.grid_known:
            return NO_BARS
        page = WINDOW
        if series.market is Market.CM:
            page = min(page, _CM_WINDOW // (series.interval.step or 31 * DAY))
        bounds = [start, *(series.interval.open_time(slot) for slot in slots[page::page]), end]
        pages = await gather_or_cancel(self._page(series, first, last, conflicting) for first, last in pairwise(bounds))
        return _joined(pages)

    async def first_open(self, series: Series) -> int | None:
        """The open time of the series' first bar, in microseconds; None where there is no bar. Raises as `klines`."""
        if series.market is not Market.CM:
            bars, _ = await self._klines(series, 0, self._settings.clock() + DAY, limit=1)
            return int(open_times(bars)[0]) if bars.num_rows else None
        daily = Series(series.market, series.symbol, INTERVALS["1d"])
        now = self._settings.clock()
        for start in range(_CM_FIRST, now, _CM_WINDOW):
            bars = await self._page(daily, start, min(start + _CM_WINDOW, now))
            if bars.num_rows:
                day = int(open_times(bars)[0])
                opens_from = day - (series.interval.step or 31 * DAY)  # a longer bar may open before that day
                exact = await self.klines(series, opens_from if series.interval.multi_day else day, day + DAY)
                return int(open_times(exact)[0]) if exact.num_rows else day
        return None

    async def first_bar(self, series: Series, start: int, end: int) -> pa.RecordBatch:
        """The first bar that opens in `[start, end)`, in one call, whatever lies between; not on coin-margined futures.

        Raises as `klines`.
        """
        bars, _ = await self._klines(series, start, end, limit=1)
        return bars

    async def symbols(self, market: Market) -> list[Symbol]:
        """Every symbol of a market, including delisted ones where the exchange lists them. Raises as `klines`."""
        self._require_allowed()
        url = f"{self._settings.rest_url(market)}{_PREFIX[market]}/exchangeInfo"
        body = await self._get(market, url, {}, EXCHANGE_INFO_WEIGHT[market], None, SYMBOLS_BYTES)
        try:
            if sum(map(body.count, (b",", b"[", b"{"))) > _MOST_PARTS:
                raise ValueError("it has too many parts")  # noqa: TRY301
            return [
                Symbol(
                    entry["symbol"],
                    entry["baseAsset"],
                    entry["quoteAsset"],
                    entry.get("status") or entry["contractStatus"],
                )
                for entry in json.loads(body)["symbols"]
            ]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise MalformedDataError(f"{url} did not answer with a list of symbols: {error!r}", url=url) from error

    async def _page(self, series: Series, start: int, end: int, conflicting: set[date] | None = None) -> pa.RecordBatch:
        slots = series.interval.slots(start, end)
        limit = min(PAGE, len(slots) + 2)
        bars, full = await self._klines(series, start, end, limit=limit, conflicting=conflicting)
        if not full:
            return bars
        if len(slots) < 2:  # noqa: PLR2004
            url = f"{self._settings.rest_url(series.market)}{_PREFIX[series.market]}/klines"
            raise MalformedDataError(f"{url} answered with more klines than there can be", url=url)
        middle = series.interval.open_time(slots[len(slots) // 2])  # a full page may have been cut
        return _joined([await self._page(series, start, middle), await self._page(series, middle, end)])

    async def _klines(
        self, series: Series, start: int, end: int, limit: int, conflicting: set[date] | None = None
    ) -> tuple[pa.RecordBatch, bool]:
        """The bars of one call, and whether it returned as many rows as its limit, so that some may be cut off."""
        self._require_allowed()
        url = f"{self._settings.rest_url(series.market)}{_PREFIX[series.market]}/klines"
        parameters = {
            "symbol": series.symbol,
            "interval": series.interval.rest_name,
            "startTime": -(-start // _MILLISECOND),
            "endTime": -(-end // _MILLISECOND) - 1,
            "limit": limit,
        }
        async for attempt in retrying(self._settings.retries, _is_transient):
            with attempt:
                weight, most = klines_weight(series.market, limit), rest_bytes(limit)
                body = await self._get(series.market, url, parameters, weight, series, most)
                return read_rest(body, f"{url}?{urlencode(parameters)}", start, end, limit, conflicting)
        raise AssertionError("unreachable: an attempt returns or raises")

    def _require_allowed(self) -> None:
        """Raise the error of an exchange that can't be reached, where the user wants the archive alone."""
        if self._settings.sources == "archive":
            raise ProviderUnavailableError("REST is not used (CKVD_SOURCES=archive)")

    async def _get(
        self, market: Market, url: str, parameters: dict[str, Any], cost: int, series: Series | None, most: int
    ) -> bytes:
        """The body, of `most` bytes, of one request, sent once the budget allows it; any status but 200 raises."""
        budget = self._budgets.get(market) or self._budgets.setdefault(
            market,
            WeightBudget(
                market,
                self._settings.rest_url(market),
                self._settings.cache_dir / ".rest",
                self._settings.cache_shared,
            ),
        )
        await self._wait_for(budget, cost, url)
        async with self._slots:
            # Redirects are not followed: a REST host that sends one is not the exchange.
            answer = await self._http.get(url, most, parameters=parameters)
        self._read_clock(answer)
        used = answer.headers.get("X-MBX-USED-WEIGHT-1M", "")
        if _USED_WEIGHT.fullmatch(used):
            await asyncio.to_thread(budget.observe, int(used))
        if answer.status != HTTPStatus.OK:
            symbol = series.symbol if series else None
            refusal = Refusal(market, symbol, answer.url, answer.status, answer.reason, answer.headers, answer.body)
            now = time.time()
            if refusal.wait is not None:
                budget.stop(now + refusal.wait)  # at once: other requests are about to be sent
            raise refusal.error(now)
        return answer.body

    def _read_clock(self, answer: Answer) -> None:
        with contextlib.suppress(KeyError, ValueError, TypeError):
            self._server_now = instant_of(parsedate_to_datetime(answer.headers["Date"]))

    async def _wait_for(self, budget: WeightBudget, cost: int, url: str) -> None:
        """Return when the request may be sent. Raises `RateLimitError` while the exchange allows none."""
        while True:
            until = await asyncio.to_thread(budget.stopped_until)
            if until > time.time():
                raise rate_limit_error(url, None, until, time.time())
            wait = await asyncio.to_thread(budget.reserve, cost)
            if wait <= 0:
                return
            await asyncio.sleep(wait)


def _joined(pages: list[pa.RecordBatch]) -> pa.RecordBatch:
    table = pa.Table.from_batches(pages, schema=BAR_SCHEMA).combine_chunks()
    return next(iter(table.to_batches()), NO_BARS)


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, ProviderUnavailableError):
        return error.status is None or error.status >= 500  # noqa: PLR2004
    return isinstance(error, MalformedDataError)
