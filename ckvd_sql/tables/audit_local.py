"""The audit of what is cached: reads a series' stored days and judges them. No network, and nothing is fetched."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from ckvd_sql.errors import CacheError
from ckvd_sql.market.agreement import check_sum, finer_intervals
from ckvd_sql.market.audit import AuditedDay, Check, Finding, Severity, check_day
from ckvd_sql.market.bars import concat_batches, open_times
from ckvd_sql.market.periods import Month, day_number, day_of, days_between
from ckvd_sql.market.provenance import GapCheck, Source
from ckvd_sql.market.series import Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.market.periods import Period
    from ckvd_sql.market.query import Query
    from ckvd_sql.scan.resolver import Resolver


@dataclass(frozen=True, slots=True)
class StoredDay:
    """What is recorded about a stored day: its source, the URL and SHA-256 of its archive, and the checks."""

    source: Source
    url: str
    sha256: str
    checksum: str
    gaps: GapCheck | None
    duplicates: bool

    def with_bars(self, series: Series, day: date, bars: pa.RecordBatch) -> AuditedDay:
        """The day with its bars."""
        return AuditedDay(series, day, bars, self.source, self.checksum, self.gaps, self.duplicates)

    def period(self, series: Series, day: date) -> Period:
        """The period of the archive that the day came from."""
        return series.period_of_archive(self.url, day)


@dataclass(slots=True)
class SeriesAudit:
    """The audit of a series' cached days.

    Attributes:
        series: The series, with its grid where that is known.
        days: Its readable days, in order.
        findings: What was found.
    """

    series: Series
    days: dict[date, StoredDay] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def audit_series(resolver: Resolver, query: Query, wanted: Series) -> SeriesAudit:
    """The audit of the cached days of a series that a query touches, each of them whole."""
    audit = SeriesAudit(resolver.on_grid(wanted))
    store, series = resolver.store, audit.series
    cached = sorted(store.days(series))
    first_open, last = store.first_open(series), store.last_with_rows(series)
    finer = [one for one in finer_intervals(series.interval) if store.days(Series(series.market, series.symbol, one))]
    for audited, stored in _read(audit, store, [day for day in cached if query.span.touches(day)]):
        audit.days[audited.day] = stored
        listed = first_open
        if listed is None and audited.day == cached[0] and audited.gaps is GapCheck.CONFIRMED and audited.bars.num_rows:
            listed = int(open_times(audited.bars)[0])  # the first cached day, of which REST has no earlier bar either
        audit.findings += check_day(audited, query.now, listed, last)
        for interval in finer:
            parts = _parts(store, audited, Series(series.market, series.symbol, interval))
            if parts is not None:
                audit.findings += check_sum(audited, interval, parts)
                break
    return audit


def _read(audit: SeriesAudit, store: DayStore, days: list[date]) -> Iterator[tuple[AuditedDay, StoredDay]]:
    """The days with their bars; one that can't be read is a finding."""
    series = audit.series
    for _, of_month in groupby(days, key=Month.of):
        in_month = list(of_month)
        snapshot = store.snapshot(series)  # one a month, so that the files of earlier ones can be closed
        described = _described(snapshot.inventory(in_month))
        for day in in_month:
            try:
                if day_number(day) not in described:
                    store.describe(series, day)  # says what is wrong with it
                    continue
                stored = described[day_number(day)]
                bars = snapshot.read(day).rows
            except FileNotFoundError:
                continue
            except CacheError as error:
                found = " ".join(str(error).split())
                audit.findings.append(Finding(day, Check.UNREADABLE, Severity.ERROR, found, "an intact day file"))
            else:
                yield stored.with_bars(series, day, bars), stored


def _described(inventory: pa.Table) -> dict[int, StoredDay]:
    """The rows of an inventory by the number of their day."""
    return {
        row["number"]: StoredDay(
            Source(row["source"]),
            row["url"],
            row["sha256"] or "",
            row["checksum"] or "",
            GapCheck(row["gaps"]) if row["gaps"] else None,
            row["duplicates"] is not None,
        )
        for row in inventory.to_pylist()
    }


def _parts(store: DayStore, audited: AuditedDay, finer: Series) -> pa.RecordBatch | None:
    """The shorter bars of the time that a day's bars cover; None where they are not all cached and readable."""
    interval, first = audited.series.interval, audited.day
    last = first
    if interval.multi_day:
        if not audited.bars.num_rows:
            return None
        opened = int(open_times(audited.bars)[-1])
        last = day_of(interval.open_time(interval.slot(opened) + 1) - 1)
    days = list(days_between(first, last))
    snapshot = store.snapshot(finer)
    if not snapshot.days.issuperset(days):
        return None
    try:
        return _joined(snapshot.read(day).rows for day in days)
    except (FileNotFoundError, CacheError):
        return None


def _joined(batches: Iterable[pa.RecordBatch]) -> pa.RecordBatch:
    of_days = list(batches)
    return of_days[0] if len(of_days) == 1 else concat_batches(of_days)


def read_bars(store: DayStore, series: Series, day: date, stored: StoredDay) -> AuditedDay | None:
    """A stored day with its bars; None where it can't be read any more."""
    try:
        rows = store.snapshot(series).read(day).rows
    except (FileNotFoundError, CacheError):
        return None
    return stored.with_bars(series, day, rows)
