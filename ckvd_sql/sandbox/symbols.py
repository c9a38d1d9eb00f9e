"""The synthetic exchange's symbols: markets, listing and delisting times, units, rough prices; and its outages.

Listing times of the large symbols are Binance's. Knows neither HTTP nor how bars are made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import day_of, day_start
from ckvd_sql.market.series import Market
from ckvd_sql.sandbox.altcoins import COINS, PRICE_DATES

if TYPE_CHECKING:
    from ckvd_sql.market.series import Interval

_Life: TypeAlias = tuple[str, str | None]  # listed and delisted


def _at(text: str) -> int:
    return parse_time(text, "time")


@dataclass(frozen=True, slots=True)
class Listing:
    """A symbol on a market.

    Attributes:
        market: The market.
        symbol: The name, such as `BTCUSDT`.
        base: The base asset.
        quote: The quote asset.
        listed: The instant of the first trade, µs.
        delisted: The instant after the last trade, µs, or None. For a delivery contract, its delivery.
        price_digits: Decimals of a price.
        tick: The smallest price step, in units of the last decimal.
        quantity_digits: Decimals of a volume.
        contract_size: The worth of a contract in quote units on cm; elsewhere 0.
        turnover: Quote units traded on a usual day.
        trades: Trades on a usual day.
    """

    market: Market
    symbol: str
    base: str
    quote: str
    listed: int = 0
    delisted: int | None = None
    price_digits: int = 2
    tick: int = 1
    quantity_digits: int = 5
    contract_size: int = 0
    turnover: float = 0.0
    trades: int = 0

    def on_grid(self, interval: Interval) -> Interval:
        """The interval with this symbol's grid: 3d bars count from its first day of trading."""
        return interval.with_bar_at(day_start(day_of(self.listed)))

    @property
    def status(self) -> str:
        """The final status: `TRADING`, `BREAK` (delisted from spot) or `DELIVERED` (expired futures)."""
        if self.delisted is None:
            return "TRADING"
        return "BREAK" if self.market is Market.SPOT else "DELIVERED"

    def status_at(self, now: int) -> str:
        """The status at an instant, µs."""
        return "TRADING" if self.delisted is None or now < self.delisted else self.status

    @property
    def quote_digits(self) -> int:
        """Decimals of a quote volume, which on cm is in the base asset."""
        return 8 if self.contract_size else self.price_digits + self.quantity_digits


@dataclass(frozen=True, slots=True)
class Outage:
    """A maintenance of a market, without trading: no 1m bar opens in `[start, end)`, µs."""

    market: Market
    start: int
    end: int


OUTAGES: tuple[Outage, ...] = (
    Outage(Market.SPOT, _at("2020-06-28T02:00"), _at("2020-06-28T05:00")),
    Outage(Market.SPOT, _at("2023-03-24T12:40"), _at("2023-03-24T14:00")),
    Outage(Market.UM, _at("2022-06-14T03:10"), _at("2022-06-14T03:25")),
)


def _spot(
    base: str, listed: str, digits: tuple[int, int], turnover: float, trades: int, delisted: str | None = None
) -> Listing:
    return Listing(
        market=Market.SPOT,
        symbol=f"{base}USDT",
        base=base,
        quote="USDT",
        listed=_at(listed),
        delisted=_at(delisted) if delisted else None,
        price_digits=digits[0],
        quantity_digits=digits[1],
        turnover=turnover,
        trades=trades,
    )


def _um(base: str, contract: str, life: _Life, digits: tuple[int, int, int], turnover: float) -> Listing:
    price, tick, quantity = digits
    units = {"price_digits": price, "tick": tick, "quantity_digits": quantity}
    return _futures(Market.UM, f"{base}USDT{contract}", (base, "USDT"), life, turnover, **units)


def _cm(base: str, contract: str, life: _Life, digits: int, size: int, turnover: float) -> Listing:
    units = {"price_digits": digits, "quantity_digits": 0, "contract_size": size}
    return _futures(Market.CM, f"{base}USD_{contract}", (base, "USD"), life, turnover, **units)


def _futures(
    market: Market, symbol: str, assets: tuple[str, str], life: _Life, turnover: float, **units: int
) -> Listing:
    (base, quote), (listed, delisted) = assets, life
    return Listing(
        market,
        symbol,
        base,
        quote,
        listed=_at(listed),
        delisted=_at(delisted) if delisted else None,
        turnover=turnover,
        trades=int(turnover / 2500),
        **units,
    )


def _pair(base: str, quote: str, listed: str) -> Listing:
    """A symbol of a large coin with another stablecoin."""
    spot = _spot(base, listed, (2, 4), 5e7, 120_000)
    return replace(spot, symbol=f"{base}{quote}", quote=quote)


#: Symbols with other quote assets: base, quote and when they were listed.
_OTHER_PAIRS = (
    ("BTC", "USDC", "2023-12-15T08:00"),
    ("ETH", "USDC", "2023-12-15T08:00"),
    ("BTC", "FDUSD", "2023-08-04T08:00"),
    ("ETH", "FDUSD", "2023-08-04T08:00"),
)

_QUARTER = ("2023-12-29T08:00", "2024-06-28T08:00")
_NEXT_QUARTER = ("2024-03-29T08:00", "2024-09-27T08:00")

#: The synthetic symbols of each market.
SYMBOLS: dict[Market, tuple[Listing, ...]] = {
    Market.SPOT: (
        _spot("BTC", "2017-08-17T04:00", (2, 5), 1.4e9, 1_400_000),
        _spot("ETH", "2017-08-17T04:00", (2, 4), 7e8, 900_000),
        _spot("BNB", "2017-11-06T03:54", (2, 3), 1.5e8, 300_000),
        _spot("SOL", "2020-08-11T06:00", (2, 3), 3e8, 500_000),
        _spot("XRP", "2018-05-04T08:11", (4, 1), 2e8, 350_000),
        _spot("ADA", "2018-04-17T04:00", (4, 1), 8e7, 150_000),
        _spot("DOGE", "2019-07-05T12:00", (5, 0), 1.5e8, 250_000),
        _spot("AVAX", "2020-09-22T06:30", (2, 2), 5e7, 110_000),
        _spot("LINK", "2019-01-16T10:00", (3, 2), 4e7, 90_000),
        _spot("1000SATS", "2023-12-12T10:00", (7, 0), 1.5e7, 40_000),
        _spot("币安人生", "2025-10-07T09:30", (5, 1), 1.2e6, 9_000),
        _spot("LUNA", "2020-08-21T10:00", (5, 2), 2e8, 300_000, delisted="2022-05-13T00:45"),
        *(
            _spot(one.base, one.listed, one.digits, one.turnover, int(one.turnover / 500), one.delisted)
            for one in COINS
        ),
        *(_pair(base, quote, listed) for base, quote, listed in _OTHER_PAIRS),
    ),
    Market.UM: (
        _um("BTC", "", ("2019-09-08T17:57", None), (2, 10, 3), 1.2e10),
        _um("ETH", "", ("2019-11-27T07:45", None), (2, 1, 3), 6e9),
        _um("SOL", "", ("2020-09-14T07:00", None), (3, 10, 0), 1.5e9),
        _um("DOGE", "", ("2020-07-10T09:00", None), (5, 1, 0), 8e8),
        _um("BTC", "_240628", _QUARTER, (1, 1, 3), 9e7),
        _um("BTC", "_240927", _NEXT_QUARTER, (1, 1, 3), 9e7),
        *(
            _um(one.base, "", (one.futures, None), (one.digits[0], 1, one.digits[1]), 4 * one.turnover)
            for one in COINS
            if one.futures
        ),
    ),
    Market.CM: (
        _cm("BTC", "PERP", ("2020-08-10T07:00", None), 1, 100, 9e8),
        _cm("ETH", "PERP", ("2020-08-18T07:00", None), 2, 10, 4e8),
        _cm("BTC", "240628", _QUARTER, 1, 100, 3e7),
        _cm("BTC", "240927", _NEXT_QUARTER, 1, 100, 3e7),
    ),
}

_BY_NAME = {(listing.market, listing.symbol): listing for listings in SYMBOLS.values() for listing in listings}

#: Rough prices of the base assets at some dates, in quote units; synthetic prices stay near the line between them.
PRICES: dict[str, tuple[tuple[str, float], ...]] = {
    "BTC": (
        ("2017-08-01", 3500),
        ("2017-12-17", 18000),
        ("2018-12-15", 3400),
        ("2019-06-26", 11500),
        ("2020-03-13", 5600),
        ("2021-04-14", 60000),
        ("2021-07-20", 31000),
        ("2021-11-10", 65000),
        ("2022-11-15", 16500),
        ("2024-03-13", 70000),
        ("2024-12-17", 102000),
        ("2025-10-06", 120000),
    ),
    "ETH": (
        ("2017-08-01", 250),
        ("2018-01-13", 1300),
        ("2018-12-15", 90),
        ("2020-03-13", 130),
        ("2021-11-10", 4600),
        ("2022-06-18", 1100),
        ("2024-03-12", 3900),
        ("2025-04-08", 1550),
        ("2025-08-24", 4700),
    ),
    "BNB": (
        ("2017-11-01", 1.6),
        ("2019-06-20", 36),
        ("2021-05-10", 640),
        ("2023-06-12", 240),
        ("2025-10-13", 1200),
    ),
    "SOL": (
        ("2020-08-01", 3),
        ("2021-11-06", 250),
        ("2022-12-29", 9),
        ("2024-03-18", 190),
        ("2025-01-19", 260),
    ),
    "XRP": (
        ("2018-05-01", 0.85),
        ("2020-03-13", 0.14),
        ("2021-04-14", 1.7),
        ("2024-07-05", 0.44),
        ("2025-01-16", 3),
    ),
    "ADA": (
        ("2018-04-01", 0.2),
        ("2020-03-13", 0.03),
        ("2021-09-02", 2.9),
        ("2023-10-12", 0.25),
        ("2025-01-01", 0.9),
    ),
    "DOGE": (
        ("2019-07-01", 0.003),
        ("2021-01-01", 0.005),
        ("2021-05-08", 0.68),
        ("2023-10-12", 0.06),
        ("2024-12-08", 0.42),
    ),
    "AVAX": (
        ("2020-09-01", 4),
        ("2021-11-21", 130),
        ("2023-09-11", 9),
        ("2024-03-18", 58),
        ("2025-04-07", 18),
    ),
    "LINK": (
        ("2019-01-01", 0.4),
        ("2020-08-13", 17),
        ("2021-05-10", 50),
        ("2023-06-10", 5.5),
        ("2024-12-13", 28),
    ),
    "1000SATS": (
        ("2023-12-01", 0.0004),
        ("2024-03-04", 0.0006),
        ("2025-01-01", 0.0002),
        ("2025-10-01", 0.00004),
    ),
    "币安人生": (("2025-10-01", 0.12), ("2025-10-20", 0.35), ("2026-06-01", 0.15)),
    **{one.base: tuple(zip(PRICE_DATES, one.prices, strict=True)) for one in COINS},
    "LUNA": (
        ("2020-08-01", 0.5),
        ("2022-04-05", 110),
        ("2022-05-07", 75),
        ("2022-05-10", 25),
        ("2022-05-14", 0.0001),
    ),
}


#: How far the price of an asset follows bitcoin's from day to day; the others go their own ways.
BETAS: dict[str, float] = {one.base: one.beta for one in COINS}


def listing_of(market: Market, symbol: str) -> Listing | None:
    """The listing of a symbol on a market, or None."""
    return _BY_NAME.get((market, symbol))
