"""The day store: one Arrow IPC file per series and UTC day, complete or not there at all.

`{root}/binance/{market}/{symbol}/{interval}/{date}.arrow`, uncompressed, so that a mapped file is a record batch
without a copy. A file says in its schema metadata what it holds and where that came from; what does not read back
as exactly that is damaged and no answer. This module decides nothing about what to fetch.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import mmap
import os
import shutil
import stat
import time
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from filelock import AsyncFileLock, FileLock
from pyarrow import ipc

from ckvd_sql.bars import BAR_SCHEMA, opens
from ckvd_sql.errors import CacheError
from ckvd_sql.market import DAY, INTERVALS, PROVIDER, Market, Series, day_of, day_start, moment_of, parse_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from ckvd_sql.market import Month, Period

FORMAT = "1"
SUFFIX = ".arrow"

_MAGIC = b"ARROW1"
_SEAL = b"seal:"
_UNSEALED = _SEAL + b"0" * 16
_STREAM_AT = 8  # the magic and its padding; from here on the file is an IPC stream
_LOCKS = 256  # lock files are shared by hash, so that their number stays bounded
_WRITE_LOCKS = 32

_MOST_ROWS = 10 * 86_400  # no day has more bars than this

_SMALL = 32_768  # bytes; below this, reading a file is cheaper than mapping it
_JOINED_ROWS = 512  # days with fewer rows are joined, for each batch costs DuckDB some microseconds
_MAPPED_DAYS = 20_000  # a process may hold some 65,000 maps
_JOINED_BYTES = 100_000_000
_SNAPSHOTS = 256
_CLOCK_TICK = 50_000_000  # ns; a folder that changed just now may change again within the same file system time

_UNREADABLE = (ValueError, KeyError, EOFError, OSError, TypeError, pa.ArrowException)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a day's bars came from.

    Attributes:
        source: `vision` or `rest`.
        url: What was asked.
        sha256: The archive's SHA-256 in hex; empty for REST.
        fetched_at: When, in microseconds since the epoch.
        checksum: `verified`, or `unverified` where the user let a wrong one pass; empty for REST.
        gaps: What REST said of the bars that an archived day lacks: `confirmed`, or `unconfirmed` where it could
            not say; empty where none lack, and for REST.
    """

    source: str
    url: str
    sha256: str
    fetched_at: int
    checksum: str = ""
    gaps: str = ""


@dataclass(frozen=True, slots=True)
class DayFile:
    """A day file and what it says of itself; `size` is in bytes."""

    series: Series
    day: date
    path: Path
    rows: int
    size: int
    provenance: Provenance


class Snapshot:
    """A series' folder as it was at one look: its days, and what of them has been read since.

    Args:
        store: Where the days are read.
        series: The series.
        days: The days that have a file.
    """

    def __init__(self, store: DayStore, series: Series, days: frozenset[date]) -> None:
        self.days = days
        self._store = store
        self._series = series
        self._mapped: dict[date, pa.RecordBatch] = {}
        self._tables: dict[tuple[Month, ...], pa.Table] = {}
        self._whole: dict[Month, bool] = {}

    def read(self, day: date) -> pa.RecordBatch:
        """A day's bars, as `DayStore.read`; a large day is mapped once."""
        bars = self._mapped.get(day)
        if bars is None:
            bars = self._store.read(self._series, day)
            if bars.nbytes > _SMALL:
                self._mapped[day] = bars
                self._store.note(maps=1)
        return bars

    def holds(self, month: Month) -> bool:
        """Whether every day of a month is here."""
        whole = self._whole.get(month)
        if whole is None:
            whole = self._whole[month] = self.days.issuperset(month.days())
        return whole

    def table(self, months: tuple[Month, ...]) -> pa.Table:
        """The bars of months that are here whole, read once. Raises as `DayStore.read`."""
        table = self._tables.get(months)
        if table is None:
            table = join([self.read(day) for month in months for day in month.days()])
            self._tables[months] = table
            self._store.note(joined=0 if self._mapped else table.nbytes)
        return table


class DayStore:
    """The day files below one folder. Safe for any number of threads and processes.

    Args:
        root: The cache folder; it is made when the first day is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._snapshots: OrderedDict[Series, tuple[int, Snapshot]] = OrderedDict()
        self._locks = root / ".locks"
        self._maps = 0
        self._joined = 0

    def folder(self, series: Series) -> Path:
        """The folder of a series' day files."""
        return self.root / series.key

    def path(self, series: Series, day: date) -> Path:
        """Where a day's file is, or would be."""
        return self.folder(series) / f"{day}{SUFFIX}"

    def days(self, series: Series) -> frozenset[date]:
        """The days that have a file, unread."""
        return self.snapshot(series).days

    def snapshot(self, series: Series) -> Snapshot:
        """The series' folder as it is now.

        A file comes and goes by a rename, which changes the folder's time; so one `stat` tells whether an earlier
        look still holds, and the days that were mapped then are still the files'.
        """
        folder = f"{self.root}/{series.key}"
        try:
            changed = os.stat(folder).st_mtime_ns  # noqa: PTH116 (on the hot path)
            known = self._snapshots.get(series)
            if known and known[0] == changed:
                return known[1]
            names = os.listdir(folder)  # noqa: PTH208 (names are all that is wanted)
        except OSError:  # not there, or not ours to read
            return Snapshot(self, series, frozenset())
        found = Snapshot(self, series, frozenset(day for name in names if (day := _named_day(name))))
        if time.time_ns() - changed > _CLOCK_TICK:
            self._snapshots[series] = (changed, found)
            with contextlib.suppress(KeyError):  # another thread may be as far
                while len(self._snapshots) > _SNAPSHOTS:
                    self._snapshots.popitem(last=False)
        return found

    def note(self, *, maps: int = 0, joined: int = 0) -> None:
        """Count what a snapshot keeps; when it is too much in all, every snapshot is let go."""
        self._maps += maps
        self._joined += joined
        if self._maps > _MAPPED_DAYS or self._joined > _JOINED_BYTES:
            self._maps = self._joined = 0
            self._snapshots.clear()

    def knows(self, series: Series) -> bool:
        """Whether any day of the series is here with a bar in it."""
        for day in self.days(series):
            with contextlib.suppress(CacheError, FileNotFoundError):
                if self.describe(series, day).rows:
                    return True
        return False

    def read(self, series: Series, day: date) -> pa.RecordBatch:
        """A day's bars, mapped: the batch's memory is the file's.

        Raises:
            FileNotFoundError: The day is not here.
            CacheError: The file is torn, foreign, damaged or another day's.
        """
        path = f"{self.root}/{series.key}/{day}{SUFFIX}"
        content = _content(path)
        try:
            head, body = _messages(content)
            rows = int(_said(ipc.read_schema(head), series, day)[b"ckvd.rows"])
            if not body.metadata.equals(_layout(rows)):
                raise ValueError("its bars are laid out otherwise than it says")
            bars = ipc.read_record_batch(body, BAR_SCHEMA)
            _check_rows(bars, day)
        except _UNREADABLE as error:
            raise CacheError(f"day file {path} can't be used: {error}", path) from error
        return bars

    def describe(self, series: Series, day: date) -> DayFile:
        """What a day's file says of itself, read from its head. Raises as `read` does."""
        path = self.path(series, day)
        content = _content(str(path))
        try:
            schema = ipc.read_schema(_messages(content)[0])
            said = {key.decode(): value.decode() for key, value in _said(schema, series, day).items()}
            provenance = Provenance(
                said["ckvd.source"],
                said["ckvd.url"],
                said["ckvd.sha256"],
                parse_time(said["ckvd.fetched_at"], "fetched_at"),
                said["ckvd.checksum"],
                said["ckvd.gaps"],
            )
            return DayFile(series, day, path, int(said["ckvd.rows"]), content.size, provenance)
        except _UNREADABLE as error:
            raise CacheError(f"day file {path} can't be used: {error}", str(path)) from error

    def write(self, series: Series, day: date, bars: pa.RecordBatch, provenance: Provenance) -> None:
        """Keep a complete day. The file appears whole or not at all. Raises `OSError` where the disk refuses."""
        metadata = {
            "ckvd.format": FORMAT,
            "ckvd.series": series.key,
            "ckvd.date": str(day),
            "ckvd.source": provenance.source,
            "ckvd.url": provenance.url,
            "ckvd.sha256": provenance.sha256,
            "ckvd.fetched_at": moment_of(provenance.fetched_at).isoformat(),
            "ckvd.checksum": provenance.checksum,
            "ckvd.gaps": provenance.gaps,
            "ckvd.rows": str(bars.num_rows),
            "ckvd.body": body_hash(bars),
            "ckvd.seal": _UNSEALED.decode(),
        }
        sink = pa.BufferOutputStream()
        with ipc.new_file(sink, BAR_SCHEMA.with_metadata(metadata)) as writer:
            writer.write_batch(_compact(bars))
        _write_whole(self.path(series, day), _sealed(sink.getvalue()), self._write_lock(series, day))

    def verify(self, series: Series, day: date) -> DayFile:
        """Hold every byte of a day's file against what the file says. Raises as `read` does.

        Head and foot are under the seal that every read looks at; here the bars' values are added up too.
        """
        path, bars = self.path(series, day), self.read(series, day)
        try:
            said = _said(ipc.read_schema(_messages(_content(str(path)))[0]), series, day)
            if said[b"ckvd.body"].decode() != body_hash(bars):
                raise ValueError("its bars are not those that were written")
            times = opens(bars)
            if not (times[1:] > times[:-1]).all():
                raise ValueError("its bars are not in order")
        except _UNREADABLE as error:
            raise CacheError(f"day file {path} can't be used: {error}", str(path)) from error
        return self.describe(series, day)

    def set_aside(self, series: Series, day: date) -> None:
        """Move a damaged file out of the way, so that the day can be fetched again. One is kept for a look."""
        path = self.path(series, day)
        aside = path.with_suffix(".damaged")
        with contextlib.suppress(OSError):
            if aside.is_dir() and not aside.is_symlink():
                shutil.rmtree(aside)
            else:
                aside.unlink(missing_ok=True)
            path.replace(aside)

    def listed(self, series: Series) -> int | None:
        """The open time of the series' first bar, where it has been learnt."""
        try:
            return parse_time(self._listing(series).read_text(), "listed")
        except (OSError, ValueError):
            return None

    def remember_listed(self, series: Series, first_open: int) -> None:
        """Note the open time of the series' first bar, so that the days before it are never asked for."""
        with contextlib.suppress(OSError):  # what can't be noted is asked again
            said = moment_of(first_open).isoformat().encode()
            _write_whole(self._listing(series), said, self._write_lock(series, day_of(first_open)))

    def series(self) -> Iterator[Series]:
        """Every series that has a folder, in order, from the folders' names alone."""
        provider = self.root / PROVIDER
        for market in Market:
            for symbol in _folders(provider / market.value):
                names = _folders(provider / market.value / symbol)
                yield from (Series(market, symbol, interval) for name, interval in INTERVALS.items() if name in names)

    @contextlib.asynccontextmanager
    async def lock(self, series: Series, period: Period) -> AsyncIterator[None]:
        """One fetcher at a time for a period of a series, among all threads and processes on this cache.

        Where the lock can't be had because of the disk, nothing can be shared either, and there is none.
        """
        name = f"{zlib.crc32(f'{series.key}/{period}'.encode()) % _LOCKS:03d}.lock"
        async with contextlib.AsyncExitStack() as stack:
            with contextlib.suppress(OSError):
                self._locks.mkdir(parents=True, exist_ok=True)
                await stack.enter_async_context(AsyncFileLock(self._locks / name, poll_interval=0.02))
            yield

    def _write_lock(self, series: Series, day: date) -> FileLock:
        """One writer at a time for a day; held for one write, and by nobody who waits for another lock."""
        self._locks.mkdir(parents=True, exist_ok=True)
        number = zlib.crc32(f"{series.key}/{day}".encode()) % _WRITE_LOCKS
        return FileLock(self._locks / f"write-{number:02d}.lock", poll_interval=0.002)

    def _listing(self, series: Series) -> Path:
        return self.folder(series) / ".listed"


def join(days: list[pa.RecordBatch]) -> pa.Table:
    """Days as one table: large ones as they are, small ones in one piece."""
    table = pa.Table.from_batches(days, schema=BAR_SCHEMA)
    return table.combine_chunks() if table.num_rows < _JOINED_ROWS * len(days) else table


def body_hash(bars: pa.RecordBatch) -> str:
    """SHA-256 of the values, column after column; every column is eight bytes a row."""
    digest = hashlib.sha256()
    for column in bars.columns:
        digest.update(column.view(pa.int64()).to_numpy(zero_copy_only=True))
    return digest.hexdigest()


def _content(path: str) -> pa.Buffer:
    """A day file's bytes: mapped, or read where it is so small that mapping costs more. Both ends are looked at."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe in its place must not be waited for
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise CacheError(f"day file {path} can't be used: it is no file", path)
            size = status.st_size
            data = os.read(file, size) if size <= _SMALL else mmap.mmap(file, size, access=mmap.ACCESS_READ)
        finally:
            os.close(file)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise CacheError(f"day file {path} can't be read: {error}", path) from error
    if data[: len(_MAGIC)] != _MAGIC or data[-len(_MAGIC) :] != _MAGIC:
        raise CacheError(f"day file {path} can't be used: it is not a whole Arrow file", path)
    return pa.py_buffer(data)


def _messages(content: pa.Buffer) -> tuple[ipc.Message, ipc.Message]:
    """The two messages of a day file, schema and bars, if the seal over everything but the bars' values holds."""
    first, second, head, foot = _taken_apart(content)
    seal = head.find(_SEAL)
    stated = head[seal : seal + len(_UNSEALED)]
    if seal < 0 or stated != _seal(head.replace(stated, _UNSEALED), foot.replace(stated, _UNSEALED)):
        raise ValueError("its head or foot is damaged")
    return first, second


def _taken_apart(content: pa.Buffer) -> tuple[ipc.Message, ipc.Message, bytes, bytes]:
    """A day file's two messages, and its bytes before and behind the bars' values."""
    stream = pa.BufferReader(content.slice(_STREAM_AT))
    first, second = ipc.read_message(stream), ipc.read_message(stream)
    end = _STREAM_AT + stream.tell()
    return first, second, content[: end - second.body.size].to_pybytes(), content[end:].to_pybytes()


def _seal(head: bytes, foot: bytes) -> bytes:
    """The seal over head and foot, in which its own place is empty."""
    return _SEAL + hashlib.blake2b(head + foot, digest_size=8).hexdigest().encode()


def _sealed(content: pa.Buffer) -> bytes:
    """A day file with its seal in the metadata, which stands in its head and again in its foot."""
    _, second, head, foot = _taken_apart(content)
    seal = _seal(head, foot)
    values = content[len(head) : len(head) + second.body.size]
    return b"".join((head.replace(_UNSEALED, seal), values, foot.replace(_UNSEALED, seal)))


def _said(schema: pa.Schema, series: Series, day: date) -> dict[bytes, bytes]:
    """What a day file says of itself, if it is this day's and in this format."""
    metadata: dict[bytes, bytes] = schema.metadata or {}
    found = tuple(metadata.get(key, b"").decode() for key in (b"ckvd.format", b"ckvd.series", b"ckvd.date"))
    wanted = (FORMAT, series.key, str(day))
    if found != wanted:
        raise ValueError(f"it says it is {' '.join(found).strip() or 'nothing'}, not {' '.join(wanted)}")
    if not schema.equals(BAR_SCHEMA):
        raise ValueError("its columns are not those of a day file")
    return metadata


def _compact(bars: pa.RecordBatch) -> pa.RecordBatch:
    """The bars in buffers of just their size: Arrow writes what lies behind a slice into its padding."""
    arrays = [
        pa.Array.from_buffers(
            column.type,
            len(column),
            [None, pa.py_buffer(column.view(pa.int64()).to_numpy(zero_copy_only=True).tobytes())],
        )
        for column in bars.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=BAR_SCHEMA)


@functools.lru_cache(maxsize=64)
def _layout(rows: int) -> pa.Buffer:
    """The head of a message with this many bars. It says where the values lie, and Arrow trusts it blindly."""
    if not 0 <= rows <= _MOST_ROWS:
        raise ValueError(f"it says it has {rows} rows")
    zeros = pa.array(np.zeros(rows, dtype=np.int64))
    bars = pa.RecordBatch.from_arrays([zeros.view(field.type) for field in BAR_SCHEMA], schema=BAR_SCHEMA)
    return ipc.read_message(bars.serialize()).metadata


def _check_rows(bars: pa.RecordBatch, day: date) -> None:
    """The rows open from first to last within their day."""
    begin, rows = day_start(day), bars.num_rows
    times = bars.column("open_time")
    if rows and not begin <= times[0].value <= times[rows - 1].value < begin + DAY:
        raise ValueError("its bars are of another day")


def _write_whole(path: Path, data: bytes, lock: FileLock) -> None:
    """Write through a temporary name that is the same each time, so that a killed writer leaves at most one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with lock:
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def _named_day(name: str) -> date | None:
    stem, dot, ending = name.partition(".")
    if dot + ending != SUFFIX or len(stem) != len("2024-01-01"):
        return None
    try:
        return date.fromisoformat(stem)
    except ValueError:
        return None


def _folders(path: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
