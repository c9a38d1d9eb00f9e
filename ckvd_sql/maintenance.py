"""Looking after the cache: is every day file what it says, and is it still what Binance publishes?

Binance replaces archives, and a day may have come from REST before its archive was there. `verify` looks and
changes no day; `refresh` fetches such days again and says which bars changed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckvd_sql.errors import CacheError, CkvdError
from ckvd_sql.fetch.jobs import Job
from ckvd_sql.fetch.session import Fetcher, outcome
from ckvd_sql.market.bars import NO_BARS, open_times
from ckvd_sql.market.periods import Month, moment_of
from ckvd_sql.sources.concurrency import together

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, datetime

    import pyarrow as pa

    from ckvd_sql.cache.dayfile import DayFile
    from ckvd_sql.market.periods import Period
    from ckvd_sql.market.series import Series
    from ckvd_sql.scan.resolver import Resolver


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said of a day file.

    Attributes:
        series: The series.
        day: The UTC day.
        problem: In words; empty where all is well.
        stale: Whether the file is sound, and yet the archive has something else or newer.
    """

    series: Series
    day: date
    problem: str = ""
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A day that was fetched again, and the open times of the bars that are different now."""

    series: Series
    day: date
    changed: tuple[datetime, ...] = ()
    error: CkvdError | None = None


def verify(resolver: Resolver, *, remote: bool = False) -> Iterator[Finding]:
    """A finding for every day file, in order.

    Args:
        resolver: Whose cache it is.
        remote: Also ask the archive for its present checksums.

    Raises:
        ProviderError: The archive can't be asked.
        OfflineError: It must not be.
    """
    store = resolver.store
    for series in store.series():
        files: list[DayFile] = []
        for day in sorted(store.days(series)):
            try:
                files.append(store.verify(series, day))
            except FileNotFoundError:
                continue
            except CacheError as error:
                yield Finding(series, day, str(error))
            else:
                if not remote:
                    yield Finding(series, day)
        if remote:
            outdated = _outdated(resolver, series, files)
            for file in files:
                problem = outdated.get(file.day, "")
                yield Finding(series, file.day, problem, stale=bool(problem))


def refresh(resolver: Resolver) -> Iterator[Refreshed]:
    """Fetch again the days that are damaged, that the archive has replaced, and that it had not yet.

    Raises:
        ProviderError: The archive can't be asked.
        OfflineError: It must not be.
    """
    stale: defaultdict[tuple[Series, Period], list[date]] = defaultdict(list)
    store = resolver.store
    for finding in list(verify(resolver, remote=True)):
        if finding.stale:
            stale[finding.series, _period(store.describe(finding.series, finding.day))].append(finding.day)
        elif finding.problem:
            stale[finding.series, finding.day].append(finding.day)
    for (series, period), days in stale.items():
        before = {day: _bars(resolver, series, day) for day in days}
        monthly = isinstance(period, Month)
        job = Job(series, Month.of(days[0]), archived=tuple(days), monthly=monthly, fresh=True)
        try:
            with Fetcher(resolver.settings, store, resolver.settings.clock(), (job.month,)) as fetcher:
                got = outcome(fetcher.start(job))
        except CkvdError as error:
            yield from (Refreshed(series, day, error=error) for day in days)
        else:
            yield from (Refreshed(series, day, _changed(before[day], got[day].bars)) for day in days)


def _bars(resolver: Resolver, series: Series, day: date) -> pa.RecordBatch:
    try:
        return resolver.store.read(series, day)
    except (CacheError, FileNotFoundError):
        return NO_BARS


def _changed(before: pa.RecordBatch, after: pa.RecordBatch) -> tuple[datetime, ...]:
    """The open times of bars that one has and the other has not, or has otherwise."""
    old = dict(zip(open_times(before).tolist(), before.to_pylist(), strict=True))
    new = dict(zip(open_times(after).tolist(), after.to_pylist(), strict=True))
    return tuple(
        moment_of(instant) for instant in sorted(old.keys() | new.keys()) if old.get(instant) != new.get(instant)
    )


def _period(file: DayFile) -> Period:
    """What the archive covered that a day came from; for a day from REST, the day."""
    month = Month.of(file.day)
    coarse_rest = file.provenance.source == "rest" and file.series.interval.multi_day
    return month if coarse_rest or file.provenance.url.endswith(file.series.archive_path(month)) else file.day


def _outdated(resolver: Resolver, series: Series, files: list[DayFile]) -> dict[date, str]:
    """What is to be said of the days whose archive is not the one they came from."""
    by_period: defaultdict[Period, list[DayFile]] = defaultdict(list)
    for file in files:
        by_period[_period(file)].append(file)
    with Fetcher(resolver.settings, resolver.store, resolver.settings.clock(), ()) as fetcher:
        published = fetcher.call(lambda: _published(fetcher, series, list(by_period)))
    said = {}
    for period, of_period in by_period.items():
        now = published[period]
        for file in of_period:
            if file.provenance.source == "rest" and now is not None:
                said[file.day] = f"came from REST, and the archive has {period} now"
            elif file.provenance.source == "vision" and now not in {None, file.provenance.sha256}:
                said[file.day] = f"the archive has replaced {period}: SHA-256 is {now[:12]}… now" if now else ""
    return said


async def _published(fetcher: Fetcher, series: Series, periods: list[Period]) -> dict[Period, str | None]:
    """The SHA-256 that the archive states now for each period; None where it has no file."""
    found = await together(fetcher.vision.published(series, period) for period in periods)
    return dict(zip(periods, found, strict=True))
