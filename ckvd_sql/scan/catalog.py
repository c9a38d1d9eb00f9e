"""Which symbols a market has: the exchange's list, the archive's folders and the cache, delisted symbols among them.

The list is kept in memory for some minutes, because the exchange's is some megabytes. Patterns such as `*USDT` are
resolved against it.
"""

from __future__ import annotations

import functools
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckvd_sql.errors import CkvdError, InvalidSymbolError, OfflineError
from ckvd_sql.market.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.fetch.session import FetchSession
    from ckvd_sql.market.query import Query
    from ckvd_sql.market.series import Market
    from ckvd_sql.settings import Settings
    from ckvd_sql.sources.rest import Symbol

log = logging.getLogger("ckvd_sql")

#: For how long a list is used, in seconds.
_KEPT_FOR = 600.0

_SOURCES = 64


@dataclass(frozen=True, slots=True)
class Known:
    """A symbol of a market.

    Attributes:
        symbol: Its name.
        listed: What the exchange says of it; None where it does not list it.
    """

    symbol: str
    listed: Symbol | None = None

    def has_quote(self, asset: str) -> bool:
        """Whether its quote asset is this one; where the exchange does not say so, the end of its name tells."""
        if self.listed is not None:
            return self.listed.quote == asset
        pair = self.symbol.partition("_")[0]
        return pair.endswith(asset) and pair != asset


class Catalog:
    """The symbols of the markets, for the settings of one resolver.

    Args:
        settings: The sources, and whether they may be asked.
        store: The cache.
        session: Opens the network.
    """

    def __init__(self, settings: Settings, store: DayStore, session: Callable[[], FetchSession]) -> None:
        self._settings = settings
        self._store = store
        self._session = session

    def symbols(self, market: Market) -> list[Known]:
        """Every symbol of a market that is known, in order of names.

        Offline, these are the symbols in the cache. A source that fails is left out with a warning.

        Raises `CkvdError` where no source answers and the cache has no symbol.
        """
        cached = {one.symbol for one in self._store.series() if one.market is market}
        if self._settings.offline:
            if not cached:
                raise OfflineError(f"the network is switched off (CKVD_OFFLINE), and no symbol of {market} is cached")
            return [Known(name) for name in sorted(cached)]
        listed, archived = self._asked(market, needed=not cached)
        return [Known(name, listed.get(name)) for name in sorted({*listed, *archived, *cached})]

    def expand(self, query: Query) -> Query:
        """The query with the symbols that its patterns match, in order of names, each once.

        Raises:
            InvalidSymbolError: A pattern matches no symbol.
            CkvdError: The symbols can't be had.
        """
        if not query.has_patterns:
            return query
        quote = query.quote
        names = [one.symbol for one in self.symbols(query.market) if quote is None or one.has_quote(quote)]
        expanded = query.expanded(names)
        if isinstance(expanded, str):
            suffix = f" with the quote asset {quote}" if quote else ""
            rule = (
                f"no symbol of {query.market.value}{suffix} matches it; ckvd_symbols('{query.market.value}') lists them"
            )
            raise InvalidSymbolError("symbol", expanded, rule)
        return expanded

    def suggest(self, error: InvalidSymbolError, market: Market) -> InvalidSymbolError:
        """An error of a symbol that no source has, with the known symbols that are close to it."""
        try:
            hint = did_you_mean(str(error.value), [one.symbol for one in self.symbols(market)])
        except CkvdError:
            return error
        return InvalidSymbolError(error.argument, error.value, f"{error.allowed}{hint}") if hint else error

    def _asked(self, market: Market, *, needed: bool) -> tuple[dict[str, Symbol], list[str]]:
        """The symbols that the exchange lists and those that the archive has, from memory where it has them."""
        settings = self._settings
        memory = _memory(settings.rest_url(market), settings.vision_url, settings.cache_dir, market)
        found = memory.get("found")
        if found is not None and time.monotonic() - found[0] < _KEPT_FOR:
            return found[1], found[2]
        with self._session() as session:
            listed, archived = session.known_symbols(market)
        if isinstance(listed, CkvdError) and isinstance(archived, CkvdError) and needed:
            raise listed
        for missing in (listed, archived):
            if isinstance(missing, CkvdError):
                log.warning("the symbols of %s are not complete: %s", market.value, missing)
        by_name = {} if isinstance(listed, CkvdError) else {one.symbol: one for one in listed}
        names = [] if isinstance(archived, CkvdError) else archived
        if not isinstance(listed, CkvdError) and not isinstance(archived, CkvdError):
            memory["found"] = time.monotonic(), by_name, names
        return by_name, names


@functools.lru_cache(maxsize=_SOURCES)
def _memory(
    _rest_url: str, _vision_url: str, _cache_dir: Path, _market: Market
) -> dict[str, tuple[float, dict[str, Symbol], list[str]]]:
    return {}
