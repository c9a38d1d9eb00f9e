"""Random arguments and settings: each is accepted, or refused with a `CkvdError`.

No test here uses a network; `CKVD_EXAMPLES` sets how many inputs each test tries.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ckvd_sql
from ckvd_sql import CkvdError, Settings, errors
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.query import parse_query
from tests.support.examples import TRIED
from tests.support.fuzz import DATE, NOW, SCALARS, VALUES, fuzz

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from duckdb import DuckDBPyConnection


@pytest.fixture(scope="module")
def con() -> Iterator[DuckDBPyConnection]:
    """An offline connection on an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        opened = ckvd_sql.connect(cache_dir=folder, offline=True, now="2024-06-15")
        yield opened
        opened.close()


#: The names of the package's errors, which an SQL error begins with.
ERROR_NAMES = tuple(
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.CkvdError)
)

#: DuckDB's own errors for values that can't be parameters or have no common type.
NOT_A_PARAMETER = (
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
    def test_any_value_of_an_argument(
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
    def test_any_datetime_gives_days_or_is_refused(self, start: datetime, end: datetime | str, interval: str) -> None:
        try:
            query = parse_query("BTCUSDT", interval, start, end, now=NOW)
        except CkvdError:
            return
        days = query.interval.days_in(query.span)
        assert next(iter(days), None) is None or query.span.start < query.span.end

    @pytest.mark.parametrize("start", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01"])
    def test_a_time_at_the_edge_of_the_calendar_gives_days_or_is_refused(self, start: str) -> None:
        with contextlib.suppress(CkvdError):
            query = parse_query("BTCUSDT", "1mo", start, "now", now=NOW)
            list(query.interval.days_in(query.span))

    @fuzz
    @given(
        st.sampled_from(["ckvd_klines", "ckvd_plan", "ckvd_gaps", "ckvd_audit"]),
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
        with con.cursor() as cursor, contextlib.suppress(*NOT_A_PARAMETER):
            try:
                cursor.execute("SELECT to_json([" + ", ".join(f"to_json(${n + 1})" for n in range(6)) + "])", arguments)
            except duckdb.InvalidInputException:
                return  # DuckDB accepts no such value as a parameter
            flag = "remote" if name == "ckvd_audit" else "include_open"
            call = f"EXPLAIN SELECT * FROM {name}($1, $2, $3, $4, market := $5, {flag} := $6)"
            try:
                cursor.execute(call, arguments)
            except duckdb.InvalidInputException as error:
                if not any(f"{name}: " in str(error) for name in ERROR_NAMES):
                    raise

    @fuzz
    @given(st.text(max_size=80))
    def test_any_text_as_a_symbol_gives_a_folder_below_the_cache_or_is_refused(self, text: str) -> None:
        try:
            query = parse_query(text, "1h", "2024-01-01", "2024-01-02", now=NOW)
        except CkvdError:
            return
        path = DayStore(Path("/cache")).path(query.series()[0], DATE)
        assert path.resolve() == path
        assert path.parts[:4] == ("/", "cache", "binance", "spot")
        assert path.parts[4] in (text, re.sub("[/-]", "", text.upper()))

    @pytest.mark.parametrize("symbol", ["𠮷" * 64, "币" * 64, "Z" * 64, "_" * 64])
    def test_a_symbol_of_maximum_length_gives_a_valid_file_name(self, con: DuckDBPyConnection, symbol: str) -> None:
        with pytest.raises(duckdb.Error, match=r"(OfflineError|InvalidSymbolError): "):
            con.execute(f"SELECT * FROM ckvd_klines('{symbol}', '1h', '2024-01-01', '2024-01-02')").fetchall()


NAMES = ["cache_dir", "vision_url", "spot_url", "um_url", "cm_url", "checksum", "offline", "concurrency", "timeout"]


class TestSettings:
    @fuzz
    @given(st.dictionaries(st.sampled_from([*NAMES, "retries", "now", "other"]), VALUES, min_size=1, max_size=2))
    def test_any_value_is_accepted_or_refused(self, given_: dict[str, Any]) -> None:
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
    def test_an_invalid_setting_is_refused_by_its_name(self, name: str, value: object) -> None:
        with pytest.raises(errors.SettingsError, match=name):
            Settings.load(**{name: value})
