"""Which fetched days are stored: those that are complete and can be trusted, with their provenance.

Runs in threads and knows no network. A disk that refuses is no error: the days are served all the same.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckvd_sql.errors import CacheError
from ckvd_sql.fetch.jobs import DayBars
from ckvd_sql.market.bars import all_closed
from ckvd_sql.market.gaps import gaps_of_day, since_listing
from ckvd_sql.market.periods import DAY, MINUTE, Month
from ckvd_sql.market.provenance import Provenance, Source
from ckvd_sql.market.regularity import is_regular

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

#: A day of this many bytes, as only 1s bars have, is served from its mapped file, whose memory the system can reclaim.
_LARGE = 1_000_000

#: A bar that closed more recently can still change at REST (python-binance #1246).
_STABLE_AFTER = 5 * MINUTE

#: No archive is published any more for a day that closed this long ago: they come within days.
FINAL_AFTER = 30 * DAY


@dataclass(frozen=True, slots=True)
class Doubt:
    """A day of an archive to be compared with another source.

    It has gaps, different rows for one open time, or it is irregular in a month's archive.
    """

    day: date
    gaps: list[Gap]
    archive: Archive

    @classmethod
    def about(cls, series: Series, day: date, archive: Archive) -> Doubt:
        """A day of an archive with its gaps."""
        return cls(day, gaps_of_day(series.interval, day, archive.days[day]), archive)

    @property
    def conflicting(self) -> bool:
        """Whether the day has different rows for one open time."""
        return self.day in self.archive.conflicting


def is_trusted(series: Series, bars: pa.RecordBatch, age: int, *, whole: bool) -> bool:
    """Whether a day that REST alone has may be stored: REST can leave bars out and have them minutes later.

    Args:
        series: The series.
        bars: REST's answer.
        age: How long ago the day closed, in microseconds.
        whole: Whether it `is_whole`.
    """
    if age < _STABLE_AFTER:
        return False
    if not series.interval.grid_known and bars.num_rows == 0:
        return False  # it may be no day on which a bar opens
    return age >= FINAL_AFTER or whole


def is_whole(series: Series, day: date, bars: pa.RecordBatch, first_open: int | None) -> bool:
    """Whether a day has every bar of its grid from the series' first bar on."""
    if series.interval.multi_day:
        return bars.num_rows > 0
    gaps = gaps_of_day(series.interval, day, bars)
    return not any(since_listing(series.interval, gap, first_open) for gap in gaps)


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

    def archive_provenance(
        self, archive: Archive, gaps: GapCheck | None = None, *, duplicates: bool = False
    ) -> Provenance:
        """The provenance of an archive's days, with what REST said about a day's gaps, and its conflicting rows."""
        fetched_at = self._settings.clock()
        return Provenance(Source.VISION, archive.url, archive.sha256, fetched_at, archive.verified, gaps, duplicates)

    def rest_provenance(self, series: Series, *, duplicates: bool = False) -> Provenance:
        """The provenance of days that REST served, perhaps with conflicting rows."""
        url, now = self._settings.rest_url(series.market), self._settings.clock()
        return Provenance(Source.REST, url, "", now, duplicates=duplicates)

    def write_complete(
        self, series: Series, archives: list[Archive], agreed_now: int
    ) -> tuple[dict[date, DayBars], list[Doubt]]:
        """The days of archives that need no comparison with another source, which are most, and the others.

        Args:
            series: The series.
            archives: Its archives.
            agreed_now: As for `write`.
        """
        full = {}
        doubts = []
        for archive in archives:
            provenance = self.archive_provenance(archive)
            may_differ = isinstance(archive.period, Month) and not series.interval.multi_day
            for day, bars in archive.days.items():
                doubt = Doubt.about(series, day, archive)
                if doubt.gaps or doubt.conflicting or (may_differ and not is_regular(series, bars)):
                    doubts.append(doubt)
                else:
                    full[day] = bars, provenance
        return self.write(series, full, agreed_now), doubts

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
                    served[day] = DayBars(day, self._store.read(series, day).rows, provenance.source)
        except (OSError, CacheError) as error:
            if not self._warned:
                self._warned = True
                log.warning("the cache can't be written, so bars are served but not stored: %s", error)
        return served
