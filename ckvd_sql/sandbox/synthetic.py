"""The synthetic market: the 1m and 1s bars of any symbol and day, made from hashes alone, in any order of requests.

A day's opening price is a closed form of the day; its 1m bars are a random bridge to the next day's; 1s bars refine a
minute. Knows neither clock nor HTTP.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import DAY, EPOCH, MINUTE, SECOND, day_of, day_start
from ckvd_sql.market.series import Market
from ckvd_sql.sandbox.bars import (
    CLOSE,
    FIELDS,
    HIGH,
    LOW,
    OPEN,
    QUOTE,
    TAKER,
    TAKER_QUOTE,
    TRADES,
    VOLUME,
    Bars,
    Ints,
)
from ckvd_sql.sandbox.symbols import BETAS, OUTAGES, PRICES, Listing

if TYPE_CHECKING:
    from datetime import date

Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]

_MINUTES = 1440
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_FEWEST_TRADES = 4  # one each for open, high, low and close
_DAILY_VOLATILITY = 0.03  # within a day, in log2: about 2 %
_OCTAVES = 7
_DAILY_SWING = 0.022  # between days, in log2; an octave of twice as many days swings √2 times as far

# Relative activity per UTC hour: highest while London and New York both trade, lowest before London does.
_HOURS = np.array([
    0.9, 0.8, 0.8, 0.7, 0.6, 0.6, 0.7, 0.9, 1.0, 1.0, 1.0, 1.0,
    1.1, 1.5, 1.8, 1.7, 1.5, 1.2, 1.1, 1.0, 0.9, 0.8, 0.8, 0.8,
])  # fmt: skip
_PROFILE: Floats = np.repeat(_HOURS / _HOURS.mean(), 60)
_STEP: Floats = np.sqrt(_PROFILE / _MINUTES)
_THROUGH_DAY: Floats = np.arange(_MINUTES + 1) / _MINUTES
_MINUTE_OPENS: Ints = np.arange(_MINUTES, dtype=np.int64) * MINUTE
_THROUGH_MINUTE: Floats = np.arange(61) / 60


def _seed(*names: object) -> int:
    return int.from_bytes(hashlib.blake2b("/".join(map(str, names)).encode(), digest_size=8).digest(), "little")


def _hash(seed: int, counters: Hashes) -> Hashes:
    """SplitMix64 of a seed and counters: 64 uniform bits each, the same on every machine and in every order."""
    z = counters * np.uint64(_GOLDEN) + np.uint64(seed)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _hash_one(seed: int, counter: int) -> float:
    """SplitMix64 of a seed and one counter, as a number in [-1, 1)."""
    z = (counter * _GOLDEN + seed) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / (1 << 52) - 1


def _bits(hashes: Hashes, shift: int, width: int) -> Ints:
    return ((hashes >> np.uint64(shift)) & np.uint64((1 << width) - 1)).astype(np.int64)


def _uniform(hashes: Hashes, shift: int) -> Floats:
    """16 of the 64 bits, from bit `shift` on, as a number in [0, 1)."""
    return _bits(hashes, shift, 16) / 65536.0


def _normal(hashes: Hashes) -> Floats:
    """Nearly normal numbers of mean 0 and deviation 1: the sum of the four 16-bit parts."""
    return (_uniform(hashes, 0) + _uniform(hashes, 16) + _uniform(hashes, 32) + _uniform(hashes, 48) - 2.0) * math.sqrt(
        3
    )


@lru_cache(maxsize=64)
def _price_points(base: str) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The days since the epoch of an asset's rough prices, and the log2 of those."""
    points = PRICES[base]
    days = tuple(parse_time(day, "day") // DAY for day, _ in points)
    return days, tuple(math.log2(price) for _, price in points)


@lru_cache(maxsize=50_000)
def _swing(base: str, day: int) -> float:
    """Fractal noise at a day's opening: like a random walk, but each point is a closed form."""
    seed, total = _seed("swing", base), 0.0
    for octave in range(_OCTAVES):
        cell, within = day >> octave, (day & ((1 << octave) - 1)) / (1 << octave)
        first, second = _hash_one(seed, cell * 16 + octave), _hash_one(seed, (cell + 1) * 16 + octave)
        total += math.sqrt(2.0) ** octave * (first + (second - first) * within)
    return total


@lru_cache(maxsize=50_000)
def _log_price(listing: Listing, day: int) -> float:
    """The log2 of the price at a day's opening: the asset's, which all markets share, and a contract's small basis."""
    days, logs = _price_points(listing.base)
    at = bisect_right(days, day)
    if 0 < at < len(days):
        share = (day - days[at - 1]) / (days[at] - days[at - 1])
        log = logs[at - 1] + (logs[at] - logs[at - 1]) * share
    else:
        log = logs[min(at, len(logs) - 1)]
    log += _DAILY_SWING * _swing(listing.base, day)
    if listing.base in BETAS:
        log += BETAS[listing.base] * _DAILY_SWING * _swing("BTC", day)
    if listing.market is not Market.SPOT:
        log += 0.0006 * _hash_one(_seed("basis", listing.market.value, listing.symbol), day)
    return log


def _opening_price(listing: Listing, day: int) -> int:
    """The price at a day's opening, which is the close of the day before."""
    scale: float = 10.0**listing.price_digits / listing.tick
    return max(1, math.floor(math.exp2(_log_price(listing, day)) * scale + 0.5)) * listing.tick


@lru_cache(maxsize=128)
def minutes(listing: Listing, day: date) -> Bars:
    """All 1m bars of a UTC day: at most 1440, from listing to delisting and outside outages."""
    number = (day - EPOCH).days
    names = (listing.market.value, listing.symbol, day)
    counters = np.arange(_MINUTES, dtype=np.uint64)
    weight_noise, size_noise = _hash(_seed(*names), counters), _hash(_seed(*names, "volume"), counters)

    weights = _PROFILE * (
        0.2 + 2.4 * _uniform(weight_noise, 0) * _uniform(weight_noise, 16) + 0.4 * _uniform(weight_noise, 32)
    )
    activity = 1.0 + 0.5 * _hash_one(_seed("busy", listing.base), number) + 0.1 * _hash_one(_seed(*names, "busy"), 0)
    trades = (weights * (activity * listing.trades / _MINUTES)).astype(np.int64)
    trades[[0, -1]] = np.maximum(trades[[0, -1]], _FEWEST_TRADES)
    trades[trades < _FEWEST_TRADES] = 0
    active = trades > 0

    values = np.empty((FIELDS, _MINUTES), dtype=np.int64)
    prices = _minute_prices(listing, number)
    values[OPEN : CLOSE + 1] = _minute_ranges(listing, prices, size_noise, active)
    sizes = weights * (0.6 + 0.8 * _uniform(size_noise, 32)) * _volume_per_minute(listing, activity, prices)
    values[VOLUME] = np.where(active, trades + sizes.astype(np.int64), 0)
    values[QUOTE] = _quote_volumes(listing, values)
    values[TRADES] = trades
    share = 358 + _bits(size_noise, 48, 16) * 308 // 65536  # of 1024: takers buy 35 % to 65 %
    values[TAKER], values[TAKER_QUOTE] = values[VOLUME] * share >> 10, values[QUOTE] * share >> 10

    opens = day_start(day) + _MINUTE_OPENS
    exists = trading(listing, opens)
    return Bars(opens[exists], values[:, exists])


def _minute_prices(listing: Listing, number: int) -> Ints:
    """The 1441 prices at the minute boundaries of a day: a bridge that all markets of a base asset share."""
    noise = _hash(_seed("path", listing.base, number), np.arange(_MINUTES, dtype=np.uint64))
    walk = np.append(0.0, np.cumsum(_normal(noise) * _STEP))
    start, end = _log_price(listing, number), _log_price(listing, number + 1)
    logs = start + (end - start) * _THROUGH_DAY + _DAILY_VOLATILITY * (walk - walk[-1] * _THROUGH_DAY)
    ticks = np.floor(np.exp2(logs) * (10.0**listing.price_digits / listing.tick) + 0.5).astype(np.int64)
    prices: Ints = np.maximum(ticks, 1) * listing.tick
    prices[0], prices[-1] = _opening_price(listing, number), _opening_price(listing, number + 1)
    return prices


def _minute_ranges(listing: Listing, prices: Ints, noise: Hashes, active: Flags) -> tuple[Ints, Ints, Ints, Ints]:
    """Open, high, low and close of a day's minutes; a minute without trades stays at the last price."""
    reached = np.maximum.accumulate(np.where(active, np.arange(1, _MINUTES + 1), 0))
    first, last = prices[np.append(0, reached[:-1])], prices[reached]
    wick = first * (_DAILY_VOLATILITY * _STEP * 1.2)
    up = (wick * _uniform(noise, 0) ** 2).astype(np.int64) // listing.tick * listing.tick * active
    down = (wick * _uniform(noise, 16) ** 2).astype(np.int64) // listing.tick * listing.tick * active
    return first, np.maximum(first, last) + up, np.maximum(np.minimum(first, last) - down, listing.tick), last


def _volume_per_minute(listing: Listing, activity: float, prices: Ints) -> float:
    """The mean volume of a minute, in units of the last decimal; in contracts on cm."""
    turnover = listing.turnover * activity / _MINUTES
    if listing.contract_size:
        return turnover / listing.contract_size
    mean_price = float(prices[0] + prices[-1]) / 2
    return turnover * (10.0 ** (listing.price_digits + listing.quantity_digits) / mean_price)


def _quote_volumes(listing: Listing, values: Ints) -> Ints:
    """The volume at the mean of a bar's four prices; on cm the base asset that the contracts are worth."""
    prices = values[OPEN] + values[HIGH] + values[LOW] + values[CLOSE]
    worth = 4 * listing.contract_size * 10 ** (8 + listing.price_digits)
    quote: Ints = values[VOLUME] * worth // prices if listing.contract_size else values[VOLUME] * prices // 4
    return quote


def trading(listing: Listing, opens: Ints) -> Flags:
    """Whether the minutes that open at these instants (µs) have a bar."""
    exists = opens >= listing.listed - listing.listed % MINUTE
    if listing.delisted is not None:
        exists &= opens < listing.delisted
    for outage in OUTAGES:
        if outage.market is listing.market:
            exists &= (opens < outage.start) | (opens >= outage.end)
    return exists


def refine(listing: Listing, bars: Bars) -> Bars:
    """The 1s bars of some 1m bars of one day, 60 of each; aggregated they equal the 1m bars in every field."""
    if not len(bars):
        return bars
    day = day_of(int(bars.opens[0]))
    start = day_start(day)
    seconds = (bars.opens[:, None] - start) // SECOND + np.arange(60)
    names = (listing.market.value, listing.symbol, day)
    path_noise = _hash(_seed(*names, "1s"), seconds.astype(np.uint64))
    size_noise = _hash(_seed(*names, "1s weights"), seconds.astype(np.uint64))
    total = bars.values[:, :, None]

    weights = 1 + (_bits(size_noise, 0, 8) * _bits(size_noise, 8, 8) >> 4)
    trades = _split(total[TRADES], weights)
    active = trades > 0
    volume = trades + _split(total[VOLUME] - total[TRADES], weights * active)
    first, last = _second_prices(listing, total, path_noise, active)
    high, low = _second_ranges(listing, total, (first, last), size_noise, active)
    if listing.contract_size:
        quote = _split_large(total[QUOTE], volume)
    else:
        high, low = _widened(total, volume, high, low, active)
        least = low * volume
        quote = least + _split_large(total[QUOTE] - least.sum(axis=1, keepdims=True), (high - low) * volume)
    taker = _split_large(total[TAKER], volume)
    bought = np.where(taker > 0, quote, 0)
    bought = np.where(bought.sum(axis=1, keepdims=True) >= total[TAKER_QUOTE], bought, quote)
    fields = (first, high, low, last, volume, quote, trades, taker, _split_large(total[TAKER_QUOTE], bought))
    return Bars((start + seconds * SECOND).reshape(-1), np.stack([field.reshape(-1) for field in fields]))


# The helpers of `refine` take a minute's totals with shape (m, 1) a field, and give seconds with shape (m, 60).


def _second_prices(listing: Listing, total: Ints, noise: Hashes, active: Flags) -> tuple[Ints, Ints]:
    """The opens and closes of the seconds: a bridge within the minute's range that rests while there are no trades."""
    walk = np.cumsum(_normal(noise), axis=1)
    walk = np.concatenate([np.zeros((len(walk), 1)), walk], axis=1)
    walk -= walk[:, -1:] * _THROUGH_MINUTE
    spread = (total[HIGH] - total[LOW]) / 12.0
    path = total[OPEN] + (total[CLOSE] - total[OPEN]) * _THROUGH_MINUTE + walk * spread
    ticks = np.floor(path / listing.tick + 0.5).astype(np.int64) * listing.tick
    prices: Ints = np.clip(ticks, total[LOW], total[HIGH])
    reached = np.maximum.accumulate(np.where(active, np.arange(1, 61), 0), axis=1)
    before = np.concatenate([np.zeros((len(walk), 1), dtype=np.int64), reached[:, :-1]], axis=1)
    prices[:, 0] = total[OPEN, :, 0]
    np.put_along_axis(prices, reached[:, -1:], total[CLOSE], axis=1)
    return np.take_along_axis(prices, before, axis=1), np.take_along_axis(prices, reached, axis=1)


def _second_ranges(
    listing: Listing, total: Ints, ends: tuple[Ints, Ints], noise: Hashes, active: Flags
) -> tuple[Ints, Ints]:
    """The highs and lows of the seconds, around their opens and closes; one of them reaches each of the minute's."""
    reach = (total[HIGH] - total[LOW]) / 8.0
    up = (reach * _uniform(noise, 16)).astype(np.int64) // listing.tick * listing.tick * active
    down = (reach * _uniform(noise, 32)).astype(np.int64) // listing.tick * listing.tick * active
    high = np.minimum(np.maximum(*ends) + up, total[HIGH])
    low = np.maximum(np.minimum(*ends) - down, total[LOW])
    rows = np.flatnonzero(total[TRADES, :, 0])
    high[rows, np.where(active, high, -1)[rows].argmax(axis=1)] = total[HIGH, rows, 0]
    low[rows, np.where(active, low, np.iinfo(np.int64).max)[rows].argmin(axis=1)] = total[LOW, rows, 0]
    return high, low


def _widened(total: Ints, volume: Ints, high: Ints, low: Ints, active: Flags) -> tuple[Ints, Ints]:
    """Highs and lows widened until the minute's quote volume is between the least and the most that they allow."""
    want, every = total[QUOTE], total[VOLUME]
    least = (low * volume).sum(axis=1, keepdims=True)
    share = (least - want) / np.maximum(least - total[LOW] * every, 1)
    low = low - np.ceil((low - total[LOW]) * np.clip(share, 0.0, 1.0)).astype(np.int64) * active
    most = (high * volume).sum(axis=1, keepdims=True)
    share = (want - most) / np.maximum(total[HIGH] * every - most, 1)
    high = high + np.ceil((total[HIGH] - high) * np.clip(share, 0.0, 1.0)).astype(np.int64) * active
    return high, low


def _split(total: Ints, weights: Ints) -> Ints:
    """Totals split by weights into integers that add up to them, for totals times weights below 2^63."""
    running = np.cumsum(weights, axis=1)
    cuts = total * running // np.maximum(running[:, -1:], 1)
    return np.diff(cuts, axis=1, prepend=0)


def _split_large(total: Ints, weights: Ints) -> Ints:
    """As `_split`, for larger products; no part exceeds its weight unless a total exceeds the sum of its weights."""
    running = np.cumsum(weights, axis=1)
    ratio = total / np.maximum(running[:, -1:], 1)
    cuts = np.minimum((running * ratio).astype(np.int64), total)
    cuts = np.where(running == running[:, -1:], total, cuts)
    return np.diff(cuts, axis=1, prepend=0)
