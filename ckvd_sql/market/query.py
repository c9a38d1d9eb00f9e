"""A query: the arguments of `ckvd_klines`, validated without I/O.

SQL, Python and the command line all use `parse_query`, so that they accept and refuse the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ckvd_sql.errors import InvalidSymbolError, InvalidTimeError
from ckvd_sql.market.parse import parse_flag, parse_interval, parse_market, parse_span, parse_symbol
from ckvd_sql.market.series import Series

if TYPE_CHECKING:
    from ckvd_sql.market.periods import Span
    from ckvd_sql.market.series import Interval, Market


@dataclass(frozen=True, slots=True)
class Query:
    """The bars of some symbols, in their order, in a range of open times.

    Attributes:
        symbols: The symbols, each once.
        interval: The interval.
        span: The range of open times, which ends at `now` at the latest.
        market: The market.
        include_open: Whether to include the bar that is still forming.
        now: The moment of the query, in microseconds since the epoch.
    """

    symbols: tuple[str, ...]
    interval: Interval
    span: Span
    market: Market
    include_open: bool
    now: int

    def series(self) -> tuple[Series, ...]:
        """The series of each symbol."""
        return tuple(Series(self.market, symbol, self.interval) for symbol in self.symbols)

    def only(self, symbol: str) -> Query:
        """The query for one of its symbols."""
        return replace(self, symbols=(symbol,))


def parse_query(
    symbol: object,
    interval: object,
    start: object,
    end: object = None,
    market: object = "spot",
    include_open: object = False,
    *,
    until: object = None,
    now: int,
) -> Query:
    """The arguments as a `Query`. Raises an `InvalidArgumentError` that names the argument and what is allowed.

    `until` is another name of `end`, which SQL has to write in quotes; without either the range ends now.
    """
    if end is not None and until is not None:
        raise InvalidTimeError("until", until, f'"end" and until are the same argument, and "end" is given as {end!r}')
    symbols = symbol if isinstance(symbol, list | tuple) else [symbol]
    if not symbols:
        raise InvalidSymbolError("symbol", symbol, "a list of symbols must hold at least one")
    place = parse_market(market)
    names = tuple(dict.fromkeys(parse_symbol(one, place) for one in symbols))
    with_open = parse_flag(include_open, "include_open")
    step = parse_interval(interval, place)
    span = parse_span(start, end, now) if until is None else parse_span(start, until, now, "until")
    return Query(names, step, span.until(now), place, with_open, now)
