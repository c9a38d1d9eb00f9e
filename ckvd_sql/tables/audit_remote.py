"""The audit against Binance: stored days compared with the archives and with REST as they are now, within bounds.

Nothing is stored. What could not be compared is a finding too, so that an empty result means agreement.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from ckvd_sql.errors import CkvdError, InvalidSymbolError, ProviderError
from ckvd_sql.market.agreement import differences
from ckvd_sql.market.audit import Check, Finding, Severity
from ckvd_sql.market.bars import rows_between
from ckvd_sql.market.periods import DAY, SECOND, Month, Span, day_start
from ckvd_sql.market.provenance import Source
from ckvd_sql.tables.audit_local import read_bars

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.fetch.session import FetchSession
    from ckvd_sql.market.audit import AuditedDay
    from ckvd_sql.market.periods import Period
    from ckvd_sql.sources.vision import Archive
    from ckvd_sql.tables.audit_local import SeriesAudit

T = TypeVar("T")

#: What is downloaded and asked at most for each series. An archive is two requests: its checksum and its zip.
MOST_MONTHS = 12  # none of 1s bars, whose months have more than 100 MB each
MOST_DAYS = 31
MOST_CHECKSUMS = 100
MOST_REST_CALLS = 12


@dataclass(slots=True)
class Questions:
    """What is asked about a series, and the findings of the answers.

    Attributes:
        audit: The audit of its stored days.
        months: The monthly archives to compare.
        days: The days to compare with their daily archives.
        checksums: The other archives, of which the published checksum alone is compared.
        rest: The days of which bars are compared with REST.
    """

    audit: SeriesAudit
    months: list[Month]
    days: list[date]
    checksums: list[Period]
    rest: list[date]
    _failures: set[tuple[Check, str]] = field(default_factory=set)

    @classmethod
    def about(cls, audit: SeriesAudit, now: int) -> Questions:
        """The questions about an audited series: about days with findings first, then about days evenly spread."""
        series, days = audit.series, list(audit.days)
        doubtful = {finding.day for finding in audit.findings}
        doubtful_months = {Month.of(day) for day in doubtful}
        over = [month for month in dict.fromkeys(map(Month.of, days)) if day_start(month.next.first) <= now]
        months = _pick(over, 0 if series.interval.step == SECOND else MOST_MONTHS, doubtful_months)
        archived = [] if series.interval.multi_day else _pick(days, MOST_DAYS, doubtful)
        origins = dict.fromkeys(
            stored.period(series, day) for day, stored in audit.days.items() if stored.source is Source.VISION
        )
        others = [period for period in origins if period not in {*months, *archived}]
        return cls(audit, months, archived, _pick(others, MOST_CHECKSUMS, ()), _pick(days, MOST_REST_CALLS, doubtful))

    @property
    def requests(self) -> int:
        """The most requests that the questions send, retries not counted."""
        return 2 * (len(self.months) + len(self.days)) + len(self.checksums) + len(self.rest)

    def ask(self, session: FetchSession, store: DayStore) -> None:
        """Ask, and add what is found to the audit's findings. Raises `OfflineError`."""
        by_month = self._compare_archives(session, store, self.months)
        differing = [day for day, findings in by_month.items() if findings and day not in self.days]
        spread = [day for day in self.days if not by_month.get(day)]
        days = [day for day in self.days if by_month.get(day)]
        days = [*days, *differing, *spread][: len(self.days)]
        by_day = self._compare_archives(session, store, days)
        for day, findings in by_month.items():
            agrees = day in by_day and not by_day[day]
            self.audit.findings += [_settled(finding) for finding in findings] if agrees else findings
        for findings in by_day.values():
            self.audit.findings += findings
        self._compare_checksums(session)
        self._compare_rest(session, store)

    def _compare_archives(
        self, session: FetchSession, store: DayStore, periods: Sequence[Period]
    ) -> dict[date, list[Finding]]:
        """The findings of each day that could be compared with the archive of one of these periods."""
        found: dict[date, list[Finding]] = {}
        for period, archive in session.archives(self.audit.series, periods):
            monthly = isinstance(period, Month)
            check = Check.MONTHLY_ARCHIVE if monthly else Check.DAILY_ARCHIVE
            days = [day for day in self.audit.days if period in (day, Month.of(day))]
            if isinstance(archive, ProviderError):
                self._not_compared(days, check, archive)
            elif archive is not None:
                self._compare_digest(period, days, archive)
                for audited in self._stored(store, days):
                    other = archive.days.get(audited.day, self.audit.series.no_rows)
                    torn = Severity.WARNING if audited.source is Source.REST else Severity.ERROR
                    name = f"the {'monthly' if monthly else 'daily'} archive"
                    found[audited.day] = differences(audited, other, check, name, missing=torn)
        return found

    def _compare_digest(self, period: Period, days: list[date], archive: Archive) -> None:
        if not archive.verified:
            found = f"the archive of {period} has SHA-256 {archive.sha256[:12]}…, which is not the published one"
            self._add(days[0], Check.PUBLISHED_CHECKSUM, found, "the published SHA-256")
        self._compare_stored_digest(period, archive.sha256)

    def _compare_stored_digest(self, period: Period, digest: str) -> None:
        """Compare the SHA-256 that is stored with the days of an archive with what it is now."""
        days = self.audit.days
        origin = [day for day in days if period in (day, Month.of(day))]
        origin = [day for day in origin if days[day].period(self.audit.series, day) == period and days[day].sha256]
        others = [day for day in origin if days[day].sha256 != digest]
        if others:
            found = f"SHA-256 {days[others[0]].sha256[:12]}… is stored for {len(others)} days of {period}"
            self._add(others[0], Check.PUBLISHED_CHECKSUM, found, f"{digest[:12]}…, which the archive has now")

    def _compare_checksums(self, session: FetchSession) -> None:
        try:
            published = session.published_checksums(self.audit.series, self.checksums) if self.checksums else {}
        except ProviderError as error:
            self._not_compared([_first_day(self.checksums[0])], Check.PUBLISHED_CHECKSUM, error)
            return
        for period, digest in published.items():
            if isinstance(digest, ProviderError):
                self._not_compared([_first_day(period)], Check.PUBLISHED_CHECKSUM, digest)
            elif digest is not None:
                self._compare_stored_digest(period, digest)

    def _compare_rest(self, session: FetchSession, store: DayStore) -> None:
        spans = {day: self._rest_span(day) for day in self.rest}
        answers = dict(zip(spans, session.bars(self.audit.series, list(spans.values())), strict=True))
        for audited in self._stored(store, self.rest):
            answer, span = answers[audited.day], spans[audited.day]
            if isinstance(answer, CkvdError):
                self._not_compared([audited.day], Check.REST, answer)
            else:
                part, other = (_within(one, span, audited.day) for one in (audited.bars, answer))
                sampled = replace(audited, bars=part)
                self.audit.findings += differences(sampled, other, Check.REST, "REST", missing=Severity.WARNING)

    def _rest_span(self, day: date) -> Span:
        """The part of a day that one REST call answers, from the first bar with a finding on."""
        from ckvd_sql.sources.rest import WINDOW  # noqa: PLC0415 (loaded with the network)

        step, start = self.audit.series.interval.step, day_start(day)
        if step is None or step > DAY:
            return Span(start, start + (step or 31 * DAY))
        doubts = [one.open_time for one in self.audit.findings if one.day == day and one.open_time is not None]
        longest = WINDOW * step
        first = min(min(doubts, default=start), max(start, start + DAY - longest)) // step * step
        return Span(first, min(first + longest, start + DAY))

    def _stored(self, store: DayStore, days: Iterable[date]) -> Iterable[AuditedDay]:
        for day in days:
            audited = read_bars(store, self.audit.series, day, self.audit.days[day])
            if audited:
                yield audited

    def _not_compared(self, days: list[date], check: Check, error: CkvdError) -> None:
        """Report once why something was not compared. That REST no longer serves a symbol is no reason for doubt."""
        from ckvd_sql.sources.refusals import DelistedError  # noqa: PLC0415 (loaded with the network)

        if (check, str(error)) not in self._failures:
            self._failures.add((check, str(error)))
            expected = isinstance(error, InvalidSymbolError | DelistedError)
            severity = Severity.INFO if expected else Severity.WARNING
            self._add(days[0], check, f"not compared: {' '.join(str(error).split())}", "an answer", severity)

    def _add(self, day: date, check: Check, found: str, expected: str, severity: Severity = Severity.WARNING) -> None:
        self.audit.findings.append(Finding(day, check, severity, found, expected))


def _settled(finding: Finding) -> Finding:
    """A difference from a monthly archive on a day whose daily archive agrees, as on outage days (#475)."""
    expected = f"{finding.expected}, but the daily archive agrees with the stored day"
    return replace(finding, severity=Severity.WARNING, expected=expected)


def _first_day(period: Period) -> date:
    return period.first if isinstance(period, Month) else period


def _within(bars: pa.RecordBatch, span: Span, day: date) -> pa.RecordBatch:
    return rows_between(bars, span.start, min(span.end, day_start(day) + DAY))


def _pick(items: Sequence[T], most: int, doubtful: Collection[T]) -> list[T]:
    """At most so many of the items, in order: the doubtful ones first, then others that are evenly spread."""
    chosen = [item for item in items if item in doubtful][:most]
    others, left = [item for item in items if item not in doubtful], most - len(chosen)
    spread = others if len(others) <= left else [others[number * len(others) // left] for number in range(left)]
    wanted = {*chosen, *spread}
    return [item for item in items if item in wanted]
