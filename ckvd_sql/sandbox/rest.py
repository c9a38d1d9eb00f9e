"""The REST answers: parameters in, status and JSON out, with Binance's limits, weights and errors.

Pure: the clock is an argument, the bars come from a `Source`, the counting of weights is elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ckvd_sql.errors import InvalidIntervalError
from ckvd_sql.market.parse import parse_interval
from ckvd_sql.market.periods import DAY
from ckvd_sql.market.series import Market, Series
from ckvd_sql.sandbox.answer import Answer, error_answer, json_answer
from ckvd_sql.sandbox.limits import BUDGETS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ckvd_sql.sandbox.archive import Asset
    from ckvd_sql.sandbox.symbols import Listing

#: Where each market's REST interface lives.
PREFIXES: dict[str, Market] = {"/api/v3/": Market.SPOT, "/fapi/v1/": Market.UM, "/dapi/v1/": Market.CM}

_MAX_ROWS = {Market.SPOT: 1000, Market.UM: 1500, Market.CM: 1500}
_DEFAULT_ROWS = 500
_CM_WINDOW = 200 * DAY
_SYMBOL = re.compile(r"[^\Wa-z]([^\Wa-z]|[-.]){0,49}")
_SYMBOL_RANGE = r"^[\w\-._&&[^a-z]]{1,50}$"
_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_FAR_FUTURE = 10**17  # µs; a bound beyond it means no more than it does


@dataclass(frozen=True, slots=True)
class Window:
    """Which rows are wanted: at most `limit` that open in `[start, end)`, the oldest or the newest; µs."""

    start: int
    end: int
    limit: int
    newest: bool


class Source(Protocol):
    """Where the exchange's data comes from: made up, or replayed."""

    def listings(self, market: Market, now: int) -> Sequence[Listing]:
        """The symbols that exist at an instant."""

    def asset(self, path: str, now: int) -> Asset | None:
        """The archive's file at a path such as `data/spot/...zip`, or None."""

    def rows(self, series: Series, window: Window, now: int) -> bytes:
        """REST rows as a JSON array."""


class _RefusedError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def route(path: str) -> tuple[Market, str] | None:
    """The market and the call of a REST path, or None for a path that is none."""
    for prefix, market in PREFIXES.items():
        if path.startswith(prefix):
            return market, path.removeprefix(prefix)
    return None


def weight(market: Market, call: str, params: Mapping[str, str]) -> int:
    """What a call costs."""
    if call == "exchangeInfo":
        return 20 if market is Market.SPOT else 1
    if call != "klines":
        return 1
    if market is Market.SPOT:
        return 2
    text = params.get("limit", "")
    limit = int(text) if _NUMBER.fullmatch(text) else _DEFAULT_ROWS
    return next((cost for most, cost in ((99, 1), (499, 2), (1000, 5)) if limit <= most), 10)


def answer(source: Source, market: Market, call: str, params: Mapping[str, str], now: int) -> Answer:
    """Answer a REST call."""
    try:
        match call:
            case "ping":
                return json_answer({})
            case "time":
                return json_answer({"serverTime": now // 1000})
            case "exchangeInfo":
                return _exchange_info(source, market, params, now)
            case "klines":
                return _klines(source, market, params, now)
    except _RefusedError as refused:
        return error_answer(refused.code, refused.message)
    return Answer(404, {"Content-Type": "text/html"}, b"<html><body>404 Not found</body></html>")


def _klines(source: Source, market: Market, params: Mapping[str, str], now: int) -> Answer:
    symbol = _symbol(params.get("symbol", ""))
    text = params.get("interval", "")
    if not text:
        raise _missing("interval")
    limit = _limit(market, params.get("limit"))
    start, end = _bound(params, "startTime"), _bound(params, "endTime")
    listing = next((one for one in source.listings(market, now) if one.symbol == symbol), None)
    if listing is None:
        raise _RefusedError(-1121, "Invalid symbol.")
    try:
        interval = parse_interval("" if text == "1mo" else text, market)
    except InvalidIntervalError:
        raise _RefusedError(-1120, "Invalid interval.") from None
    if listing.status_at(now) == "DELIVERED":
        raise _RefusedError(-1122, "Invalid symbol status.")
    window = _window(market, start, end, limit)
    return Answer(
        200,
        {"Content-Type": "application/json;charset=UTF-8"},
        source.rows(Series(market, symbol, interval), window, now),
    )


def _window(market: Market, start: int | None, end: int | None, limit: int) -> Window:
    if market is not Market.SPOT and start is not None and end is not None and start > end:
        raise _RefusedError(-1023, "Start time is greater than end time.")
    newest = start is None
    if market is Market.CM:
        if start is not None and end is not None:
            if end - start > _CM_WINDOW:
                raise _RefusedError(-4088, "Maximum time interval is 200 days.")
            newest = True
        elif start is not None:
            end = start + _CM_WINDOW
        elif end is not None:
            start = end - _CM_WINDOW
    # Both bounds are included: a bar that opens at endTime is wanted.
    return Window(start or 0, _FAR_FUTURE if end is None else end + 1, limit, newest)


def _missing(name: str) -> _RefusedError:
    return _RefusedError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def _illegal(name: str, legal: str) -> _RefusedError:
    return _RefusedError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def _symbol(text: str) -> str:
    if not text:
        raise _missing("symbol")
    if not _SYMBOL.fullmatch(text):
        raise _illegal("symbol", _SYMBOL_RANGE)
    return text


def _bound(params: Mapping[str, str], name: str) -> int | None:
    text = params.get(name)
    if text is None:
        return None
    if not text:
        raise _RefusedError(-1105, f"Parameter '{name}' was empty.")
    if not _NUMBER.fullmatch(text):
        raise _illegal(name, "^[0-9]{1,20}$")
    return min(int(text) * 1000, _FAR_FUTURE)


def _limit(market: Market, text: str | None) -> int:
    if text is None:
        return _DEFAULT_ROWS
    if not _NUMBER.fullmatch(text):
        raise _illegal("limit", "^[0-9]{1,20}$")
    limit = int(text)
    if limit < 1 or (limit > _MAX_ROWS[market] and market is not Market.SPOT):
        raise _RefusedError(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit, _MAX_ROWS[market])


def _exchange_info(source: Source, market: Market, params: Mapping[str, str], now: int) -> Answer:
    listings = source.listings(market, now)
    # Only spot can be asked for one symbol; futures answer with all of them whatever is asked.
    if market is Market.SPOT and "symbol" in params:
        wanted = _symbol(params["symbol"])
        listings = [one for one in listings if one.symbol == wanted]
        if not listings:
            raise _RefusedError(-1121, "Invalid symbol.")
    budget = {
        "rateLimitType": "REQUEST_WEIGHT",
        "interval": "MINUTE",
        "intervalNum": 1,
        "limit": BUDGETS[market],
    }
    info: dict[str, Any] = {
        "timezone": "UTC",
        "serverTime": now // 1000,
        "rateLimits": [budget],
        "exchangeFilters": [],
        "symbols": [(_spot_symbol if market is Market.SPOT else _contract)(one, now) for one in listings],
    }
    if market is Market.UM:
        info |= {"futuresType": "U_MARGINED", "assets": [{"asset": "USDT", "marginAvailable": True}]}
    return json_answer(info)


def _decimal(units: int, digits: int, shown: int = 0) -> str:
    whole, rest = divmod(units, 10**digits)
    fraction = f"{rest:0{digits}d}" if digits else ""
    fraction += "0" * (shown - digits)
    return f"{whole}.{fraction}" if fraction else str(whole)


def _filters(one: Listing, shown: int) -> list[dict[str, Any]]:
    tick = _decimal(one.tick, one.price_digits, shown)
    lot = _decimal(1, one.quantity_digits, shown)
    price_range = {"minPrice": tick, "maxPrice": _decimal(10**7, 0, shown)}
    quantity_range = {"minQty": lot, "maxQty": _decimal(10**6, 0, shown)}
    return [
        {"filterType": "PRICE_FILTER", **price_range, "tickSize": tick},
        {"filterType": "LOT_SIZE", **quantity_range, "stepSize": lot},
    ]


def _spot_symbol(one: Listing, now: int) -> dict[str, Any]:
    return {
        "symbol": one.symbol,
        "status": one.status_at(now),
        "baseAsset": one.base,
        "baseAssetPrecision": 8,
        "quoteAsset": one.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(one, 8),
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }


def _contract(one: Listing, now: int) -> dict[str, Any]:
    coin = one.market is Market.CM
    pair, _, delivery = one.symbol.partition("_")
    perpetual = delivery in ("", "PERP")
    sized = {"contractSize": one.contract_size} if coin else {}
    return {
        "symbol": one.symbol,
        "pair": pair,
        "contractType": "PERPETUAL" if perpetual else "CURRENT_QUARTER",
        "deliveryDate": 4133404800000 if one.delisted is None else one.delisted // 1000,
        "onboardDate": one.listed // 1000,
        "contractStatus" if coin else "status": one.status_at(now),
        **sized,
        "baseAsset": one.base,
        "quoteAsset": one.quote,
        "marginAsset": one.base if coin else one.quote,
        "pricePrecision": one.price_digits,
        "quantityPrecision": one.quantity_digits,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
        "filters": _filters(one, 0),
    }
