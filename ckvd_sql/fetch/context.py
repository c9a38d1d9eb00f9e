"""What the fetching of one scan shares: the clients of both sources, the store, and what has been learnt so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckvd_sql.fetch.archive_search import ArchiveSearch
from ckvd_sql.fetch.listings import Listings
from ckvd_sql.fetch.persist import DayWriter
from ckvd_sql.market.periods import Month

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.errors import ProviderError
    from ckvd_sql.fetch.jobs import DayBars
    from ckvd_sql.market.periods import Period
    from ckvd_sql.market.provenance import Provenance
    from ckvd_sql.market.series import Series
    from ckvd_sql.settings import Settings
    from ckvd_sql.sources.concurrency import WorkerThreads
    from ckvd_sql.sources.rest import RestClient
    from ckvd_sql.sources.vision import Archive, VisionClient


class ArchiveFailures:
    """The archives that could not be read, and why. A failure is not an absence: the day may well be there."""

    def __init__(self) -> None:
        self._errors: dict[tuple[Series, Period], ProviderError] = {}
        self._unverified: dict[tuple[Series, Period], Archive] = {}

    def note(self, series: Series, period: Period, error: ProviderError) -> None:
        """Remember that an archive could not be read."""
        self._errors[series, period] = error

    def note_unverified(self, series: Series, archive: Archive, *, keep: bool = True) -> None:
        """Remember that an archive's checksum is wrong, and `keep` it for the case that no other source has its day."""
        if archive.mismatch:
            self._errors[series, archive.period] = archive.mismatch
        if keep:
            self._unverified[series, archive.period] = archive

    def unverified(self, series: Series, period: Period) -> Archive | None:
        """The archive whose checksum is wrong, where it was kept."""
        return self._unverified.get((series, period))

    def of_period(self, series: Series, period: Period) -> ProviderError | None:
        """Why the archive of a day or of a month could not be read."""
        return self._errors.get((series, period))

    def of_day(self, series: Series, day: date) -> ProviderError | None:
        """Why a day could not be had from its own archive or from that of its month."""
        return self.of_period(series, day) or self.of_period(series, Month.of(day))


class FetchContext:
    """The collaborators of one scan.

    Args:
        settings: The checksum policy, and the sources' URLs.
        store: Where complete days are stored.
        vision: The archive.
        rest: The exchange.
        threads: Validate and write days.
        now: The scan's clock, in microseconds since the epoch.
        include_open: Whether the scan wants the bar that is still forming.

    Attributes:
        listings: When series were listed.
        writer: Stores days.
        failures: The archives that could not be read.
    """

    def __init__(
        self,
        settings: Settings,
        store: DayStore,
        vision: VisionClient,
        rest: RestClient,
        threads: WorkerThreads,
        now: int,
        *,
        include_open: bool = False,
    ) -> None:
        self.settings = settings
        self.store = store
        self.vision = vision
        self.rest = rest
        self.threads = threads
        self.now = now
        self.include_open = include_open
        self.listings = Listings(store, ArchiveSearch(settings, vision), rest)
        self.writer = DayWriter(settings, store, now)
        self.failures = ArchiveFailures()

    @property
    def agreed_now(self) -> int:
        """Now, by the earlier of this machine's clock and the exchange's, in microseconds since the epoch."""
        return self.rest.agreed_now(self.now)

    async def write(
        self, series: Series, days: Mapping[date, tuple[pa.RecordBatch, Provenance]]
    ) -> dict[date, DayBars]:
        """Fetched days, of which those that are complete are stored."""
        return await self.threads.run(self.writer.write, series, days, self.agreed_now)
