"""A query: the arguments of `ckvd_klines`, validated without I/O.

SQL, Python and the command line all use `parse_query`, so that they accept and refuse the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ckvd_sql.errors import InvalidArgumentError, InvalidSymbolError, InvalidTimeError
from ckvd_sql.market.parse import (
    is_pattern,
    parse_flag,
    parse_interval,
    parse_market,
    parse_quote,
    parse_span,
    parse_symbol_or_pattern,
)
from ckvd_sql.market.series import Series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckvd_sql.market.periods import Span
    from ckvd_sql.market.series import Interval, Market


@dataclass(frozen=True, slots=True)
class Query:
    """The bars of some symbols, in their order, in a range of open times.

    Attributes:
        symbols: The symbols, each once, or patterns of symbols.
        interval: The interval.
        span: The range of open times, which ends at `now` at the latest.
        market: The market.
        include_open: Whether to include the bar that is still forming.
        now: The moment of the query, in microseconds since the epoch.
        quote: The quote asset of the symbols that a pattern matches; None for any.
    """

    symbols: tuple[str, ...]
    interval: Interval
    span: Span
    market: Market
    include_open: bool
    now: int
    quote: str | None = None

    @property
    def has_patterns(self) -> bool:
        """Whether some of its symbols are patterns, which must be expanded before the query is carried out."""
        return any(map(is_pattern, self.symbols))

    def expanded(self, known: Sequence[str]) -> Query | str:
        """The query with the known symbols that its patterns match; the pattern, where one matches none."""
        names: dict[str, None] = {}
        for symbol in self.symbols:
            matching = [name for name in known if fnmatchcase(name, symbol)] if is_pattern(symbol) else [symbol]
            if not matching:
                return symbol
            names |= dict.fromkeys(matching)
        return replace(self, symbols=tuple(names))

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
    quote: object = None,
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
    names = tuple(dict.fromkeys(parse_symbol_or_pattern(one, place) for one in symbols))
    asset = parse_quote(quote)
    if asset and not any(map(is_pattern, names)):
        raise InvalidArgumentError("quote", quote, "it restricts patterns such as '*', and no symbol is one")
    with_open = parse_flag(include_open, "include_open")
    step = parse_interval(interval, place)
    span = parse_span(start, end, now) if until is None else parse_span(start, until, now, "until")
    return Query(names, step, span.until(now), place, with_open, now, asset)
