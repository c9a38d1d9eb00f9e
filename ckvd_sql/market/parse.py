"""Symbols, markets, intervals, times and flags from arguments. Pure.

What has one meaning is accepted (`btcusdt`, `BTC/USDT`, `60m`, `2024-05`, `-7d`); an error says what is allowed, and
what may have been meant.
"""

from __future__ import annotations

import calendar
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
from ckvd_sql.market.periods import DAY, HOUR, MINUTE, SECOND, Span, day_start, instant_of, moment_of
from ckvd_sql.market.series import INTERVALS, Interval, Market
from ckvd_sql.market.suggest import did_you_mean

# Letters (of any script), digits and underscore: no character that has a meaning in a path or URL.
_SYMBOL = re.compile(r"\w{1,64}")
_SYMBOL_RULE = "a symbol is 1 to 64 letters, digits or underscores, such as 'BTCUSDT', 'BTC/USDT' or 'BTCUSD_PERP'"
_PAIR = re.compile(r"(\w+)[/-](\w+)(?::\w+)?")

_PATTERN = re.compile(r"[\w*?]{1,64}")

_MARKET_RULE = "a market is 'spot', 'um' (USDT-margined futures) or 'cm' (coin-margined futures)"
_OTHER_MARKETS = {
    **dict.fromkeys(("futures", "future", "perp", "swap", "linear", "usdm", "usd-m", "usds-m", "fapi"), "um"),
    **dict.fromkeys(("coin", "coinm", "coin-m", "inverse", "delivery", "dapi"), "cm"),
}

_INTERVAL = re.compile(r"([0-9]{0,4})\s*([a-zA-Z]+)")
_MONTH_NAMES = ("mo", "mon", "month", "months")
_UNITS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), SECOND),
    **dict.fromkeys(("m", "min", "minute", "minutes"), MINUTE),
    **dict.fromkeys(("h", "hour", "hours"), HOUR),
    **dict.fromkeys(("d", "day", "days"), DAY),
    **dict.fromkeys(("w", "week", "weeks"), 7 * DAY),
}

_TIME_RULE = (
    "a time is a DATE, a TIMESTAMP, or text such as '2024-01-31', '2024-01-31 12:00:00+00', '2024-01', '2024-W05', "
    "'now', 'yesterday' or '-7d'"
)
_YEAR_OR_MONTH = re.compile(r"([0-9]{4})(?:-([0-9]{2}))?")
_ISO_WEEK = re.compile(r"[0-9]{4}-?W[0-9]{2}(?:-?[0-9])?")
_AGO = re.compile(r"-([0-9]{1,6})([a-z]+)")
_EPOCH = re.compile(r"[0-9]{10}|[0-9]{13}|[0-9]{16}|[0-9]{19}")
_EPOCH_UNITS = {10: SECOND, 13: 1000, 16: 1}  # microseconds; 19 digits are nanoseconds
_NAMED_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
_YEAR_MONTHS = 12

_MOST_BARS = 1_000_000


def parse_symbol(value: object, market: Market = Market.SPOT) -> str:
    """A symbol as Binance writes it, from `btcusdt`, `BTC/USDT` or `BTC-USDT`; raises `InvalidSymbolError`.

    Symbols need not be ASCII (币安人生USDT). Those of coin-margined futures have a suffix, which a pair does not tell.
    """
    text = value.upper() if isinstance(value, str) and value.isascii() else value
    if not isinstance(text, str):
        raise InvalidSymbolError("symbol", value, _SYMBOL_RULE)
    pair = _PAIR.fullmatch(text)
    joined = f"{pair[1]}{pair[2]}" if pair else text
    if pair and market is Market.CM:
        raise InvalidSymbolError("symbol", value, f"{_SYMBOL_RULE}; did you mean '{joined}_PERP'?")
    if pair and ":" in text:
        raise InvalidSymbolError("symbol", value, f"{_SYMBOL_RULE}; did you mean {joined!r}?")
    if not _SYMBOL.fullmatch(joined) or unicodedata.normalize("NFC", joined) != joined or joined != joined.upper():
        raise InvalidSymbolError("symbol", value, _SYMBOL_RULE)
    return joined


def is_pattern(symbol: str) -> bool:
    """Whether a symbol is a pattern with `*` (any characters) or `?` (any one)."""
    return "*" in symbol or "?" in symbol


def parse_symbol_or_pattern(value: object, market: Market) -> str:
    """The same, or a pattern such as `*USDT` in upper case; raises `InvalidSymbolError`."""
    if isinstance(value, str) and is_pattern(value) and _PATTERN.fullmatch(value) and len(value) == len(value.upper()):
        return value.upper()
    return parse_symbol(value, market)


def parse_quote(value: object) -> str | None:
    """A quote asset in upper case, or None for any; raises `InvalidArgumentError`."""
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"\w{1,20}", value):
        raise InvalidArgumentError("quote", value, "it is the name of an asset such as 'USDT'")
    return value.upper()


def parse_market(value: object) -> Market:
    """One of the three markets, in any case; raises `InvalidMarketError`."""
    name = value.strip().lower() if isinstance(value, str) else ""
    try:
        return Market(name)
    except ValueError:
        meant = _OTHER_MARKETS.get(name)
        hint = f"; did you mean {meant!r}?" if meant else did_you_mean(name, [one.value for one in Market])
        raise InvalidMarketError("market", value, f"{_MARKET_RULE}{hint}") from None


def parse_interval(value: object, market: Market) -> Interval:
    """An interval that the market has, also as `1H`, `60m`, `1 hour` or `1M`; raises `InvalidIntervalError`."""
    interval = _interval(value.strip()) if isinstance(value, str) else None
    if interval is None or (interval.step == SECOND and market is not Market.SPOT):
        names = [name for name in INTERVALS if name != "1s" or market is Market.SPOT]
        hint = did_you_mean(value, names) if isinstance(value, str) and interval is None else ""
        rule = f"on {market.value} an interval is one of {', '.join(names)}{hint}"
        raise InvalidIntervalError("interval", value, rule)
    return interval


def _interval(text: str) -> Interval | None:
    """The interval of this length."""
    found = _INTERVAL.fullmatch(text)
    if found is None:
        return None
    amount, unit = int(found[1] or 1), found[2]
    if unit == "M" or unit.lower() in _MONTH_NAMES:
        return INTERVALS["1mo"] if amount == 1 else None
    length = amount * _UNITS.get(unit.lower(), 0)
    return next((interval for interval in INTERVALS.values() if interval.step == length), None)


def parse_time(value: object, argument: str, now: int | None = None) -> int:
    """A time as microseconds since the epoch; without a zone it is UTC. Raises `InvalidTimeError`.

    Args:
        value: A date or datetime; seconds, milliseconds, microseconds or nanoseconds since the epoch, told apart by
            their number of digits; ISO 8601 text, also of a year, a month or a week, which stand for their first
            instant; and, if `now` is given, `now`, `today`, `yesterday`, `tomorrow`, or `-7d`, `-12h`, `-30m`, `-2w`,
            `-3mo`, `-1y`: so long before now.
        argument: The argument's name, for the error.
        now: The time that such words count from.
    """
    try:
        instant = _instant(value, now)
    except (ValueError, OverflowError):  # a number out of range: in UTC it is outside the range of datetime
        instant = None
    if instant is None:
        hint = did_you_mean(value, ("now", *_NAMED_DAYS)) if isinstance(value, str) and now is not None else ""
        raise InvalidTimeError(argument, value, f"{_TIME_RULE}{hint}")
    return instant


def _instant(value: object, now: int | None) -> int | None:
    """The instant of a value in one of the forms that `parse_time` accepts; None for another form."""
    if isinstance(value, datetime):
        return instant_of((value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC))
    if isinstance(value, date):
        return day_start(value)
    if isinstance(value, str):
        return _instant_of_text(value.strip().upper(), now)
    return _since_epoch(str(value)) if isinstance(value, int) and not isinstance(value, bool) else None


def _instant_of_text(text: str, now: int | None) -> int | None:
    instant = _since_epoch(text)
    if instant is None and now is not None:
        instant = _relative(text.lower(), now)
    if instant is not None:
        return instant
    if period := _YEAR_OR_MONTH.fullmatch(text):
        return day_start(date(int(period[1]), int(period[2] or 1), 1))
    return _instant(date.fromisoformat(text) if _ISO_WEEK.fullmatch(text) else datetime.fromisoformat(text), None)


def _since_epoch(digits: str) -> int | None:
    """The instant of a number of seconds, milliseconds, microseconds or nanoseconds."""
    if not _EPOCH.fullmatch(digits):
        return None
    number, unit = int(digits), _EPOCH_UNITS.get(len(digits))
    return instant_of(moment_of(number // 1000 if unit is None else number * unit))  # raises where no date has it


def _relative(text: str, now: int) -> int | None:
    """The instant of a word that counts from now; None for another word."""
    if text == "now":
        return now
    if text in _NAMED_DAYS:
        return (now // DAY + _NAMED_DAYS[text]) * DAY
    ago = _AGO.fullmatch(text)
    if ago is None:
        return None
    amount, unit = int(ago[1]), ago[2]
    if unit in ("y", "year", "years"):
        return _months_before(now, amount * _YEAR_MONTHS)
    if unit in _MONTH_NAMES:
        return _months_before(now, amount)
    return instant_of(moment_of(now - amount * _UNITS[unit])) if unit in _UNITS else None


def _months_before(now: int, months: int) -> int:
    """The same time of day so many months before, on the last day of a month that is too short."""
    moment = moment_of(now)
    year, month = divmod(moment.year * _YEAR_MONTHS + moment.month - 1 - months, _YEAR_MONTHS)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return instant_of(moment.replace(year=year, month=month + 1, day=day))


def parse_count(value: object, argument: str) -> int:
    """A whole number of bars, from 1 to a million; raises `InvalidArgumentError`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_BARS:
        raise InvalidArgumentError(argument, value, f"it is a whole number from 1 to {_MOST_BARS:,}")
    return value


def parse_flag(value: object, argument: str) -> bool:
    """True or false; raises `InvalidArgumentError`."""
    if not isinstance(value, bool):
        raise InvalidArgumentError(argument, value, "it is true or false")
    return value


def parse_span(start: object, end: object, now: int, argument: str = "end") -> Span:
    """The range `[start, end)`; an end of None or `now` is now. Raises `InvalidTimeError`.

    A range wholly in the future is valid, and empty once `until(now)` cuts it.

    Args:
        start: The first instant.
        end: The end of the range.
        now: The moment of the query, in microseconds since the epoch.
        argument: What the caller calls the end.
    """
    first = parse_time(start, "start", now)
    last = max(first, now) if end is None or end == "now" else parse_time(end, argument, now)
    if first > last:
        raise InvalidTimeError("start", str(start), f"start must not be after {argument}, which is {end}")
    return Span(first, last)
