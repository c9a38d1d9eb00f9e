"""What is kept of the days that were fetched: those that are complete, with where they came from.

It runs in threads. It asks nobody, and a disk that refuses is no error: the days are served all the same.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ckvd_sql.cache.dayfile import Provenance
from ckvd_sql.errors import CacheError
from ckvd_sql.fetch.jobs import DayBars
from ckvd_sql.market.bars import all_closed
from ckvd_sql.market.gaps import gaps_of_day

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.market.gaps import Gap
    from ckvd_sql.market.series import Series
    from ckvd_sql.settings import Settings
    from ckvd_sql.sources.vision import Archive

log = logging.getLogger("ckvd_sql")

#: A day of this many bytes is served out of its file, whose memory the system can take back: 1s bars alone have it.
_LARGE = 1_000_000


class Keeper:
    """One scan's way from fetched days to the store.

    Args:
        settings: Where the sources are.
        store: Where complete days are kept.
        now: The scan's clock, in microseconds since the epoch.
        exchange_now: Now, as far as the exchange agrees.
    """

    def __init__(self, settings: Settings, store: DayStore, now: int, exchange_now: Callable[[], int]) -> None:
        self._settings = settings
        self._store = store
        self._now = now
        self._exchange_now = exchange_now
        self._told = False

    def archive(self, archive: Archive, gaps: str = "") -> Provenance:
        """Where the days of an archive come from, and what REST said of a day's gaps."""
        return Provenance("vision", archive.url, archive.sha256, self._settings.clock(), archive.checksum, gaps)

    def exchange(self, series: Series) -> Provenance:
        """Where days come from that REST served."""
        return Provenance("rest", self._settings.rest_url(series.market), "", self._settings.clock())

    def keep_full(
        self, series: Series, archives: list[Archive]
    ) -> tuple[dict[date, DayBars], list[tuple[date, list[Gap], Archive]]]:
        """The days without gaps, which are most and need no question, and the gaps of the others."""
        full = {}
        gaps = []
        for archive in archives:
            origin = self.archive(archive)
            for day, bars in archive.days.items():
                if found := gaps_of_day(series.interval, day, bars):
                    gaps.append((day, found, archive))
                else:
                    full[day] = bars, origin
        return self.keep(series, full), gaps

    def keep(self, series: Series, days: Mapping[date, tuple[pa.RecordBatch, Provenance]]) -> dict[date, DayBars]:
        """Days that were fetched; those that are complete go to the disk."""
        now, closed_at = self._exchange_now(), series.interval.closed_at
        complete = {day: one for day, one in days.items() if closed_at(day) <= now and all_closed(one[0], self._now)}
        served = {day: DayBars(day, bars, origin.source) for day, (bars, origin) in days.items()}
        try:
            self._store.write_days(series, complete)
            for day, (bars, origin) in complete.items():
                if bars.nbytes >= _LARGE:
                    served[day] = DayBars(day, self._store.read(series, day), origin.source)
        except (OSError, CacheError) as error:
            if not self._told:
                self._told = True
                log.warning("the cache can't be written, so bars are served but not kept: %s", error)
        return served
