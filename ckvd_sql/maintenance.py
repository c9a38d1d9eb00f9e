"""Maintenance of the cache: whether day files are intact and still what Binance publishes, and fetching them again.

Binance replaces archives, and a day may have come from REST before its archive was there. `verify` changes no day
file; `refresh` fetches such days again and reports which bars changed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckvd_sql.errors import CacheError, CkvdError
from ckvd_sql.fetch.jobs import Job
from ckvd_sql.market.bars import open_times
from ckvd_sql.market.periods import Month, moment_of
from ckvd_sql.market.provenance import Source

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
    """The result of verifying a day file.

    Attributes:
        series: The series.
        day: The UTC day.
        problem: What is wrong, in words; empty where nothing is.
        stale: Whether the file is intact, but the archive has something else or newer.
    """

    series: Series
    day: date
    problem: str = ""
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A day that was fetched again, the open times of the bars that changed, and why it failed if it did."""

    series: Series
    day: date
    changed: tuple[datetime, ...] = ()
    error: CkvdError | None = None


def verify(resolver: Resolver, *, remote: bool = False) -> Iterator[Finding]:
    """A finding for every day file, in order.

    Args:
        resolver: The resolver over the cache.
        remote: Also ask the archive for the checksums that it publishes now.

    Raises:
        ProviderError: The archive can't be asked.
        OfflineError: The network is switched off.
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
    """Fetch again the days that are damaged, that the archive has replaced, or that came from REST and are in it now.

    Raises:
        ProviderError: The archive can't be asked.
        OfflineError: The network is switched off.
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
        try:
            got = resolver.refetch(Job(series, Month.of(days[0]), archived=tuple(days), monthly=monthly, fresh=True))
        except CkvdError as error:
            yield from (Refreshed(series, day, error=error) for day in days)
        else:
            yield from (Refreshed(series, day, _changed(before[day], got[day].bars)) for day in days)


def _bars(resolver: Resolver, series: Series, day: date) -> pa.RecordBatch:
    try:
        return resolver.store.read(series, day).rows
    except (CacheError, FileNotFoundError):
        return series.no_rows


def _changed(before: pa.RecordBatch, after: pa.RecordBatch) -> tuple[datetime, ...]:
    """The open times of the bars that differ, or that only one of them has."""
    old = dict(zip(open_times(before).tolist(), before.to_pylist(), strict=True))
    new = dict(zip(open_times(after).tolist(), after.to_pylist(), strict=True))
    return tuple(
        moment_of(instant) for instant in sorted(old.keys() | new.keys()) if old.get(instant) != new.get(instant)
    )


def _period(file: DayFile) -> Period:
    """The period of the archive that a day came from, or, for a day from REST, of the one that would have it."""
    month = Month.of(file.day)
    from_rest = file.provenance.source is Source.REST and file.series.interval.multi_day
    return month if from_rest or file.provenance.url.endswith(file.series.archive_path(month)) else file.day


def _outdated(resolver: Resolver, series: Series, files: list[DayFile]) -> dict[date, str]:
    """What is wrong with the days whose archive is not the one they came from."""
    by_period: defaultdict[Period, list[DayFile]] = defaultdict(list)
    for file in files:
        by_period[_period(file)].append(file)
    published = resolver.published_checksums(series, list(by_period))
    problems = {}
    for period, of_period in by_period.items():
        checksum = published[period]
        for file in of_period:
            if checksum is not None and file.provenance.source is Source.REST:
                problems[file.day] = f"came from REST, and the archive has {period} now"
            elif checksum is not None and checksum != file.provenance.sha256:
                problems[file.day] = f"the archive has replaced {period}: its SHA-256 is now {checksum[:12]}…"
    return problems
