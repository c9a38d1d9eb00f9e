"""Maintenance of the cache: whether day files are intact and still what Binance publishes, and fetching them again.

Binance replaces archives, and a day may have come from REST before its archive was there. What counts is whether the
bars are the same. `verify` changes no day file; `refresh` fetches days that differ and reports which bars changed.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckvd_sql.errors import CacheError, CkvdError, MalformedDataError, ProviderError, ProviderUnavailableError
from ckvd_sql.fetch.jobs import Job
from ckvd_sql.market.bars import open_times
from ckvd_sql.market.periods import Month, moment_of
from ckvd_sql.market.provenance import Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, datetime

    import pyarrow as pa

    from ckvd_sql.cache.dayfile import DayFile
    from ckvd_sql.fetch.session import FetchSession
    from ckvd_sql.market.periods import Period
    from ckvd_sql.market.series import Series
    from ckvd_sql.scan.resolver import Resolver
    from ckvd_sql.sources.vision import Archive

log = logging.getLogger("ckvd_sql")

#: How many periods a warning names.
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of verifying a day file.

    Attributes:
        series: The series.
        day: The UTC day.
        problem: What is wrong, in words; empty where nothing is.
        stale: Whether the file is intact, but the archive has other bars now.
        repaired: Whether the file is intact, and what was wrong is no longer there.
    """

    series: Series
    day: date
    problem: str = ""
    stale: bool = False
    repaired: bool = False


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
        remote: Also compare with the archive: its published checksums, and the bars where those differ from the stored.

    Raises:
        ProviderError: The archive can't be asked.
        OfflineError: The network is switched off.
    """
    store = resolver.store
    for series in store.series():
        files: list[DayFile] = []
        packs: dict[date, str] = {}
        for day in sorted(store.days(series)):
            try:
                files.append(store.verify(series, day))
                if path := store.drop_wrong_pack(series, day):
                    packs[day] = f"pack {path} had other bars than the day file; it was deleted"
            except FileNotFoundError:
                continue
            except CacheError as error:
                yield Finding(series, day, str(error))
            else:
                if not remote:
                    yield Finding(series, day, packs.get(day, ""), repaired=day in packs)
        if remote:
            with resolver.session() as session:
                outdated = _outdated(session, resolver, series, files)
            for file in files:
                problem, stale = outdated.get(file.day, ""), file.day in outdated
                yield Finding(
                    series,
                    file.day,
                    problem or packs.get(file.day, ""),
                    stale=stale,
                    repaired=not stale and file.day in packs,
                )


def refresh(resolver: Resolver) -> Iterator[Refreshed]:
    """Fetch again the days that are damaged, or of which the archive has other bars now.

    Raises:
        ProviderError: The archive can't be asked.
        OfflineError: The network is switched off.
    """
    stale: defaultdict[tuple[Series, Period], list[date]] = defaultdict(list)
    store = resolver.store
    for finding in list(verify(resolver, remote=True)):
        if finding.stale:
            stale[finding.series, _period(store.describe(finding.series, finding.day))].append(finding.day)
        elif finding.problem and not finding.repaired:
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
        return resolver.store.read(series, day, checked=False).rows
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
    if file.provenance.source is Source.REST and file.series.interval.multi_day:
        return Month.of(file.day)
    return file.series.period_of_archive(file.provenance.url, file.day)


def _outdated(session: FetchSession, resolver: Resolver, series: Series, files: list[DayFile]) -> dict[date, str]:
    """What is wrong with the days that differ from the archive as it is now.

    An archive is downloaded only where its published checksum is not the stored one. One that can't be read as
    published proves nothing about a day.
    """
    by_period: defaultdict[Period, list[DayFile]] = defaultdict(list)
    for file in files:
        by_period[_period(file)].append(file)
    published = session.published_checksums(series, list(by_period))
    changed: dict[Period, list[DayFile]] = {}
    unreadable: list[str] = []
    for period, of_period in by_period.items():
        checksum = published[period]
        if isinstance(checksum, MalformedDataError):
            unreadable.append(str(period))
            continue
        others = [] if checksum is None else [file for file in of_period if file.provenance.sha256 != checksum]
        if others:
            changed[period] = others
    problems: dict[date, str] = {}
    for period, archive in session.archives(series, list(changed)):
        if isinstance(archive, ProviderUnavailableError):
            raise archive
        if isinstance(archive, ProviderError) or (archive and not archive.verified):
            unreadable.append(str(period))
        elif archive:
            problems |= _differences(resolver, series, changed[period], archive)
    if unreadable:
        more = f" and {len(unreadable) - _MOST_NAMED} more" if len(unreadable) > _MOST_NAMED else ""
        named = ", ".join(unreadable[:_MOST_NAMED]) + more
        log.warning("%s: cached days are not compared with archives that can't be read as published: %s", series, named)
    return problems


def _differences(resolver: Resolver, series: Series, files: list[DayFile], archive: Archive) -> dict[date, str]:
    """What is wrong with the days whose bars differ from those of an archive, where it has each bar of them once."""
    problems = {}
    for file in files:
        published = None if file.day in archive.conflicting else archive.days.get(file.day)
        if published and (changed := _changed(_bars(resolver, series, file.day), published)):
            bars = f"{len(changed)} bars differ, the first at {changed[0]:%Y-%m-%d %H:%M}"
            from_rest = file.provenance.source is Source.REST
            origin = "came from REST, and the archive of" if from_rest else "the archive has replaced"
            problems[file.day] = f"{origin} {archive.period}{' is out now' if from_rest else ''}: {bars}"
    return problems
