"""Symbols, markets, intervals, times and flags from arguments; an error says what is allowed. Pure."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime

from ckvd_sql.errors import (
    InvalidArgumentError,
    InvalidIntervalError,
    InvalidMarketError,
    InvalidSymbolError,
    InvalidTimeError,
)
from ckvd_sql.market.periods import SECOND, Span, instant_of
from ckvd_sql.market.series import INTERVALS, Interval, Market

# Letters (of any script), digits and underscore: no character that has a meaning in a path or URL.
_SYMBOL = re.compile(r"\w{1,64}")
_SYMBOL_RULE = "a symbol is 1 to 64 letters, digits or underscores in upper case, such as 'BTCUSDT' or 'BTCUSD_PERP'"


def parse_symbol(value: object) -> str:
    """A symbol as Binance writes it; raises `InvalidSymbolError`.

    Symbols need not be ASCII (币安人生USDT). A lower-case symbol is refused rather than converted, because a
    series must have one name.
    """
    if not isinstance(value, str) or not _SYMBOL.fullmatch(value) or unicodedata.normalize("NFC", value) != value:
        raise InvalidSymbolError("symbol", value, _SYMBOL_RULE)
    if value != value.upper():
        raise InvalidSymbolError("symbol", value, f"{_SYMBOL_RULE}; did you mean {value.upper()!r}?")
    return value


def parse_market(value: object) -> Market:
    """One of the three markets; raises `InvalidMarketError`."""
    try:
        return Market(str(value))
    except ValueError:
        allowed = "a market is 'spot', 'um' (USDT-margined futures) or 'cm' (coin-margined futures)"
        raise InvalidMarketError("market", value, allowed) from None


def parse_interval(value: object, market: Market) -> Interval:
    """An interval that the market has; raises `InvalidIntervalError`. `1M` is accepted for `1mo`."""
    interval = INTERVALS.get("1mo" if value == "1M" else value) if isinstance(value, str) else None
    if interval is None or (interval.step == SECOND and market is not Market.SPOT):
        names = [name for name in INTERVALS if name != "1s" or market is Market.SPOT]
        raise InvalidIntervalError("interval", value, f"on {market.value} an interval is one of {', '.join(names)}")
    return interval


def parse_time(value: object, argument: str) -> int:
    """A date, a datetime or ISO 8601 text as an instant; without a zone it is UTC. Raises `InvalidTimeError`."""
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            moment = None
    if isinstance(moment, date) and not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)  # noqa: DTZ001 (its zone is added below)
    try:
        if isinstance(moment, datetime):
            return instant_of((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC))
    except OverflowError:  # in UTC it is outside the range of datetime
        pass
    allowed = "a time is a DATE, a TIMESTAMP or ISO 8601 text such as '2024-01-31' or '2024-01-31 12:00:00+00'"
    raise InvalidTimeError(argument, value, allowed)


def parse_flag(value: object, argument: str) -> bool:
    """True or false; raises `InvalidArgumentError`."""
    if not isinstance(value, bool):
        raise InvalidArgumentError(argument, value, "it is true or false")
    return value


def parse_span(start: object, end: object, now: int) -> Span:
    """The range `[start, end)`; an `end` of `'now'` is now. Raises `InvalidTimeError`.

    A range wholly in the future is valid, and empty once `until(now)` cuts it.
    """
    first = parse_time(start, "start")
    last = max(first, now) if end == "now" else parse_time(end, "end")
    if first > last:
        raise InvalidTimeError("start", str(start), f"start must not be after end, which is {end}")
    return Span(first, last)
