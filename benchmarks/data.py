"""The data sets: bars of the sandbox's market, written as day files, Parquet and a DuckDB file, without a network.

A set is made once and stored in the work folder, until its definition or the format of a day file changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.bars import BAR_SCHEMA, INSTANT
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import DAY, Month, day_of, day_start
from ckvd_sql.market.provenance import Provenance, Source
from ckvd_sql.market.series import INTERVALS, Market, Series
from ckvd_sql.sandbox.archive import checksum_text, zip_of
from ckvd_sql.sandbox.bars import Bars, closes, joined
from ckvd_sql.sandbox.history import closed_bars
from ckvd_sql.sandbox.symbols import SYMBOLS, Listing

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The time in every benchmark: all days of all sets are over.
NOW = "2027-02-01T00:00:00"
_NOW = parse_time(NOW, "now")

_FOLDER_VARIABLE = "CKVD_BENCH_DIR"

_DAYS_AT_ONCE = 7  # in memory while a set is made; days of 1s are large


@dataclass(frozen=True, slots=True)
class DataSet:
    """Days of one interval of some symbols.

    Attributes:
        name: Its folder in the work folder, and its table in the DuckDB file.
        interval: The interval.
        first: The first day.
        days: How many days.
        symbols: How many symbols; those beyond the market's own repeat its bars under other names, rotated in time.
        together: Whether to write Parquet with all symbols in a file a month too, beside a file a month and symbol.
    """

    name: str
    interval: str
    first: date
    days: int
    symbols: int = 1
    together: bool = False

    @property
    def start(self) -> str:
        """The first day as text."""
        return str(self.first)

    @property
    def end(self) -> str:
        """The day after the last one as text."""
        return self.day(self.days)

    def day(self, number: int) -> str:
        """A day by its number, counted from 0."""
        return str(self.first + timedelta(days=number))

    @property
    def names(self) -> list[str]:
        """The symbols."""
        return [series.symbol for series, _ in _members(self)]

    @property
    def series(self) -> Series:
        """The series of the first symbol."""
        return _members(self)[0][0]


def work_folder(given: Path | None) -> Path:
    """The work folder: the one given, else CKVD_BENCH_DIR, else one below the temporary folder. It is created."""
    folder = given or Path(os.environ.get(_FOLDER_VARIABLE) or Path(tempfile.gettempdir()) / "ckvd-bench")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


class Data:
    """The files of a data set.

    Args:
        work: The work folder.
        data_set: The set.
    """

    def __init__(self, work: Path, data_set: DataSet) -> None:
        self.set = data_set
        self.root = work / data_set.name

    @property
    def cache(self) -> Path:
        """The cache folder of ckvd_sql."""
        return self.root / "cache"

    @property
    def parquet(self) -> Path:
        """Monthly zstd Parquet, a folder a symbol."""
        return self.root / "parquet"

    @property
    def parquet_together(self) -> Path:
        """Monthly zstd Parquet, all symbols in a file."""
        return self.root / "parquet-together"

    @property
    def native(self) -> Path:
        """A DuckDB file with the rows in a table `bars`."""
        return self.root / "native.duckdb"

    def day_files(self, symbol: str | None = None) -> Path:
        """The folder of a symbol's day files."""
        series = Series(Market.SPOT, symbol or self.set.names[0], INTERVALS[self.set.interval])
        return DayStore(self.cache).folder(series)


def make(work: Path, wanted: DataSet) -> Data:
    """A data set, made if the work folder does not have it as defined now."""
    data = Data(work, wanted)
    stamp = data.root / "stamp"
    if not stamp.is_file() or stamp.read_text() != _stamp(wanted):
        shutil.rmtree(data.root, ignore_errors=True)
        data.root.mkdir(parents=True)
        _write(data)
        stamp.write_text(_stamp(wanted))
    return data


def make_archive(work: Path, series: Series, first: date, days: int, *, monthly: bool) -> Path:
    """A folder of archives for the sandbox to serve: zips of the days, or of their months, with their checksums."""
    root = work / f"archive-{'monthly' if monthly else 'daily'}-{series.symbol}-{series.interval.name}-{first}-{days}"
    stamp = root / "stamp"
    if stamp.is_file():
        return root
    span = [first + timedelta(days=number) for number in range(days)]
    for period in sorted({Month.of(day) for day in span}) if monthly else span:
        path = root / series.archive_path(period)
        body = zip_of(series, period) or b""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        path.with_name(f"{path.name}.CHECKSUM").write_bytes(checksum_text(series.market, body, path.name))
    stamp.touch()
    return root


def _stamp(wanted: DataSet) -> str:
    """What a set depends on: its definition, this module's code, and the bytes of a day file as written today."""
    sample = DataSet(wanted.name, "1h", wanted.first, 1)
    with tempfile.TemporaryDirectory() as folder:
        data = Data(Path(folder), sample)
        _write_days(data, DayStore(data.cache))
        content = b"".join(file.read_bytes() for file in sorted(data.cache.rglob("*.arrow")))
    return json.dumps([repr(wanted), hashlib.sha256(content + Path(__file__).read_bytes()).hexdigest()])


def _members(wanted: DataSet) -> list[tuple[Series, Listing]]:
    """The series of a set, each with the listing whose bars it has."""
    interval, start = INTERVALS[wanted.interval], day_start(wanted.first)
    listings = [one for one in SYMBOLS[Market.SPOT] if one.listed <= start and one.delisted is None]
    members = []
    for number in range(wanted.symbols):
        listing = listings[number % len(listings)]
        name = listing.symbol if number < len(listings) else f"{listing.base}{number}USDT"
        members.append((Series(Market.SPOT, name, interval), listing))
    return members


def _write(data: Data) -> None:
    _write_days(data, DayStore(data.cache))
    _write_native(data)
    if data.set.together:
        _write_together(data)
    os.sync()


def _write_days(data: Data, store: DayStore) -> None:
    """Day files, and the same rows as Parquet."""
    made: dict[tuple[Listing, int], Bars] = {}
    # These files need not survive a power failure, and a hundred thousand fsyncs take minutes.
    with mock.patch.object(os, "fsync"):
        for number, (series, listing) in enumerate(_members(data.set)):
            months: dict[Month, list[pa.RecordBatch]] = {}
            for at in range(0, data.set.days, _DAYS_AT_ONCE):
                bars = made.get((listing, at)) or _bars(data.set, listing, at)
                if data.set.symbols > 1:
                    made[listing, at] = bars
                rotated = Bars(bars.opens, np.roll(bars.values, number // 5, axis=1)) if number else bars
                for day, batch in _by_day(rotated, listing, data.set):
                    store.write(series, day, batch, _origin(series, day))
                    months.setdefault(Month.of(day), []).append(batch)
            for month, batches in months.items():
                _write_parquet(data.parquet / series.symbol / f"{month}.parquet", series.symbol, batches)


def _bars(wanted: DataSet, listing: Listing, at: int) -> Bars:
    interval, begin = INTERVALS[wanted.interval], day_start(wanted.first) + at * DAY
    days = min(_DAYS_AT_ONCE, wanted.days - at)
    return joined([closed_bars(listing, interval, begin + n * DAY, begin + (n + 1) * DAY, _NOW) for n in range(days)])


def _by_day(bars: Bars, listing: Listing, wanted: DataSet) -> Iterator[tuple[date, pa.RecordBatch]]:
    digits = [listing.price_digits] * 4 + [listing.quantity_digits, listing.quote_digits, 0]
    digits += [listing.quantity_digits, listing.quote_digits]
    opened, high, low, close, volume, quote, trades, taker, taker_quote = (
        row / 10.0**count for row, count in zip(bars.values, digits, strict=True)
    )
    ends = closes(bars, INTERVALS[wanted.interval]) - 1
    arrays = [pa.array(bars.opens).cast(INSTANT)]
    arrays += [pa.array(one) for one in (opened, high, low, close, volume)]
    arrays += [pa.array(ends).cast(INSTANT), pa.array(quote), pa.array(trades.astype(np.int64))]
    arrays += [pa.array(taker), pa.array(taker_quote)]
    batch = pa.RecordBatch.from_arrays(arrays, schema=BAR_SCHEMA)
    cuts = [0, *(np.flatnonzero(np.diff(bars.opens // DAY)) + 1).tolist(), len(bars)]
    for first, last in pairwise(cuts):
        yield day_of(int(bars.opens[first])), batch.slice(first, last - first)


def _origin(series: Series, day: date) -> Provenance:
    url = f"https://archive.invalid/{series.archive_path(day)}"
    return Provenance(Source.VISION, url, hashlib.sha256(url.encode()).hexdigest(), _NOW, verified=True)


def _write_parquet(path: Path, symbol: str, batches: list[pa.RecordBatch]) -> None:
    table = pa.Table.from_batches(batches)
    names = pa.array([symbol] * table.num_rows).dictionary_encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.add_column(0, "symbol", names), path, compression="zstd")


def _write_native(data: Data) -> None:
    with duckdb.connect(str(data.native)) as con:
        files = f"{data.parquet}/*/*.parquet"
        con.execute("SET enable_progress_bar = false")
        con.execute("CREATE TABLE bars AS SELECT * FROM read_parquet(?) ORDER BY symbol, open_time", [files])


def _write_together(data: Data) -> None:
    data.parquet_together.mkdir()
    months = sorted({file.name for file in data.parquet.glob("*/*.parquet")})
    for month in months:
        files = sorted(data.parquet.glob(f"*/{month}"))
        tables = [pq.read_table(file) for file in files]
        pq.write_table(pa.concat_tables(tables).unify_dictionaries(), data.parquet_together / month, compression="zstd")
