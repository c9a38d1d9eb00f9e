"""The REST calls: parameters in, status and JSON out, with Binance's limits, weights and error codes.

The rules are those of developers.binance.com, "Kline/Candlestick Data" and "Exchange Information" of each market.
Knows neither clock nor HTTP: the time is an argument, bars come from a `Source`, `limits` counts weights.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ckvd_sql.market.periods import DAY, SECOND
from ckvd_sql.market.series import INTERVALS, Market, Series
from ckvd_sql.sandbox.answer import JSON_HEADERS, Answer, error_answer, json_answer
from ckvd_sql.sandbox.limits import BUDGETS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ckvd_sql.sandbox.archive import Asset
    from ckvd_sql.sandbox.symbols import Listing

#: The path prefix of each market's REST API.
PREFIXES: dict[str, Market] = {"/api/v3/": Market.SPOT, "/fapi/v1/": Market.UM, "/dapi/v1/": Market.CM}

_MAX_ROWS = {Market.SPOT: 1000, Market.UM: 1500, Market.CM: 1500}
_DEFAULT_ROWS = 500
_CM_MAX_RANGE = 200 * DAY
_SYMBOL = re.compile(r"[^\Wa-z]([^\Wa-z]|[-.]){0,49}")
_SYMBOL_RULE = r"^[\w\-._&&[^a-z]]{1,50}$"
_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_NUMBER_RULE = "^[0-9]{1,20}$"
_FAR_FUTURE = 10**17  # µs; later bounds are the same as this one
_NO_DELIVERY = 4133404800000  # 2100-12-25 in ms, the deliveryDate of perpetual contracts


@dataclass(frozen=True, slots=True)
class Window:
    """The rows to return: those that open in `[start, end)`, at most `limit` of them.

    Attributes:
        start: The first instant, µs.
        end: The instant after the last, µs.
        limit: The most rows.
        newest: Whether to return the newest rows, where there are more than `limit`, or the oldest.
    """

    start: int
    end: int
    limit: int
    newest: bool


class Source(Protocol):
    """The exchange's data, synthetic or replayed. `now` is the exchange's time, µs."""

    def listings(self, market: Market, now: int) -> Sequence[Listing]:
        """The symbols that exist."""

    def asset(self, path: str, now: int) -> Asset | None:
        """The archive's file at a path such as `data/spot/...zip`, or None."""

    def rows(self, series: Series, window: Window, now: int) -> bytes:
        """The window's rows that opened by `now`, as REST sends them: a JSON array of arrays of 12."""


class _RefusedError(Exception):
    """A call that is answered with an error code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


def route(path: str) -> tuple[Market, str] | None:
    """The market and the name of the call of a REST path, or None for any other path."""
    for prefix, market in PREFIXES.items():
        if path.startswith(prefix):
            return market, path.removeprefix(prefix)
    return None


def weight(market: Market, call: str, params: Mapping[str, str]) -> int:
    """The request weight of a call."""
    if call == "exchangeInfo":
        return 20 if market is Market.SPOT else 1
    if call != "klines":
        return 1
    if market is Market.SPOT:
        return 2
    text = params.get("limit", "")
    limit = int(text) if _NUMBER.fullmatch(text) else _DEFAULT_ROWS
    return next((cost for highest, cost in ((99, 1), (499, 2), (1000, 5)) if limit <= highest), 10)


def answer(source: Source, market: Market, call: str, params: Mapping[str, str], now: int) -> Answer:
    """Answer a REST call: 400 with an error code where it is refused, 404 for a call that does not exist."""
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
    listing = next((listed for listed in source.listings(market, now) if listed.symbol == symbol), None)
    if listing is None:
        raise _RefusedError(-1121, "Invalid symbol.")
    interval = next((one for one in INTERVALS.values() if one.rest_name == text), None)
    if interval is None or (interval.step == SECOND and market is not Market.SPOT):
        raise _RefusedError(-1120, "Invalid interval.")
    if listing.status_at(now) == "DELIVERED":
        raise _RefusedError(-1122, "Invalid symbol status.")
    window = _window(market, start, end, limit)
    return Answer(200, JSON_HEADERS, source.rows(Series(market, symbol, interval), window, now))


def _window(market: Market, start: int | None, end: int | None, limit: int) -> Window:
    """The window that the bounds (µs, both inclusive) and the limit ask for on a market."""
    if market is not Market.SPOT and start is not None and end is not None and start > end:
        raise _RefusedError(-1023, "Start time is greater than end time.")
    newest = start is None
    if market is Market.CM:
        if start is not None and end is not None:
            if end - start > _CM_MAX_RANGE:
                raise _RefusedError(-4088, "Maximum time interval is 200 days.")
            newest = True
        elif start is not None:
            end = start + _CM_MAX_RANGE
        elif end is not None:
            start = end - _CM_MAX_RANGE
    return Window(start or 0, _FAR_FUTURE if end is None else end + 1, limit, newest)


def _missing(name: str) -> _RefusedError:
    return _RefusedError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def _illegal(name: str, rule: str) -> _RefusedError:
    return _RefusedError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{rule}'.")


def _symbol(text: str) -> str:
    if not text:
        raise _missing("symbol")
    if not _SYMBOL.fullmatch(text):
        raise _illegal("symbol", _SYMBOL_RULE)
    return text


def _bound(params: Mapping[str, str], name: str) -> int | None:
    """`startTime` or `endTime`, sent in ms, as µs."""
    text = params.get(name)
    if text is None:
        return None
    if not text:
        raise _RefusedError(-1105, f"Parameter '{name}' was empty.")
    if not _NUMBER.fullmatch(text):
        raise _illegal(name, _NUMBER_RULE)
    return min(int(text) * 1000, _FAR_FUTURE)


def _limit(market: Market, text: str | None) -> int:
    if text is None:
        return _DEFAULT_ROWS
    if not _NUMBER.fullmatch(text):
        raise _illegal("limit", _NUMBER_RULE)
    limit = int(text)
    if limit < 1 or (limit > _MAX_ROWS[market] and market is not Market.SPOT):
        raise _RefusedError(-1130, "Data sent for parameter 'limit' is not valid.")
    # Futures refuse a limit above the most rows; spot lowers it.
    return min(limit, _MAX_ROWS[market])


def _exchange_info(source: Source, market: Market, params: Mapping[str, str], now: int) -> Answer:
    listings = source.listings(market, now)
    # Spot alone filters by symbol; futures ignore the parameter.
    if market is Market.SPOT and "symbol" in params:
        symbol = _symbol(params["symbol"])
        listings = [listing for listing in listings if listing.symbol == symbol]
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
        "symbols": [(_spot_symbol if market is Market.SPOT else _contract)(listing, now) for listing in listings],
    }
    if market is Market.UM:
        info |= {"futuresType": "U_MARGINED", "assets": [{"asset": "USDT", "marginAvailable": True}]}
    return json_answer(info)


def _decimal(units: int, digits: int, shown: int = 0) -> str:
    """A number counted in its last of `digits` decimals, as text with at least `shown` decimals."""
    whole, rest = divmod(units, 10**digits)
    fraction = f"{rest:0{digits}d}" if digits else ""
    fraction += "0" * (shown - digits)
    return f"{whole}.{fraction}" if fraction else str(whole)


def _filters(listing: Listing, shown: int) -> list[dict[str, Any]]:
    tick = _decimal(listing.tick, listing.price_digits, shown)
    lot = _decimal(1, listing.quantity_digits, shown)
    price_range = {"minPrice": tick, "maxPrice": _decimal(10**7, 0, shown)}
    quantity_range = {"minQty": lot, "maxQty": _decimal(10**6, 0, shown)}
    return [
        {"filterType": "PRICE_FILTER", **price_range, "tickSize": tick},
        {"filterType": "LOT_SIZE", **quantity_range, "stepSize": lot},
    ]


def _spot_symbol(listing: Listing, now: int) -> dict[str, Any]:
    return {
        "symbol": listing.symbol,
        "status": listing.status_at(now),
        "baseAsset": listing.base,
        "baseAssetPrecision": 8,
        "quoteAsset": listing.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(listing, 8),
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }


def _contract(listing: Listing, now: int) -> dict[str, Any]:
    coin = listing.market is Market.CM
    pair, _, delivery = listing.symbol.partition("_")
    perpetual = delivery in ("", "PERP")
    sized = {"contractSize": listing.contract_size} if coin else {}
    return {
        "symbol": listing.symbol,
        "pair": pair,
        "contractType": "PERPETUAL" if perpetual else "CURRENT_QUARTER",
        "deliveryDate": _NO_DELIVERY if listing.delisted is None else listing.delisted // 1000,
        "onboardDate": listing.listed // 1000,
        "contractStatus" if coin else "status": listing.status_at(now),
        **sized,
        "baseAsset": listing.base,
        "quoteAsset": listing.quote,
        "marginAsset": listing.base if coin else listing.quote,
        "pricePrecision": listing.price_digits,
        "quantityPrecision": listing.quantity_digits,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
        "filters": _filters(listing, 0),
    }
