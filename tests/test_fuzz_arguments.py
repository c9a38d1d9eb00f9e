"""Whatever arrives as CSV, zip, JSON, day file, argument or setting: it is read, or refused by a `CkvdError`.

Nothing here asks a network; `CKVD_EXAMPLES` sets how many inputs each test tries.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ipc

import ckvd_sql
from ckvd_sql import CkvdError, Settings, errors
from ckvd_sql.cache.dayfile import Provenance
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.bars import BAR_SCHEMA, opens, read_archive, read_bars, read_rest
from ckvd_sql.market.query import parse_query
from ckvd_sql.market.series import DAY, INTERVALS, Market, Month, Series, day_start, parse_time
from ckvd_sql.sandbox import market_bars
from tests.support.bars import csv_text, zipped
from tests.support.examples import thorough, tries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from duckdb import DuckDBPyConnection

EXAMPLES = tries(60)

fuzz = thorough(EXAMPLES)

#: What has been tried so far, for `tests.system.soak`.
TRIED: Counter[str] = Counter()

SERIES = Series(Market.SPOT, "BTCUSDT", INTERVALS["1h"])
ON = date(2024, 1, 2)
START = day_start(ON)
NOW = parse_time("2024-06-15T12:00:30", "now")
URL = "http://127.0.0.1/fuzzed"
ROWS = [list(row) for row in market_bars(SERIES, START, START + DAY, NOW)]
CSV = csv_text(ROWS)
JSON = json.dumps(ROWS).encode()
MEMBER = f"{SERIES.archive_stem(ON)}.csv"
ZIP = zipped(MEMBER, CSV)
DAY_FILE = Path("binance/spot/BTCUSDT/1h/2024-01-02.arrow")

#: Cells that parsers trip over.
CELLS = st.one_of(
    st.sampled_from(
        [
            "",
            "nan",
            "-nan",
            "inf",
            "-inf",
            "1e309",
            "1e-400",
            "0x10",
            "+1",
            " 1",
            "1 ",
            "\u0661",
            "null",
            "None",
            "-0",
            "1_0",
        ]
    ),
    st.sampled_from(['"', '""', '"a', ",", "\n", "\r", "\x00", "\ufeff", "9" * 30, "-9223372036854775808", "1.5.2"]),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(repr),
    st.text(max_size=6),
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["BTCUSDT", "1h", "1M", "now", "2024-01-01", "spot", "../x", "a/b", "\x00", "0001-01-01", "9999-12-31"]
    ),
    st.datetimes().map(str),
    st.dates().map(str),
)

#: Anything that JSON can hold.
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def edited(draw: st.DrawFn, original: bytes) -> bytes:
    """The bytes with some changed, cut out, doubled or put in."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        much = draw(st.integers(1, 200))
        match draw(st.sampled_from(["flip", "flip", "set", "cut", "double", "insert", "truncate"])):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "set" if data:
                data[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 10, 44]))
            case "cut":
                del data[at : at + much]
            case "double":
                data[at:at] = data[at : at + much]
            case "insert":
                data[at:at] = draw(st.binary(max_size=20))
            case "truncate":
                del data[at:]
    return bytes(data)


@st.composite
def rows_with_strange_cells(draw: st.DrawFn) -> list[list[Any]]:
    """A day's rows, some cells replaced, some rows swapped, doubled, cut short or lengthened."""
    rows = [list(row) for row in ROWS[: draw(st.integers(1, 6))]]
    for _ in range(draw(st.integers(0, 4))):
        row = rows[draw(st.integers(0, len(rows) - 1))]
        at = draw(st.integers(0, len(row)))
        match draw(st.sampled_from(["cell", "cell", "shift", "drop", "add", "double", "swap"])):
            case "cell":
                row[at : at + 1] = [draw(CELLS)]
            case "shift":
                row[0] = int(ROWS[0][0]) + draw(st.integers(-(2 * DAY), 2 * DAY))
            case "drop":
                del row[at:]
            case "add":
                row.append(draw(CELLS))
            case "double":
                rows.append(list(row))
            case "swap":
                rows.reverse()
        if not row:
            rows.remove(row)
            rows.append(list(ROWS[0]))
    return rows


def assert_sound(bars: pa.RecordBatch) -> None:
    """What comes out of a parser is bars: sorted, each once, every value there and finite."""
    assert bars.schema.equals(BAR_SCHEMA)
    times = opens(bars)
    assert (times[1:] > times[:-1]).all()
    bars.validate(full=True)
    for row in bars.to_pylist():
        assert None not in row.values()
        assert all(value - value == 0 for value in row.values() if isinstance(value, float))


def read_zip(data: bytes, period: date | Month = ON) -> None:
    TRIED["bad inputs"] += 1
    try:
        days = read_archive(data, SERIES, period, URL)
    except CkvdError:
        return
    for day, bars in days.items():
        assert day == period or (isinstance(period, Month) and Month.of(day) == period)
        assert bars.num_rows
        assert_sound(bars)


def read_json(body: bytes) -> None:
    TRIED["bad inputs"] += 1
    for read in (read_rest, lambda body, url: read_bars(body, url, START, START + DAY, 1000)[0]):
        try:
            bars = read(body, URL)
        except CkvdError:
            continue
        assert_sound(bars)


class TestArchives:
    @fuzz
    @given(st.text(max_size=400).map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=400))
    def test_any_text_in_a_sound_zip(self, text: bytes) -> None:
        read_zip(zipped(MEMBER, text))

    @fuzz
    @given(edited(CSV))
    def test_a_csv_with_bytes_changed(self, text: bytes) -> None:
        read_zip(zipped(MEMBER, text))

    @fuzz
    @given(rows_with_strange_cells(), st.booleans(), st.sampled_from(["\n", "\r\n", "\r", "\n\n"]))
    def test_rows_with_strange_cells(self, rows: list[list[Any]], header: bool, line_end: str) -> None:
        text = csv_text(rows, header=header).decode(errors="surrogatepass").replace("\n", line_end)
        read_zip(zipped(MEMBER, text.encode("utf-8", "surrogatepass")))

    @fuzz
    @given(st.binary(max_size=300) | edited(ZIP))
    def test_any_bytes_for_a_zip(self, data: bytes) -> None:
        read_zip(data)
        read_zip(data, Month(2024, 1))

    @fuzz
    @given(
        st.lists(
            st.tuples(st.just(MEMBER) | st.text(min_size=1, max_size=20), st.just(CSV) | st.binary(max_size=50)),
            max_size=3,
        ),
        st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
    )
    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_any_members_in_a_zip(self, members: list[tuple[str, bytes]], method: int) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, text in members:
                with contextlib.suppress(UnicodeEncodeError):
                    archive.writestr(f"a{name}" if name.startswith("\x00") else name, text)
        read_zip(buffer.getvalue())


class TestRestAnswers:
    @fuzz
    @given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
    def test_any_bytes(self, body: bytes) -> None:
        read_json(body)

    @fuzz
    @given(VALUES | st.lists(st.lists(SCALARS, min_size=12, max_size=12), min_size=1, max_size=3))
    def test_any_json(self, value: object) -> None:
        read_json(json.dumps(value).encode())

    @fuzz
    @given(edited(JSON))
    def test_an_answer_with_bytes_changed(self, body: bytes) -> None:
        read_json(body)

    @fuzz
    @given(rows_with_strange_cells())
    def test_rows_with_strange_cells(self, rows: list[list[Any]]) -> None:
        read_json(json.dumps(rows).encode())

    @pytest.mark.parametrize("depth", [100, 100_000])
    def test_json_nested_without_end(self, depth: int) -> None:
        read_json(b"[" * depth)
        read_json(b'{"a":' * depth + b"1" + b"}" * depth)


# Day files.


def provenance() -> Provenance:
    return Provenance("vision", URL, "0" * 64, NOW)


@functools.cache
def day_file() -> bytes:
    """A sound day file."""
    with tempfile.TemporaryDirectory() as folder:
        store = DayStore(Path(folder))
        store.write(SERIES, ON, read_rest(JSON, URL), provenance())
        return store.path(SERIES, ON).read_bytes()


@pytest.fixture(scope="module")
def store() -> Iterator[DayStore]:
    with tempfile.TemporaryDirectory() as folder:
        yield DayStore(Path(folder))


def look(store: DayStore, data: bytes) -> int:
    """Put bytes in a day file's place and read them in every way; how often they were taken for the day."""
    TRIED["bad inputs"] += 1
    path = store.path(SERIES, ON)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    taken = 0
    for way in (store.read, store.describe, store.verify):
        ask: Callable[[Series, date], Any] = way
        try:
            found = ask(SERIES, ON)
        except CkvdError as error:
            if str(path) not in str(error):
                raise
            continue
        taken += 1
        if isinstance(found, pa.RecordBatch):
            found.to_pylist()
    return taken


class TestDayFiles:
    @fuzz
    @given(st.binary(max_size=400).flatmap(lambda data: st.sampled_from([data, b"ARROW1" + data + b"ARROW1"])))
    def test_any_bytes(self, store: DayStore, data: bytes) -> None:
        assert look(store, data) == 0

    @fuzz
    @given(st.data())
    def test_a_sound_file_with_bytes_changed(self, store: DayStore, data: st.DataObject) -> None:
        changed = data.draw(edited(day_file()))
        taken = look(store, changed)
        if taken == 3:
            assert changed == day_file()

    @fuzz
    @given(
        st.dictionaries(
            st.sampled_from(["ckvd.format", "ckvd.series", "ckvd.date", "ckvd.rows", "ckvd.body", "ckvd.fetched_at"]),
            st.sampled_from(["1", SERIES.key, str(ON), "0", "-1", "24", "99", "x", "", "\x00"]) | st.text(max_size=9),
        ),
        st.sampled_from([BAR_SCHEMA, pa.schema([("open_time", pa.string())]), pa.schema([])]),
        st.integers(0, 3),
    )
    def test_arrow_files_that_claim_anything(
        self, store: DayStore, said: dict[str, str], schema: pa.Schema, batches: int
    ) -> None:
        sink = pa.BufferOutputStream()
        with ipc.new_file(sink, schema.with_metadata(said)) as writer:
            for _ in range(batches):
                writer.write_batch(pa.RecordBatch.from_pylist([], schema=schema))
        look(store, sink.getvalue().to_pybytes())

    def test_a_file_damaged_at_random_does_not_end_the_process(self, tmp_path: Path) -> None:
        original = tmp_path / "day.arrow"
        original.write_bytes(day_file())
        ended = subprocess.run(
            [sys.executable, "-c", RESEALED, str(original), str(tmp_path / "cache"), str(10 * EXAMPLES)],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr[-2000:]


#: Damages a day file at random, and reads it. Arguments: the file, a folder, how often.
RESEALED = """
import pathlib, random, sys
from datetime import date
import pyarrow as pa
from ckvd_sql import CkvdError
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.series import INTERVALS, Market, Series

series, day = Series(Market.SPOT, "BTCUSDT", INTERVALS["1h"]), date(2024, 1, 2)
original = pathlib.Path(sys.argv[1]).read_bytes()
store = DayStore(pathlib.Path(sys.argv[2]))
path = store.path(series, day)
path.parent.mkdir(parents=True)
chance = random.Random(1)
for _ in range(int(sys.argv[3])):
    data = bytearray(original)
    for _ in range(chance.choice([1, 2, 4, 16])):
        data[chance.randrange(8, len(data) - 6)] = chance.choice([0, 1, 0x7F, 0x80, 0xFF])
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    for ask in (store.read, store.describe, store.verify):
        try:
            found = ask(series, day)
            if ask == store.read:
                found.validate()
                [float(column.view(pa.int64()).to_numpy().sum()) for column in found.columns]
        except CkvdError:
            pass
"""


# Arguments and settings.


@contextlib.contextmanager
def connected() -> Iterator[DuckDBPyConnection]:
    """A connection that asks nobody, on an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        opened = ckvd_sql.connect(cache_dir=folder, offline=True, now="2024-06-15")
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def con() -> Iterator[DuckDBPyConnection]:
    with connected() as opened:
        yield opened


#: The names by which an error in SQL shows that it is ours.
OURS = tuple(
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.CkvdError)
)

#: How DuckDB itself refuses values that no parameter can be, or that have no common type.
NO_PARAMETERS = (
    duckdb.BinderException,
    duckdb.ConversionException,
    duckdb.NotImplementedException,
    duckdb.OutOfRangeException,
    OverflowError,
    UnicodeEncodeError,
)


class TestArguments:
    @fuzz
    @given(VALUES | st.just("BTCUSDT"), VALUES | st.just("1h"), VALUES, VALUES, VALUES | st.just("spot"), VALUES)
    def test_any_value(
        self, symbol: object, interval: object, start: object, end: object, market: object, include_open: object
    ) -> None:
        TRIED["bad inputs"] += 1
        with contextlib.suppress(CkvdError):
            parse_query(symbol, interval, start, end, market, include_open, now=NOW)

    @fuzz
    @given(
        st.datetimes(timezones=st.none() | st.timezones()),
        st.datetimes(timezones=st.none() | st.timezones()) | st.just("now"),
        st.sampled_from(["1d", "3d", "1w", "1mo"]),
    )
    def test_any_time_of_the_calendar_names_days_or_is_refused(
        self, start: datetime, end: datetime | str, interval: str
    ) -> None:
        try:
            query = parse_query("BTCUSDT", interval, start, end, now=NOW)
        except CkvdError:
            return
        days = query.span.days(query.interval)
        assert next(iter(days), None) is None or query.span.start < query.span.end

    @pytest.mark.parametrize("start", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01"])
    def test_a_time_at_the_calendars_edge_names_days_or_is_refused(self, start: str) -> None:
        with contextlib.suppress(CkvdError):
            query = parse_query("BTCUSDT", "1mo", start, "now", now=NOW)
            list(query.span.days(query.interval))

    @fuzz
    @given(
        st.sampled_from(["ckvd_klines", "ckvd_plan", "ckvd_gaps"]),
        VALUES | st.just("BTCUSDT"),
        VALUES | st.just("1h"),
        SCALARS,
        SCALARS,
        SCALARS | st.just("spot"),
        SCALARS,
    )
    def test_any_argument_of_the_sql_functions(
        self,
        con: DuckDBPyConnection,
        name: str,
        symbol: object,
        interval: object,
        start: object,
        end: object,
        market: object,
        include_open: object,
    ) -> None:
        TRIED["bad inputs"] += 1
        arguments = [symbol, interval, start, end, market, include_open]
        with con.cursor() as cursor, contextlib.suppress(*NO_PARAMETERS):
            try:
                cursor.execute("SELECT to_json([" + ", ".join(f"to_json(${n + 1})" for n in range(6)) + "])", arguments)
            except duckdb.InvalidInputException:
                return  # DuckDB can't take such a value as a parameter at all
            call = f"EXPLAIN SELECT * FROM {name}($1, $2, $3, $4, market := $5, include_open := $6)"
            try:
                cursor.execute(call, arguments)
            except duckdb.InvalidInputException as error:
                if not any(f"{ours}: " in str(error) for ours in OURS):
                    raise

    @fuzz
    @given(st.text(max_size=80))
    def test_any_text_as_a_symbol_names_a_folder_below_the_cache_or_is_refused(self, text: str) -> None:
        try:
            query = parse_query(text, "1h", "2024-01-01", "2024-01-02", now=NOW)
        except CkvdError:
            return
        path = DayStore(Path("/cache")).path(query.series()[0], ON)
        assert path.resolve() == path
        assert path.parts[:5] == ("/", "cache", "binance", "spot", text)

    @pytest.mark.parametrize("symbol", ["𠮷" * 64, "币" * 64, "Z" * 64, "_" * 64])
    def test_a_symbol_of_the_greatest_length_makes_no_name_that_a_disk_refuses(
        self, con: DuckDBPyConnection, symbol: str
    ) -> None:
        with pytest.raises(duckdb.Error, match=r"(OfflineError|InvalidSymbolError): "):
            con.execute(f"SELECT * FROM ckvd_klines('{symbol}', '1h', '2024-01-01', '2024-01-02')").fetchall()


NAMES = ["cache_dir", "vision_url", "spot_url", "um_url", "cm_url", "checksum", "offline", "concurrency", "timeout"]


class TestSettings:
    @fuzz
    @given(st.dictionaries(st.sampled_from([*NAMES, "retries", "now", "other"]), VALUES, min_size=1, max_size=2))
    def test_any_value_is_taken_or_refused(self, given_: dict[str, Any]) -> None:
        TRIED["bad inputs"] += 1
        with contextlib.suppress(CkvdError):
            Settings.load(**given_)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("cache_dir", "~nobody-of-that-name/x"),
            ("cache_dir", "a\x00b"),
            ("concurrency", float("inf")),
            ("retries", float("nan")),
            pytest.param("timeout", 10**400, id="timeout-huge"),
            ("timeout", float("nan")),
            ("spot_url", 5),
            ("spot_url", "http://["),
            ("spot_url", "http://127.0.0.1:99999"),
            ("um_url", "file:///etc/passwd"),
            ("vision_url", "http://127.0.0.1:99999"),
            ("vision_url", "nosuch://bucket"),
            ("vision_url", "a\x00b"),
            ("checksum", ["strict"]),
            ("now", "infinity"),
        ],
    )
    def test_what_no_setting_can_be_is_refused_by_name(self, name: str, value: object) -> None:
        with pytest.raises(errors.SettingsError, match=name):
            Settings.load(**{name: value})
