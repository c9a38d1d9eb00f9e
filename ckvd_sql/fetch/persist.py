"""Stores fetched days that are closed, with their provenance; whether gaps are real is decided in `failover`.

Runs in threads and knows no network. A disk that refuses is no error: the days are served all the same.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ckvd_sql.errors import CacheError
from ckvd_sql.fetch.jobs import DayBars
from ckvd_sql.market.bars import all_closed
from ckvd_sql.market.gaps import gaps_of_day
from ckvd_sql.market.provenance import Provenance, Source

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.market.gaps import Gap
    from ckvd_sql.market.provenance import GapCheck
    from ckvd_sql.market.series import Series
    from ckvd_sql.settings import Settings
    from ckvd_sql.sources.vision import Archive

log = logging.getLogger("ckvd_sql")

#: A day of this many bytes, as 1s bars alone have, is served from its mapped file, whose memory the system can reclaim.
_LARGE = 1_000_000


class DayWriter:
    """Stores the fetched days of one scan.

    Args:
        settings: The sources' URLs.
        store: Where complete days are stored.
        now: The scan's clock, in microseconds since the epoch.
    """

    def __init__(self, settings: Settings, store: DayStore, now: int) -> None:
        self._settings = settings
        self._store = store
        self._now = now
        self._warned = False

    def archive_provenance(self, archive: Archive, gaps: GapCheck | None = None) -> Provenance:
        """The provenance of an archive's days, with what REST said about a day's gaps."""
        fetched_at = self._settings.clock()
        return Provenance(Source.VISION, archive.url, archive.sha256, fetched_at, archive.verified, gaps)

    def rest_provenance(self, series: Series) -> Provenance:
        """The provenance of days that REST served."""
        return Provenance(Source.REST, self._settings.rest_url(series.market), "", self._settings.clock())

    def write_complete(
        self, series: Series, archives: list[Archive], agreed_now: int
    ) -> tuple[dict[date, DayBars], list[tuple[date, list[Gap], Archive]]]:
        """The days of archives that have no gaps, which are most and need no gap check, and the gaps of the others.

        Args:
            series: The series.
            archives: Its archives.
            agreed_now: As for `write`.
        """
        full = {}
        with_gaps = []
        for archive in archives:
            provenance = self.archive_provenance(archive)
            for day, bars in archive.days.items():
                if gaps := gaps_of_day(series.interval, day, bars):
                    with_gaps.append((day, gaps, archive))
                else:
                    full[day] = bars, provenance
        return self.write(series, full, agreed_now), with_gaps

    def write(
        self, series: Series, days: Mapping[date, tuple[pa.RecordBatch, Provenance]], agreed_now: int
    ) -> dict[date, DayBars]:
        """Fetched days, of which those that are complete are stored.

        Args:
            series: The series.
            days: Each day's bars and provenance, in order.
            agreed_now: Now, by the earlier of this machine's clock and the exchange's, in microseconds since the epoch.
        """
        closed_at = series.interval.closed_at
        complete = {
            day: fetched
            for day, fetched in days.items()
            if closed_at(day) <= agreed_now and all_closed(fetched[0], self._now)
        }
        served = {day: DayBars(day, bars, provenance.source) for day, (bars, provenance) in days.items()}
        try:
            self._store.write_days(series, complete)
            for day, (bars, provenance) in complete.items():
                if bars.nbytes >= _LARGE:
                    served[day] = DayBars(day, self._store.read(series, day), provenance.source)
        except (OSError, CacheError) as error:
            if not self._warned:
                self._warned = True
                log.warning("the cache can't be written, so bars are served but not stored: %s", error)
        return served
