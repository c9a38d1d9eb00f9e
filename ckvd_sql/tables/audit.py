"""`ckvd_audit`: what is wrong or doubtful about stored days, as a lazy Arrow dataset. Nothing here knows SQL."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ckvd_sql.errors import OfflineError
from ckvd_sql.market.audit import Check
from ckvd_sql.market.bars import INSTANT, schema_of
from ckvd_sql.tables.audit_local import audit_series
from ckvd_sql.tables.audit_remote import Questions
from ckvd_sql.tables.lazy import rows_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ckvd_sql.market.query import Query
    from ckvd_sql.scan.resolver import Resolver
    from ckvd_sql.tables.audit_local import SeriesAudit
    from ckvd_sql.tables.lazy import LazyDataset

log = logging.getLogger("ckvd_sql")

AUDIT_SCHEMA = schema_of(
    ("symbol", pa.string()),
    ("date", pa.date32()),
    ("open_time", INSTANT),
    ("check", pa.string()),
    ("found", pa.string()),
    ("expected", pa.string()),
    ("severity", pa.string()),
)

_ORDER = list(Check)


def audit_dataset(resolver: Resolver, make_query: Callable[[], Query], *, remote: bool) -> LazyDataset:
    """A row per finding about the cached days of a query, in order of symbols, days and bars."""
    return rows_dataset(AUDIT_SCHEMA, lambda: audit_rows(resolver, make_query(), remote=remote))


def audit_rows(resolver: Resolver, query: Query, *, remote: bool) -> Iterator[dict[str, Any]]:
    """The rows of `audit_dataset`.

    Args:
        resolver: The resolver over the cache.
        query: The series, and the range that the audited days touch.
        remote: Also compare with the archives and REST. One log line says before how many requests that is at most.

    Raises:
        OfflineError: The network is switched off, and the audit is a remote one.
    """
    if remote and resolver.settings.offline:
        raise OfflineError("the network is switched off (CKVD_OFFLINE), so nothing can be compared with Binance")
    audits = [audit_series(resolver, query, series) for series in query.series()]
    for audit in audits:
        if not audit.days and not audit.findings:
            log.warning("%s: no day of this range is cached, so there is nothing to audit", audit.series)
    if remote:
        _ask(resolver, query, audits)
    for audit in audits:
        ordered = sorted(audit.findings, key=lambda one: (one.day, one.open_time or 0, _ORDER.index(one.check)))
        for finding in ordered:
            yield {
                "symbol": audit.series.symbol,
                "date": finding.day,
                "open_time": finding.open_time,
                "check": finding.check.value,
                "found": finding.found,
                "expected": finding.expected,
                "severity": finding.severity.value,
            }


def _ask(resolver: Resolver, query: Query, audits: list[SeriesAudit]) -> None:
    """Compare what is stored with Binance, after saying how many requests that is at most."""
    questions = [Questions.about(audit, query.now) for audit in audits]
    log.info(
        "the audit sends at most %d requests, and one that fails up to %d times more: for %d monthly and %d daily "
        "archives with their checksums, %d other checksums, and %d calls of REST",
        sum(one.requests for one in questions),
        resolver.settings.retries,
        sum(len(one.months) for one in questions),
        sum(len(one.days) for one in questions),
        sum(len(one.checksums) for one in questions),
        sum(len(one.rest) for one in questions),
    )
    with resolver.session() as session:
        for one in questions:
            one.ask(session, resolver.store)
