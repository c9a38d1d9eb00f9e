"""A period's bars as a Parquet file that any engine reads, and that says of each day where it came from.

The columns are those of the bars behind `symbol` and `date`. A file that does not read back as exactly the expected
series and period is damaged, and is never used as an answer.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ckvd_sql.market.bars import open_times, rows_between
from ckvd_sql.market.gaps import Gap
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import DAY, FilePeriod, Month, consecutive, day_start, days_between, instant_of, moment_of
from ckvd_sql.market.provenance import GapCheck, Provenance, Source, SourcedRows

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ckvd_sql.market.periods import Period
    from ckvd_sql.market.series import Series

FORMAT = "1"

#: A day of 1s bars: such files are cut into groups of one day, and every other file is one group.
_GROUP_ROWS = 86_400

#: What pyarrow and a check raise on bytes that are no such file.
UNREADABLE = (pa.ArrowException, ValueError, KeyError, TypeError, OSError)


@dataclass(frozen=True, slots=True)
class LakeMetadata:
    """What a file of the lake says about itself.

    Attributes:
        series: The series.
        period: The year or month.
        days: The days that it has, some perhaps without bars, with where they came from.
        gaps: The bars that the grid has and the days do not.
        first_open: The open time of the series' first bar in microseconds, where it is known.
        complete: Whether it has every day of the period, from the series' first bar on.
        content: A digest of what it was made from; equal for the same days from the same archives.
        rows: How many rows it has.
    """

    series: Series
    period: FilePeriod
    days: Mapping[date, Provenance]
    gaps: Sequence[Gap]
    first_open: int | None
    complete: bool
    content: str
    rows: int


class Coverage(NamedTuple):
    """What the lake has of a series: days, and the open time of its first bar in microseconds, where it is known."""

    days: frozenset[date] = frozenset()
    first_open: int | None = None


@dataclass(frozen=True, slots=True)
class LakeBars:
    """The bars of some days of a file of the lake.

    Attributes:
        days: The days that the file has among those that were asked for, with their sources.
        rows: Their bars, in order, in the columns that were asked for.
        first_open: The open time of the series' first bar in microseconds, where it is known.
        complete: Whether the file has every day of its period, from the series' first bar on.
    """

    days: Mapping[date, Source]
    rows: pa.RecordBatch
    first_open: int | None
    complete: bool

    def rows_of(self, day: date) -> pa.RecordBatch:
        """The bars of a day, without a copy."""
        return rows_between(self.rows, day_start(day), day_start(day) + DAY)

    def parts(self, days: Sequence[date]) -> list[SourcedRows]:
        """The bars of some of the days, which follow on each other in the file, by source and without a copy."""
        return [
            SourcedRows(source, rows_between(self.rows, day_start(run[0]), day_start(run[-1]) + DAY))
            for source, run in ((source, list(group)) for source, group in groupby(days, key=self.days.__getitem__))
        ]


def encode(metadata: LakeMetadata, bars: pa.RecordBatch) -> bytes:
    """The file of a period."""
    series = metadata.series
    symbols: pa.Array[Any] = pa.repeat(pa.scalar(series.symbol), bars.num_rows)
    dates: pa.Array[Any] = bars.column("open_time").cast(pa.date32())
    labels = [pa.field(name, kind, nullable=False) for name, kind in (("symbol", pa.string()), ("date", pa.date32()))]
    schema = pa.schema([*labels, *series.schema])
    written = io.BytesIO()
    with pq.ParquetWriter(
        written,
        schema,
        compression="zstd",
        use_dictionary=[field.name for field in labels],  # type: ignore[arg-type] # pyarrow-stubs: no names
        column_encoding={
            field.name: "BYTE_STREAM_SPLIT" if pa.types.is_floating(field.type) else "DELTA_BINARY_PACKED"
            for field in series.schema
        },
        write_page_index=True,
        write_page_checksum=True,
        sorting_columns=[pq.SortingColumn(schema.get_field_index("open_time"))],
        store_schema=False,  # Parquet's own types are enough, and whole
    ) as writer:
        writer.write_table(pa.Table.from_arrays([symbols, dates, *bars.columns], schema=schema), _GROUP_ROWS)
        writer.add_key_value_metadata(_texts(metadata))
    return written.getvalue()


def describe(file: pq.ParquetFile, series: Series, period: FilePeriod) -> LakeMetadata:
    """The metadata of an opened file. Raises one of `UNREADABLE` where it is not this period's."""
    texts = {key.decode(): value.decode() for key, value in (file.metadata.metadata or {}).items()}
    found = tuple(texts.get(key, "") for key in ("ckvd.lake", "ckvd.series", "ckvd.period"))
    expected = (FORMAT, series.key, period.name)
    if found != expected:
        raise ValueError(f"its metadata says {' '.join(found).strip() or 'nothing'}, not {' '.join(expected)}")
    first_open = texts["ckvd.first_open"]
    return LakeMetadata(
        series,
        period,
        _days(series, json.loads(texts["ckvd.days"])),
        [Gap(*gap) for gap in json.loads(texts["ckvd.gaps"])],
        parse_time(first_open, "first_open") if first_open else None,
        texts["ckvd.complete"] == "true",
        texts["ckvd.content"],
        file.metadata.num_rows,
    )


def read(
    file: pq.ParquetFile,
    series: Series,
    period: FilePeriod,
    first: date,
    last: date,
    columns: Collection[str] | None = None,
) -> LakeBars:
    """The bars of the days from `first` to `last`, both included.

    Args:
        file: An opened file.
        series: The series.
        period: The year or month.
        first: The first day.
        last: The last day.
        columns: The columns to read, to which that of the open times is added; None for all.

    Raises:
        Exception: One of `UNREADABLE`, where it is damaged, or not this period's.
    """
    metadata = describe(file, series, period)
    wanted = [field for field in series.schema if columns is None or field.name in {"open_time", *columns}]
    schema = pa.schema(wanted)
    stored = file.schema_arrow
    for field in wanted:
        if stored.field(field.name).type != field.type:
            raise ValueError(f"its column {field.name} is {stored.field(field.name).type}, not {field.type}")
    start, end = day_start(first), day_start(last) + DAY
    table = file.read_row_groups(_groups(file, period, start, end), columns=schema.names, use_threads=False)
    columns_read: list[Any] = [table.column(name).combine_chunks() for name in schema.names]
    batch = pa.RecordBatch.from_arrays(columns_read, schema=schema)
    times = open_times(batch)
    if batch.num_rows and not (
        period.span.start <= times[0] <= times[-1] < period.span.end and (np.diff(times) > 0).all()
    ):
        raise ValueError("its bars are of another period, or not in order")
    days = {day: one.source for day, one in metadata.days.items() if first <= day <= last}
    return LakeBars(days, rows_between(batch, start, end), metadata.first_open, metadata.complete)


def _groups(file: pq.ParquetFile, period: FilePeriod, start: int, end: int) -> list[int]:
    """The row groups that may have bars that open in a range, by their statistics."""
    column = file.schema_arrow.get_field_index("open_time")
    groups = []
    for number in range(file.num_row_groups):
        statistics = file.metadata.row_group(number).column(column).statistics
        if statistics is None or statistics.min is None or statistics.max is None:
            groups.append(number)
            continue
        least, most = instant_of(statistics.min), instant_of(statistics.max)
        if not period.span.start <= least <= most < period.span.end:
            raise ValueError("its bars are of another period")
        if least < end and start <= most:
            groups.append(number)
    return groups


def _texts(metadata: LakeMetadata) -> dict[str, str]:
    first_open = metadata.first_open
    return {
        "ckvd.lake": FORMAT,
        "ckvd.series": metadata.series.key,
        "ckvd.period": metadata.period.name,
        "ckvd.complete": "true" if metadata.complete else "false",
        "ckvd.content": metadata.content,
        "ckvd.first_open": "" if first_open is None else moment_of(first_open).isoformat(),
        "ckvd.gaps": json.dumps([[gap.start, gap.end, gap.count] for gap in metadata.gaps]),
        "ckvd.days": json.dumps(_runs(metadata.series, metadata.days)),
    }


def _runs(series: Series, days: Mapping[date, Provenance]) -> list[dict[str, Any]]:
    """Runs of days of one provenance, the time being that of the last; of an archive's URL the root is enough."""
    runs = []
    for shared, group in groupby(sorted(days), key=lambda day: _shared(series, day, days[day])):
        run = list(group)
        fetched_at = max(days[day].fetched_at for day in run)
        spans = [[str(first), str(last)] for first, last in consecutive(run)]
        runs.append({"days": spans, "fetched_at": moment_of(fetched_at).isoformat(), **dict(shared)})
    return runs


def _shared(series: Series, day: date, one: Provenance) -> tuple[tuple[str, Any], ...]:
    """What the days of a run have in common, as it is stored."""
    period = series.period_of_archive(one.url, day)
    path = series.archive_path(period)
    archived = one.source is Source.VISION and one.url.endswith(path)
    scope = ("monthly" if isinstance(period, Month) else "daily") if archived else ""
    return (
        ("source", one.source.value),
        ("url", one.url.removesuffix(path) if archived else one.url),
        ("archive", scope),
        ("sha256", one.sha256),
        ("checksum", one.checksum),
        ("gaps", one.gaps.value if one.gaps else ""),
        ("duplicates", one.duplicates),
    )


def _days(series: Series, runs: list[dict[str, Any]]) -> dict[date, Provenance]:
    days = {}
    for run in runs:
        for first, last in run["days"]:
            for day in days_between(date.fromisoformat(first), date.fromisoformat(last)):
                periods: dict[str, Period] = {"monthly": Month.of(day), "daily": day}
                period = periods.get(run["archive"])
                days[day] = Provenance(
                    Source(run["source"]),
                    run["url"] + (series.archive_path(period) if period else ""),
                    run["sha256"],
                    parse_time(run["fetched_at"], "fetched_at"),
                    {"": None, "verified": True, "unverified": False}[run["checksum"]],
                    GapCheck(run["gaps"]) if run["gaps"] else None,
                    run["duplicates"] is True,
                )
    return days
