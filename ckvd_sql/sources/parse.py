"""Archive CSV and REST JSON into validated bars.

What is not exactly bars of the requested series and period raises `MalformedDataError`; nothing is invented or
repaired. No network here: it parses bytes that a client has read.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from ckvd_sql.errors import MalformedDataError
from ckvd_sql.market.bars import BAR_SCHEMA, INSTANT, NO_BARS, open_times, split_days
from ckvd_sql.market.periods import Month, day_of, day_start
from ckvd_sql.sources.answers import grid_bars

if TYPE_CHECKING:
    from ckvd_sql.market.periods import Period
    from ckvd_sql.market.series import Series

_COLUMNS = len(BAR_SCHEMA) + 1  # every source has a twelfth column, which is ignored
_TIMES = ("open_time", "close_time")
_RAW_TYPES = {field.name: pa.int64() if field.name in _TIMES else field.type for field in BAR_SCHEMA}
_NO_ROWS = {name: pa.array([], kind) for name, kind in _RAW_TYPES.items()}

#: Values from here on are microseconds (1973-03-03), below it milliseconds (the year 5138).
_MICROSECONDS_FROM = 10**14
_EARLIEST = day_start(date(2009, 1, 1))
_LATEST = day_start(date(2100, 1, 1))

#: The most bytes of a row as CSV text, of which genuine ones have some 145; it limits what a zip may unpack to.
_MAX_ROW_BYTES = 256

#: How often a zip of one member may have the mark of a directory entry, by chance or not.
_MOST_ENTRIES = 10
_ENTRY = b"PK\x01\x02"

#: CSV is parsed in blocks of this many bytes, so that text and parsed values stay in the processor's cache.
_BLOCK = 1 << 19


def read_archive(
    data: bytes, series: Series, period: Period, url: str, conflicting: set[date] | None = None
) -> dict[date, pa.RecordBatch]:
    """The bars of a daily or monthly zip, by UTC day. Days without a bar are not among them.

    Args:
        data: The zip.
        series: The series.
        period: The day or month.
        url: Where it came from, for errors.
        conflicting: Takes the days that have different rows for one open time, of which the last row is then used.

    Raises:
        MalformedDataError: The zip is torn, holds another file, or its text is not bars of this period. Or it has
            different rows for one open time, and `conflicting` is None.
    """
    # Twice the bars of the grid, to allow for off-grid bars.
    limit = (2 * grid_bars(series, period) + 100) * _MAX_ROW_BYTES
    text = _unzip(data, f"{series.archive_stem(period)}.csv", limit, url)
    days = split_days(_validate(_read_csv(text, url), url, conflicting))
    first, last = (period.first, period.last) if isinstance(period, Month) else (period, period)
    out_of_period = [day for day in days if not first <= day <= last]
    if out_of_period and not series.interval.multi_day:
        raise MalformedDataError(f"{url} holds bars of {out_of_period[0]}, which is not in {period}", url=url)
    # A long bar may reach over the month's end; the month in which it opens has it.
    return {day: bars for day, bars in days.items() if first <= day <= last}


def read_rest(
    body: bytes, url: str, start: int, end: int, limit: int, conflicting: set[date] | None = None
) -> tuple[pa.RecordBatch, bool]:
    """The bars of a REST answer, sorted, and whether there are as many rows as `limit`, so that some may be cut off.

    Raises:
        MalformedDataError: It is not rows of bars, or a row opens outside `[start, end)`. Or it has different rows for
            one open time, and `conflicting` is None; else that takes their days, and the last row is used.
    """
    rows = _rows(body, url)
    bars = _bars_of_rows(rows, url, conflicting)
    if bars.num_rows and not (start <= open_times(bars)[0] and open_times(bars)[-1] < end):
        raise MalformedDataError(f"{url} answered with klines that were not asked for", url=url)
    return bars, len(rows) >= limit


def _rows(body: bytes, url: str) -> list[Any]:
    try:
        rows = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedDataError(f"{url} did not answer with JSON: {error}", url=url) from error
    if not isinstance(rows, list):
        raise MalformedDataError(f"{url} did not answer with a list of klines", url=url)
    return rows


def _bars_of_rows(rows: list[Any], url: str, conflicting: set[date] | None) -> pa.RecordBatch:
    if not rows:
        return NO_BARS
    try:
        columns = list(zip(*rows, strict=True))
        if len(columns) != _COLUMNS:
            raise ValueError(f"{len(columns)} fields in a row")  # noqa: TRY301
        raw = {
            name: _typed_column(column, kind) for (name, kind), column in zip(_RAW_TYPES.items(), columns, strict=False)
        }
    except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
        raise MalformedDataError(f"{url} did not answer with rows of klines: {error}", url=url) from error
    return _validate(raw, url, conflicting)


def _unzip(data: bytes, member: str, limit: int, url: str) -> bytes:
    """The zip's only member, unpacked in memory; more than `limit` bytes are refused before they are unpacked."""
    if data.count(_ENTRY) > _MOST_ENTRIES:  # before a directory of any size is read
        raise MalformedDataError(f"{url} should hold {member} alone, not many files", url=url)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if archive.namelist() != [member]:
                raise MalformedDataError(f"{url} should hold {member} alone, not {archive.namelist()[:3]}", url=url)
            packed = archive.getinfo(member)
            if packed.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise MalformedDataError(f"{url} uses a compression method that Binance does not use", url=url)
            if packed.file_size > limit:
                raise MalformedDataError(f"{url} unpacks to more than {limit} bytes, too much for its bars", url=url)
            with archive.open(packed) as file:
                return file.read(packed.file_size + 1)  # with a size given, zlib allocates little more
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        raise MalformedDataError(f"{url} is not a valid zip: {error}", url=url) from error


def _read_csv(text: bytes, url: str) -> dict[str, pa.Array[Any]]:
    """The raw columns of an archive's CSV. A header is detected by its first byte: re-uploaded files may have one."""
    text = text.lstrip()
    names = [*_RAW_TYPES, "ignore"]
    if not text:
        return _NO_ROWS
    try:
        table = csv.read_csv(
            pa.BufferReader(text),  # type: ignore[arg-type] # pyarrow-stubs: any readable file will do
            read_options=csv.ReadOptions(
                column_names=names,
                skip_rows=1 if text[:1].isalpha() else 0,
                use_threads=False,
                block_size=_BLOCK,
            ),
            parse_options=csv.ParseOptions(quote_char=False),
            convert_options=csv.ConvertOptions(
                column_types=_RAW_TYPES, include_columns=list(_RAW_TYPES), null_values=[], check_utf8=False
            ),
        )
    except pa.ArrowException as error:
        raise MalformedDataError(f"{url} is not CSV of klines: {error}", url=url) from error
    whole = table.combine_chunks().to_batches()
    return dict(zip(_RAW_TYPES, whole[0].columns, strict=True)) if whole else _NO_ROWS


def _typed_column(values: tuple[Any, ...], kind: pa.DataType) -> pa.Array[Any]:
    """A JSON column: numbers for times and counts, decimal text for the rest, as Binance writes them."""
    if kind == pa.int64():
        if not all(type(value) is int for value in values):
            raise TypeError("a time or count is not a whole number")
        return pa.array(values, kind)
    return pa.array(values, pa.string()).cast(kind)


def _validate(raw: dict[str, pa.Array[Any]], url: str, conflicting: set[date] | None) -> pa.RecordBatch:
    """Raw columns as bars: times in microseconds, sorted, each open time once, every number finite."""
    opened = _microseconds(raw["open_time"], 0)
    ended = _microseconds(raw["close_time"], 999)
    if len(opened) == 0:
        return NO_BARS
    for times in (opened, ended):
        if times.min() < _EARLIEST or times.max() >= _LATEST:
            raise MalformedDataError(f"{url} has times out of range", url=url)
    for name, array in raw.items():
        if array.null_count or not np.isfinite(array.to_numpy()).all():
            raise MalformedDataError(f"{url} has a {name} that is not a finite number", url=url)
    columns = raw | {"open_time": _instants(opened), "close_time": _instants(ended)}
    arrays = [columns[name] for name in BAR_SCHEMA.names]
    bars = pa.RecordBatch.from_arrays(arrays, schema=BAR_SCHEMA)
    steps = np.diff(opened)
    return bars if (steps > 0).all() else _without_duplicates(bars, url, conflicting)


def _microseconds(column: pa.Array[Any], tail: int) -> npt.NDArray[np.int64]:
    """Times in microseconds; each value's unit follows from its magnitude, and `tail` is added to milliseconds."""
    values = column.to_numpy()
    micros: npt.NDArray[np.int64] = np.where(values < _MICROSECONDS_FROM, values * 1000 + tail, values)
    return micros


def _instants(times: npt.NDArray[np.int64]) -> pa.Array[Any]:
    return pa.Array.from_buffers(INSTANT, len(times), [None, pa.py_buffer(times.data)])


def _without_duplicates(bars: pa.RecordBatch, url: str, conflicting: set[date] | None) -> pa.RecordBatch:
    """Bars sorted by open time, each once: of several rows with one open time the last, which others must equal.

    Unless `conflicting` takes their days, different rows with one open time are refused.
    """
    bars = bars.take(pc.sort_indices(bars.column("open_time")))  # a stable sort
    times = open_times(bars)
    again = np.flatnonzero(np.diff(times) == 0)
    if len(again) == 0:
        return bars
    if not bars.take(again).equals(bars.take(again + 1)):
        if conflicting is None:
            raise MalformedDataError(f"{url} has different rows for one open time", url=url)
        different = [at for at in again.tolist() if not bars.slice(at, 1).equals(bars.slice(at + 1, 1))]
        conflicting.update(day_of(int(times[at])) for at in different)
    keep = np.ones(bars.num_rows, dtype=bool)
    keep[again] = False
    return bars.filter(pa.array(keep))
