"""Findings about one stored day: what is wrong or doubtful in its bars and in what is recorded about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from ckvd_sql.market.bars import close_times, open_times
from ckvd_sql.market.gaps import Gap, gaps_of_day, since_listing
from ckvd_sql.market.grid import on_grid
from ckvd_sql.market.periods import DAY, HOUR, Month, day_start, moment_of
from ckvd_sql.market.provenance import GapCheck, Source
from ckvd_sql.market.regularity import broken_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import date

    import numpy.typing as npt
    import pyarrow as pa

    from ckvd_sql.market.series import Interval, Series

    Flags = npt.NDArray[np.bool_]

#: The most findings of one check and day; the last of them counts the others.
MOST_FINDINGS = 20

#: Daily archives come within hours, stragglers within days; monthly ones of long bars can be weeks late.
_ARCHIVED_AFTER = 7 * DAY
_LONG_ARCHIVED_AFTER = 60 * DAY

#: So long without a trade is reported; bars of this length or longer, each of them.
_QUIET = HOUR


class Severity(StrEnum):
    """How much a finding matters.

    Attributes:
        ERROR: The bars can't all be right: they contradict themselves or another source.
        WARNING: They may be right, and were not confirmed.
        INFO: They are what the exchange has, as far as is known, and may surprise.
    """

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Check(StrEnum):
    """What was checked; the values of the SQL column `check`."""

    UNREADABLE = "unreadable"
    SOURCE = "source"
    CHECKSUM = "checksum"
    GAP_CHECK = "gap_check"
    DUPLICATES = "duplicates"
    GAP = "gap"
    OFF_GRID = "off_grid"
    CLOSE_TIME = "close_time"
    PRICES = "prices"
    QUOTE_VOLUME = "quote_volume"
    TAKER_VOLUME = "taker_volume"
    TRADES = "trades"
    ZERO_VOLUME = "zero_volume"
    SUM = "sum"
    PUBLISHED_CHECKSUM = "published_checksum"
    DAILY_ARCHIVE = "daily_archive"
    MONTHLY_ARCHIVE = "monthly_archive"
    REST = "rest"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong or doubtful.

    Attributes:
        day: The UTC day.
        check: What was checked.
        severity: How much it matters.
        found: What was found, in words.
        expected: What was expected, in words.
        open_time: The bar, or the first of several adjacent ones, in microseconds; None where it is about the day.
    """

    day: date
    check: Check
    severity: Severity
    found: str
    expected: str
    open_time: int | None = None


@dataclass(frozen=True, slots=True)
class AuditedDay:
    """A stored day.

    Attributes:
        series: The series, with its grid where that is known.
        day: The UTC day.
        bars: Its bars.
        source: Where they came from.
        checksum: `verified`, `unverified` or empty, as in `Provenance.checksum`.
        gaps: What REST said about its gaps.
        duplicates: Whether every source has different rows for one open time, as in `Provenance.duplicates`.
    """

    series: Series
    day: date
    bars: pa.RecordBatch
    source: Source
    checksum: str = ""
    gaps: GapCheck | None = None
    duplicates: bool = False


def check_day(audited: AuditedDay, now: int, first_open: int | None = None, last: date | None = None) -> list[Finding]:
    """The findings about a stored day by itself.

    Args:
        audited: The day.
        now: The moment of the audit, in microseconds since the epoch.
        first_open: The open time of the series' first bar, where it is known; before it no bar is missing.
        last: The last day that has a bar, as far as is known; after it trading may have ended.
    """
    found = [
        *_provenance(audited, now),
        *_gaps(audited, first_open, last),
        *_grid(audited),
        *_values(audited),
        *_quiet_runs(audited),
    ]
    return bounded(found)


def bounded(findings: Iterable[Finding]) -> list[Finding]:
    """At most `MOST_FINDINGS` of each check, of one day; the last of them counts the others."""
    kept: list[Finding] = []
    for _, group in groupby(findings, key=lambda finding: finding.check):
        of_check = list(group)
        more = len(of_check) - MOST_FINDINGS
        if more > 0:
            last = of_check[MOST_FINDINGS - 1]
            of_check = [
                *of_check[: MOST_FINDINGS - 1],
                replace(last, found=f"{last.found}; {more} more findings of this check on this day"),
            ]
        kept += of_check
    return kept


def findings_of_bars(
    day: date,
    opens: npt.NDArray[np.int64],
    wrong: Flags,
    check: Check,
    severity: Severity,
    describe: Callable[[int], tuple[str, str]],
) -> Iterator[Finding]:
    """A finding for each run of adjacent wrong bars, of which `describe` gives what was found and expected."""
    for first, count in runs(wrong):
        found, expected = describe(first)
        others = f", and {count - 1} more bars after it" if count > 1 else ""
        yield Finding(day, check, severity, f"{found}{others}", expected, int(opens[first]))


def runs(flags: Flags) -> list[tuple[int, int]]:
    """The runs of true values, each by its first index and its length."""
    edges = np.diff(np.concatenate(([0], flags.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist()
    return [(start, end - start) for start, end in zip(starts, ends, strict=True)]


def instant_text(instant: int) -> str:
    """An instant as ISO 8601 in UTC, as short as it can be."""
    return moment_of(instant).replace(tzinfo=None).isoformat()


def _provenance(audited: AuditedDay, now: int) -> Iterator[Finding]:
    day = audited.day
    if audited.checksum == "unverified":
        found = "the archive's SHA-256 is not the published one"
        yield Finding(day, Check.CHECKSUM, Severity.WARNING, found, "a verified checksum")
    if audited.gaps is GapCheck.UNCONFIRMED:
        found = "bars are missing from the archive, and REST no longer serves the symbol"
        yield Finding(day, Check.GAP_CHECK, Severity.WARNING, found, "gaps that REST has confirmed")
    if audited.duplicates:
        found = "every source has different rows for one open time, and the last one is stored"
        yield Finding(day, Check.DUPLICATES, Severity.WARNING, found, "one row for each open time")
    by_rest = audited.source is Source.REST and audited.bars.num_rows > 0  # a day without a bar has no archive
    if by_rest and _archive_out(audited.series.interval, day, now):
        found = "the day came from REST, and archives of its age are published"
        yield Finding(day, Check.SOURCE, Severity.INFO, found, "a day from the archive")


def _archive_out(interval: Interval, day: date, now: int) -> bool:
    """Whether a day is so old that an archive has it, if any does."""
    if interval.multi_day:
        return day_start(Month.of(day).next.first) + _LONG_ARCHIVED_AFTER <= now
    return interval.closed_at(day) + _ARCHIVED_AFTER <= now


def _gaps(audited: AuditedDay, first_open: int | None, last: date | None) -> Iterator[Finding]:
    interval, day = audited.series.interval, audited.day
    ended = last is not None and day > last
    severity = Severity.INFO if ended or audited.gaps is GapCheck.CONFIRMED else Severity.WARNING
    for whole in _missing(audited):
        gap = since_listing(interval, whole, first_open)
        if gap is None:
            continue
        expected = f"{gap.count} bars" if gap.count > 1 else "1 bar"
        if audited.bars.num_rows == 0:
            yield Finding(day, Check.GAP, severity, "no bar", expected)
        else:
            yield Finding(day, Check.GAP, severity, f"no bar until {instant_text(gap.end)}", expected, gap.start)


def _missing(audited: AuditedDay) -> list[Gap]:
    interval, day = audited.series.interval, audited.day
    if not interval.multi_day:
        return gaps_of_day(interval, day, audited.bars)
    slots = interval.slots(day_start(day), day_start(day) + DAY) if interval.grid_known else range(0)
    if audited.bars.num_rows or not slots:
        return []
    return [Gap(day_start(day), interval.open_time(slots[0] + 1), 1)]


def _grid(audited: AuditedDay) -> Iterator[Finding]:
    """Bars that open off the grid, and close times that are not the last microsecond of their bar."""
    day, interval = audited.day, audited.series.interval
    opens, closes = open_times(audited.bars), close_times(audited.bars)
    regular = on_grid(interval, opens)
    slots = [interval.slot(int(one)) for one in opens] if interval.step is None else []
    step = interval.step or np.array([interval.open_time(n + 1) - interval.open_time(n) for n in slots], dtype=np.int64)
    last = opens + step - 1

    def off_grid(row: int) -> tuple[str, str]:
        slot = interval.open_time(interval.slot(int(opens[row])))
        return f"a bar that opens at {instant_text(int(opens[row]))}", f"a bar that opens at {instant_text(slot)}"

    def close_time(row: int) -> tuple[str, str]:
        return f"closes at {instant_text(int(closes[row]))}", f"closes at {instant_text(int(last[row]))}"

    yield from findings_of_bars(day, opens, ~regular, Check.OFF_GRID, Severity.WARNING, off_grid)
    before_open = closes < opens
    odd = np.where(regular, closes != last, closes > last) & ~before_open
    yield from findings_of_bars(day, opens, before_open, Check.CLOSE_TIME, Severity.ERROR, close_time)
    yield from findings_of_bars(day, opens, odd, Check.CLOSE_TIME, Severity.WARNING, close_time)


#: What each rule of `broken_rules` compares, and what is expected of it.
_RULES = {
    Check.PRICES: (("open", "high", "low", "close"), "low <= open and close <= high"),
    Check.QUOTE_VOLUME: (
        ("low", "high", "volume", "quote_volume"),
        "a quote volume that trades between low and high can add up to",
    ),
    Check.TAKER_VOLUME: (
        ("volume", "taker_buy_volume", "quote_volume", "taker_buy_quote_volume"),
        "taker volumes no larger than the volumes",
    ),
    Check.TRADES: (("trades", "volume"), "no trades exactly where there is no volume"),
}


def _values(audited: AuditedDay) -> Iterator[Finding]:
    opens = open_times(audited.bars)
    for rule, broken in broken_rules(audited.series.market, audited.bars).items():
        check = Check(rule)
        names, expected = _RULES[check]

        def describe(row: int, names: tuple[str, ...] = names, expected: str = expected) -> tuple[str, str]:
            cells = (f"{name} {audited.bars.column(name)[row].as_py()}" for name in names)
            return ", ".join(cells), expected

        yield from findings_of_bars(audited.day, opens, broken, check, Severity.ERROR, describe)


def _quiet_runs(audited: AuditedDay) -> Iterator[Finding]:
    """An hour or more of bars without volume."""
    volume = audited.bars.column("volume").to_numpy()
    opens, closes = open_times(audited.bars), close_times(audited.bars)
    for first, count in runs(volume == 0):
        start, end = int(opens[first]), int(closes[first + count - 1]) + 1
        if end - start >= _QUIET:
            bars = f"{count} bars" if count > 1 else "1 bar"
            found = f"{bars} without volume until {instant_text(end)}"
            yield Finding(audited.day, Check.ZERO_VOLUME, Severity.INFO, found, "trades", start)
