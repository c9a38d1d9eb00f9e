"""What is asked: the arguments of `ckvd_klines`, checked before any file or network is touched.

SQL, Python and the command line all come through `parse_query`, so that they accept and refuse the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ckvd_sql.errors import InvalidArgumentError, InvalidSymbolError
from ckvd_sql.market.parse import parse_interval, parse_market, parse_span, parse_symbol
from ckvd_sql.market.series import Series

if TYPE_CHECKING:
    from ckvd_sql.market.periods import Span
    from ckvd_sql.market.series import Interval, Market


@dataclass(frozen=True, slots=True)
class Query:
    """Bars that are wanted: of these symbols, in their order, each once.

    Attributes:
        symbols: The symbols.
        interval: The interval.
        span: The range of open times, already cut at now.
        market: The market.
        include_open: Whether the bar that is still forming is wanted too.
        now: The moment at which the query was made.
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
        """The same for one of its symbols."""
        return replace(self, symbols=(symbol,))


def parse_query(
    symbol: object,
    interval: object,
    start: object,
    end: object,
    market: object = "spot",
    include_open: object = False,
    *,
    now: int,
) -> Query:
    """The arguments as a `Query`. Raises an `InvalidArgumentError` that names the argument and what is allowed."""
    symbols = symbol if isinstance(symbol, list | tuple) else [symbol]
    if not symbols:
        raise InvalidSymbolError("symbol", symbol, "a list of symbols must hold at least one")
    names = tuple(dict.fromkeys(parse_symbol(one) for one in symbols))
    place = parse_market(market)
    if not isinstance(include_open, bool):
        raise InvalidArgumentError("include_open", include_open, "it is true or false")
    step = parse_interval(interval, place)
    return Query(names, step, parse_span(start, end, now).until(now), place, include_open, now)
