"""Writing a period to the lake once the cache has it whole, and again when the cache has other days of it.

A period is complete where it is over and the cache has every day of it, from the series' first bar on. Of the period
that is not over, the days up to the first missing one are written, and again as they grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import xxhash

from ckvd_sql.errors import CacheError, LakeError
from ckvd_sql.lake.parquet import LakeMetadata
from ckvd_sql.market.bars import concat_batches
from ckvd_sql.market.gaps import find_gaps
from ckvd_sql.market.periods import DAY, Span, day_start, instant_of
from ckvd_sql.market.provenance import GapCheck, Provenance, Source

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.cache.snapshot import Snapshot
    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.lake.store import LakeStore
    from ckvd_sql.market.periods import FilePeriod
    from ckvd_sql.market.series import Series


class Outcome(StrEnum):
    """What became of a period that was to be written.

    Attributes:
        NEW: It was written.
        REPLACED: It was written in place of one with other days, or of a damaged one.
        UNCHANGED: The lake has the same days, or another writer was faster.
        INCOMPLETE: The cache does not have it whole.
    """

    NEW = "new"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True)
class PeriodDays:
    """What the cache has of a period.

    Attributes:
        days: The days that can be written, in order.
        complete: Whether they are all that the period will ever have.
        missing: The days that are over and missing from the cache.
    """

    days: tuple[date, ...]
    complete: bool
    missing: tuple[date, ...]


def days_of_period(series: Series, period: FilePeriod, snapshot: Snapshot, now: int) -> PeriodDays:
    """Which days of a period can be written to the lake."""
    interval, first_open = series.interval, snapshot.first_open
    on_grid = [
        day
        for day in interval.open_days(period.first, period.last)
        if first_open is None or interval.closed_at(day) > first_open
    ]
    closed = [day for day in on_grid if interval.closed_at(day) <= now]
    over = len(closed) == len(on_grid) and day_start(period.last) + DAY <= now
    missing = tuple(day for day in closed if day not in snapshot.days)
    held = set(takewhile(snapshot.days.__contains__, closed))
    if interval.multi_day:  # a long bar may open on a day that the known grid does not have
        end = missing[0] if missing else period.last
        held |= {day for day in snapshot.days if period.first <= day <= end and interval.closed_at(day) <= now}
    complete = over and not missing and interval.grid_known
    return PeriodDays(tuple(sorted(held)), complete, missing)


def publish_period(
    cache: DayStore,
    lake: LakeStore,
    series: Series,
    period: FilePeriod,
    now: int,
    *,
    growing: bool = False,
    damaged: bool = False,
) -> Outcome:
    """Write a period of a series to the lake, unless that has it.

    Args:
        cache: The day files.
        lake: The lake.
        series: The series, with its grid.
        period: The year or month.
        now: The moment, in microseconds since the epoch.
        growing: Whether to write a period that is not over too.
        damaged: Whether values of the lake's file are known to be damaged, so that it is replaced.

    Raises:
        LakeError: The lake can't be read or written.
    """
    snapshot = cache.snapshot(series)
    found = days_of_period(series, period, snapshot, now)
    over = day_start(period.last) + DAY <= now
    if not found.days or (not found.complete and (over or not growing)):
        return Outcome.INCOMPLETE
    inventory = snapshot.inventory(found.days)
    content = digest(inventory)
    tag, stored = (lake.tag(series, period), None) if damaged else _stored(lake, series, period)
    if stored is not None and stored.content == content and stored.complete == found.complete:
        return Outcome.UNCHANGED
    if stored is not None and stored.complete and not found.complete:
        return Outcome.UNCHANGED
    made = _make(series, period, snapshot, found, inventory, content)
    if made is None:
        return Outcome.INCOMPLETE
    written = lake.write(*made, tag)
    return Outcome.UNCHANGED if not written else Outcome.NEW if tag is None else Outcome.REPLACED


def digest(inventory: pa.Table) -> str:
    """A digest of days by what they were made from: equal for the same days from the same archives."""
    hashed = xxhash.xxh3_128()
    for row in inventory.to_pylist():
        came_from = row["sha256"] or row["fetched_at"]
        line = f"{row['number']} {row['rows']} {row['source']} {came_from} {row['gaps']} {row['duplicates']}\n"
        hashed.update(line.encode())
    return hashed.hexdigest()


def _stored(lake: LakeStore, series: Series, period: FilePeriod) -> tuple[str | None, LakeMetadata | None]:
    """The tag of the period's file and its metadata: None where there is none, and where it is damaged."""
    try:
        found = lake.describe(series, period)
    except LakeError as error:
        if not error.damaged:
            raise
        return lake.tag(series, period), None
    return (found[1], found[0]) if found else (None, None)


def _make(
    series: Series, period: FilePeriod, snapshot: Snapshot, found: PeriodDays, inventory: pa.Table, content: str
) -> tuple[LakeMetadata, pa.RecordBatch] | None:
    """The metadata and bars of a period; None where a day of it can't be read, or was replaced meanwhile."""
    first, last = found.days[0], found.days[-1]
    try:
        parts = [part.rows for part in snapshot.read_range(first, last)]
    except (CacheError, FileNotFoundError):
        return None
    bars = concat_batches([series.no_rows, *parts])
    days = dict(_provenances(found.days, inventory.to_pylist()))
    if len(days) < len(found.days) or bars.num_rows != pc.sum(inventory.column("rows")).as_py():
        return None
    start, end = day_start(first), day_start(last) + DAY
    first_open = snapshot.first_open
    gaps = find_gaps(series.interval, Span(max(start, first_open or start), end), end, [bars])
    metadata = LakeMetadata(series, period, days, list(gaps), first_open, found.complete, content, bars.num_rows)
    return metadata, bars


def _provenances(days: Iterable[date], rows: list[dict[str, Any]]) -> Iterable[tuple[date, Provenance]]:
    by_number = {row["number"]: row for row in rows}
    for day in days:
        row = by_number.get(day_start(day) // DAY)
        if row:
            yield (
                day,
                Provenance(
                    Source(row["source"]),
                    row["url"],
                    row["sha256"] or "",
                    instant_of(row["fetched_at"]),
                    {None: None, "verified": True, "unverified": False}[row["checksum"]],
                    GapCheck(row["gaps"]) if row["gaps"] else None,
                    row["duplicates"] is not None,
                ),
            )
