"""When series were listed: the open time of the first bar, and whether a symbol unknown to REST was ever traded.

It asks REST, cache and archive, each question once a scan, and fetches no bars of the series.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, NoReturn

from ckvd_sql.errors import InvalidSymbolError, ProviderError, ProviderUnavailableError
from ckvd_sql.market.periods import DAY, day_of, day_start

if TYPE_CHECKING:
    from datetime import date

    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.fetch.archive_search import ArchiveSearch
    from ckvd_sql.market.series import Series
    from ckvd_sql.sources.rest import RestClient


class Listings:
    """What one scan has learnt about the listings of its series.

    Args:
        store: Where first open times are remembered, and days may show that a symbol was traded.
        search: Finds what the archive has of a series.
        rest: The exchange.

    Attributes:
        rest_failure: Why the exchange could not be reached when it was asked for a first bar, if so.
    """

    def __init__(self, store: DayStore, search: ArchiveSearch, rest: RestClient) -> None:
        self.rest_failure: ProviderUnavailableError | None = None
        self._store = store
        self._search = search
        self._rest = rest
        self._asking: defaultdict[Series, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._first_open: dict[Series, int | None] = {}
        self._traded: set[Series] = set()
        self._unknown: dict[Series, InvalidSymbolError] = {}
        self._archive_failures: dict[Series, ProviderError] = {}

    def known_first_open(self, series: Series) -> int | None:
        """The open time of the series' first bar as far as the cache knows it; in microseconds since the epoch."""
        return self._store.first_open(series)

    async def first_open(self, series: Series) -> int | None:
        """The open time of the series' first bar, in microseconds since the epoch; None where it can't be learnt.

        Raises:
            InvalidSymbolError: REST does not know the symbol, and neither cache nor archive has anything of it.
            ProviderError: REST does not know the symbol, and the archive can't say whether it has it.
        """
        async with self._asking[series]:
            if series in self._unknown:
                self._raise_unknown(series)
            if series not in self._first_open:
                self._first_open[series] = self._store.first_open(series) or await self._ask_first_open(series)
        return self._first_open[series]

    def note_traded(self, series: Series) -> None:
        """Remember that the archive has the series."""
        self._traded.add(series)
        self._unknown.pop(series, None)

    def note_archive_failure(self, series: Series, error: ProviderError) -> None:
        """Remember that the archive may have the series, and could not be read."""
        self._archive_failures.setdefault(series, error)

    async def require_traded(self, series: Series, unknown: InvalidSymbolError) -> None:
        """Raise what is wrong with a symbol that REST does not know, unless cache or archive have it.

        Args:
            series: The series.
            unknown: REST's answer.

        Raises:
            InvalidSymbolError: `unknown`, where neither has it.
            ProviderError: The archive failed: an outage does not mean that there is no such symbol.
        """
        if series in self._traded or await asyncio.to_thread(self._store.knows_symbol, series):
            self.note_traded(series)
            return
        try:
            archived = await self._search.last_month(series)
        except ProviderError as error:
            archived = None
            self.note_archive_failure(series, error)
        if archived:
            self.note_traded(series)
            return
        self._unknown[series] = unknown
        self._raise_unknown(series)

    async def first_archived(self, series: Series) -> date | None:
        """The first day of which there are bars as far as the archive knows; None where that can't be said.

        It can't either where the cache has older bars.
        """
        try:
            day = await self._search.first_day(series)
        except ProviderError:
            return None
        if day is None:
            return None
        longest = (series.interval.step or 31 * DAY) if series.interval.multi_day else 0  # a bar may open before it
        older = await asyncio.to_thread(self._store.has_rows, series, before=day_of(day_start(day) - longest))
        return None if older else day

    def archive_has_nothing(self, series: Series) -> bool:
        """Whether the archive was searched and has nothing of the series."""
        return self._search.found_nothing(series)

    def _raise_unknown(self, series: Series) -> NoReturn:
        """Raise the failure of the archive, if it has failed by now, else REST's answer."""
        unknown = self._unknown[series]
        if failure := self._archive_failures.get(series):
            raise failure from unknown
        raise unknown

    async def _ask_first_open(self, series: Series) -> int | None:
        try:
            first = await self._rest.first_open(series)
        except InvalidSymbolError as error:
            await self.require_traded(series, error)
            return None
        except ProviderUnavailableError as error:
            self.rest_failure = error
            return None
        except ProviderError:
            return None
        if first is not None:
            self._store.remember_first_open(series, first)
        return first
