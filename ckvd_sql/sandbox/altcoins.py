"""More coins of the synthetic exchange, whose prices follow bitcoin's to a part, as those of most coins do.

Names are of real coins, times of listing are near theirs, and prices are rough. MATIC was renamed to POL: the old
symbol ends, and the new one begins some days later.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Coin:
    """A coin and its symbol with USDT.

    Attributes:
        base: The asset.
        listed: When its spot symbol was listed, as ISO 8601 text in UTC.
        prices: Its rough prices in 2020, at the end of 2021, of 2022 and of 2024, in USDT.
        digits: Decimals of a price and of a volume.
        beta: How far it follows bitcoin: 1 is as far as bitcoin itself moves.
        turnover: USDT traded on a usual day.
        delisted: When it was delisted; None if it is traded.
        futures: When its USDT-margined contract was listed; None if it has none.
    """

    base: str
    listed: str
    prices: tuple[float, float, float, float]
    digits: tuple[int, int]
    beta: float
    turnover: float
    delisted: str | None = None
    futures: str | None = None


#: The dates of `Coin.prices`.
PRICE_DATES = ("2020-06-01", "2021-11-15", "2022-12-15", "2024-12-15")

COINS = (
    Coin("LTC", "2017-12-13T03:32", (46, 260, 65, 120), (2, 3), 0.9, 6e7, futures="2020-01-09T08:00"),
    Coin("TRX", "2018-06-11T11:30", (0.016, 0.11, 0.053, 0.28), (5, 1), 0.5, 7e7, futures="2020-01-15T08:00"),
    Coin("BCH", "2019-11-28T10:00", (240, 600, 100, 480), (2, 3), 0.9, 4e7, futures="2019-12-25T08:00"),
    Coin("DOT", "2020-08-18T23:00", (3, 42, 4.6, 8.6), (3, 2), 1.1, 4e7, futures="2020-08-22T07:00"),
    Coin("MATIC", "2019-04-26T15:00", (0.02, 1.7, 0.8, 0.38), (4, 1), 1.2, 5e7, delisted="2024-09-10T03:00"),
    Coin("POL", "2024-09-13T10:00", (0.02, 1.7, 0.8, 0.6), (4, 1), 1.2, 3e7),
    Coin("ATOM", "2019-04-29T04:00", (2.8, 30, 9, 8), (3, 2), 1.0, 2e7, futures="2020-02-07T08:00"),
    Coin("UNI", "2020-09-17T03:00", (3, 24, 5.3, 15), (3, 2), 1.1, 3e7, futures="2020-09-18T07:00"),
    Coin("ETC", "2018-06-12T03:34", (6.8, 50, 16, 30), (2, 2), 1.0, 2e7, futures="2020-01-16T08:00"),
    Coin("XLM", "2018-05-31T09:30", (0.07, 0.35, 0.075, 0.43), (4, 0), 0.8, 3e7, futures="2020-01-20T08:00"),
    Coin("NEAR", "2020-10-14T08:00", (1, 9.5, 1.4, 6.5), (3, 1), 1.2, 4e7),
    Coin("FIL", "2020-10-15T08:00", (20, 58, 3.2, 6.2), (3, 2), 1.1, 3e7),
    Coin("APT", "2022-10-19T01:00", (9, 9, 4.2, 13), (2, 2), 1.2, 3e7),
    Coin("ARB", "2023-03-23T17:00", (1.2, 1.2, 1.2, 0.95), (4, 1), 1.3, 4e7),
    Coin("OP", "2022-06-01T03:00", (1.2, 1.2, 0.95, 2.3), (3, 2), 1.3, 3e7),
    Coin("SUI", "2023-05-03T12:00", (1.3, 1.3, 1.3, 4.5), (4, 1), 1.3, 1.5e8),
    Coin("PEPE", "2023-05-05T16:00", (1e-6, 1e-6, 1e-6, 2.4e-5), (8, 0), 1.6, 1.8e8),
    Coin("SHIB", "2021-05-10T11:00", (5e-6, 4.8e-5, 8.8e-6, 2.7e-5), (8, 0), 1.4, 1e8),
    Coin("WIF", "2024-03-05T14:00", (2, 2, 2, 2.8), (3, 2), 1.7, 8e7),
    Coin("INJ", "2020-10-21T10:00", (0.8, 9, 1.4, 25), (2, 2), 1.2, 3e7),
    Coin("AAVE", "2020-10-15T03:00", (50, 270, 58, 370), (2, 3), 1.1, 4e7, futures="2020-10-16T07:00"),
    Coin("MKR", "2020-07-23T10:00", (500, 2900, 550, 1800), (0, 4), 1.0, 1.5e7),
    Coin("ALGO", "2019-06-22T00:00", (0.2, 1.9, 0.2, 0.42), (4, 0), 1.1, 2e7),
    Coin("VET", "2018-07-25T10:00", (0.006, 0.14, 0.018, 0.055), (5, 1), 1.1, 2e7),
    Coin("SAND", "2020-08-14T06:00", (0.05, 4, 0.5, 0.65), (4, 0), 1.3, 2e7),
    Coin("MANA", "2020-08-06T04:00", (0.04, 4, 0.38, 0.6), (4, 0), 1.3, 1.5e7),
    Coin("GRT", "2020-12-17T15:00", (0.1, 0.95, 0.06, 0.27), (4, 0), 1.2, 1.5e7),
    Coin("EOS", "2018-05-28T10:00", (2.7, 4.5, 0.95, 1.1), (3, 1), 0.9, 2e7),
    Coin("XTZ", "2019-09-24T04:00", (2.8, 5.5, 0.95, 1.6), (3, 1), 1.0, 1e7),
    Coin("XMR", "2019-03-15T04:00", (65, 250, 150, 210), (1, 3), 0.7, 3e7, delisted="2024-02-20T03:00"),
    Coin("TON", "2024-08-08T10:00", (2, 2, 2.4, 6.2), (3, 2), 0.9, 3e7),
)
