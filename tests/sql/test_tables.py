"""The other SQL names: `ckvd_plan`, `ckvd_gaps`, `ckvd_symbols`, `ckvd_cache` and `ckvd_cache_days`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import httpx
import pytest

import ckvd_sql
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import DAY, HOUR, MINUTE
from ckvd_sql.market.series import Market
from ckvd_sql.sandbox import OUTAGES, SYMBOLS, Fault
from tests.support.bars import FIELDS, read, series
from tests.support.damage import writable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from ckvd_sql import CryptoKlineVisionData
    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import Truth

Gap = tuple[int, int, int]


def gaps(con: DuckDBPyConnection, *arguments: str, market: str = "spot") -> list[Gap]:
    query = f'SELECT epoch_us("from"), epoch_us("to"), count FROM ckvd_gaps{arguments}'
    return con.sql(f"{query[:-1]}, market := '{market}')").fetchall()


# ckvd_plan.


def test_the_plan_says_where_each_day_would_come_from(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    query = "SELECT strftime(date, '%d'), source, rows, bytes, path FROM ckvd_plan('BTCUSDT', '1h', '2024-06-13')"
    before = con.sql(query).fetchall()
    assert before == [("13", "vision", *[None] * 3), ("14", "vision", *[None] * 3), ("15", "rest", *[None] * 3)]
    assert not exchange.requests


def test_the_plan_names_the_file_of_a_cached_day(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    read(con, "ckvd_klines('BTCUSDT', '1h', '2024-06-13', '2024-06-14')")
    exchange.forget()
    first, second, _ = con.sql("FROM ckvd_plan('BTCUSDT', '1h', '2024-06-13')").fetchall()
    assert (first[0], str(first[1]), *first[2:4]) == ("BTCUSDT", "2024-06-13", "cache", 24)
    assert Path(first[5]).stat().st_size == first[4]
    assert second[2] == "vision"
    assert not exchange.requests


def test_the_plan_shows_unlisted_days_once_the_listing_is_known(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    query = "SELECT DISTINCT source FROM ckvd_plan('1000SATSUSDT', '1h', '2023-12-01', '2023-12-13') ORDER BY ALL"
    assert con.sql(query).fetchall() == [("vision",)]
    con.sql("FROM ckvd_klines('1000SATSUSDT', '1h', '2023-12-01', '2023-12-13')").fetchall()
    exchange.forget()
    assert con.sql(query).fetchall() == [("cache",), ("unlisted",)]
    assert not exchange.requests


def test_the_plan_of_several_symbols_has_a_row_per_symbol_and_day(con: DuckDBPyConnection) -> None:
    rows = con.sql(
        "SELECT symbol, date::VARCHAR FROM ckvd_plan(['B', 'A'], '1d', '2024-06-01', '2024-06-03')"
    ).fetchall()
    assert rows == [(symbol, f"2024-06-0{day}") for symbol in "BA" for day in (1, 2)]


# ckvd_gaps.


def test_an_outage_is_one_gap_of_minutes(con: DuckDBPyConnection) -> None:
    outage = next(one for one in OUTAGES if one.start == parse_time("2023-03-24T12:40", "time"))
    found = gaps(con, "BTCUSDT", "1m", "2023-03-24", "2023-03-25")
    assert found == [(outage.start, outage.end, (outage.end - outage.start) // MINUTE)]


def test_an_outage_is_a_gap_of_the_hours_without_any_bar(con: DuckDBPyConnection) -> None:
    thirteen = parse_time("2023-03-24T13:00", "time")
    assert gaps(con, "BTCUSDT", "1h", "2023-03-23", "2023-03-26") == [(thirteen, thirteen + HOUR, 1)]
    assert gaps(con, "BTCUSDT", "1d", "2023-03-23", "2023-03-26") == []


@pytest.mark.parametrize("span", [("2020-06-28T03:00", "2020-06-28T04:00"), ("2020-06-28T02:30", "2020-06-28T04:30")])
def test_a_gap_is_cut_to_the_range(con: DuckDBPyConnection, span: tuple[str, str]) -> None:
    first, last = (parse_time(text, "time") for text in span)
    start, end = -(-first // HOUR) * HOUR, -(-last // HOUR) * HOUR
    assert gaps(con, "BTCUSDT", "1h", *span) == [(start, end, (end - start) // HOUR)]


def test_a_complete_range_has_no_gap_up_to_the_forming_bar(con: DuckDBPyConnection) -> None:
    for interval in ("1h", "1d", "1w", "1mo"):
        assert con.sql(f"FROM ckvd_gaps('BTCUSDT', '{interval}', '2024-05-01')").fetchall() == []


@pytest.mark.parametrize("interval", ["1m", "1h", "1d", "1w"])
@pytest.mark.parametrize(
    ("market", "symbol"), [("spot", "1000SATSUSDT"), ("um", "SOLUSDT"), ("cm", "ETHUSD_PERP"), ("spot", "BTCUSDT")]
)
@pytest.mark.parametrize("days_before", [0, 3])
def test_times_before_the_listing_are_no_gap(
    con: DuckDBPyConnection, interval: str, market: str, symbol: str, days_before: int
) -> None:
    listed = next(one.listed for one in SYMBOLS[Market(market)] if one.symbol == symbol)
    start, end = ((listed // DAY + offset) * DAY for offset in (-days_before, 2))
    span = [f"{text:%Y-%m-%d}" for (text,) in con.sql(f"SELECT make_timestamp(unnest([{start}, {end}]))").fetchall()]
    assert gaps(con, symbol, interval, *span, market=market) == []


def test_everything_after_the_last_bar_of_a_delisted_symbol_is_a_gap(con: DuckDBPyConnection) -> None:
    last = parse_time("2022-05-13T01:00", "time")
    end = parse_time("2022-05-15", "time")
    assert gaps(con, "LUNAUSDT", "1h", "2022-05-12", "2022-05-15") == [(last, end, (end - last) // HOUR)]


def test_bars_missing_from_the_archive_come_from_rest_and_are_no_gap(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth
) -> None:
    exchange.add(Fault(r"2024-06-01\.zip", "status", status=404))
    assert gaps(con, "BTCUSDT", "1h", "2024-06-01", "2024-06-02") == []
    assert read(con, "ckvd_klines('BTCUSDT', '1h', '2024-06-01', '2024-06-02')") == truth(
        "BTCUSDT", "1h", "2024-06-01", "2024-06-02"
    )


def test_gaps_have_their_columns_and_types(con: DuckDBPyConnection) -> None:
    time = "TIMESTAMP WITH TIME ZONE"
    assert [row[:2] for row in con.sql("DESCRIBE FROM ckvd_gaps('BTCUSDT', '1h', '2024-06-01')").fetchall()] == [
        ("symbol", "VARCHAR"),
        ("from", time),
        ("to", time),
        ("count", "BIGINT"),
    ]


# ckvd_symbols.


@pytest.mark.parametrize("market", Market)
def test_the_symbols_of_a_market_are_those_of_the_exchange(
    con: DuckDBPyConnection, exchange: Sandbox, market: Market
) -> None:
    route = {"spot": "/api/v3", "um": "/fapi/v1", "cm": "/dapi/v1"}[market.value]
    listed = httpx.get(f"{exchange.url}{route}/exchangeInfo").json()["symbols"]
    expected = {(one["symbol"], one["baseAsset"], one["quoteAsset"]) for one in listed}
    found = con.sql(f"FROM ckvd_symbols(market := '{market}')").fetchall()
    assert {row[:3] for row in found} == expected
    assert len(found) == len(expected)


def test_a_delisted_symbol_is_listed_as_such(con: DuckDBPyConnection) -> None:
    query = "SELECT status FROM ckvd_symbols() WHERE symbol = 'LUNAUSDT'"
    assert con.sql(query).fetchall() == [("BREAK",)]


def test_a_malformed_symbol_list_is_an_error_in_one_sentence(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    exchange.add(Fault("exchangeInfo", "html"))
    exchange.add(Fault(r"^/\?", "html"))
    with pytest.raises(duckdb.Error, match="MalformedDataError") as error:
        con.sql("FROM ckvd_symbols()").fetchall()
    assert "Traceback" not in str(error.value)


def test_an_invalid_market_is_refused(con: DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.Error, match="InvalidMarketError"):
        con.sql("FROM ckvd_symbols('margin')")


# ckvd_cache and ckvd_cache_days.


@pytest.fixture
def filled(con: DuckDBPyConnection, client: CryptoKlineVisionData, exchange: Sandbox) -> DuckDBPyConnection:
    client.fetch(["BTCUSDT", "ETHUSDT"], "2024-06-01", "2024-06-04")
    client.fetch("BTCUSDT", "2024-06-01", "2024-06-03", "4h")
    client.fetch("BTCUSDT", "2024-06-01", "2024-06-03", "1h", "um")
    client.fetch("BTCUSD_PERP", "2024-04-01", "2024-06-01", "1mo", "cm")
    exchange.forget()
    return con


def test_the_cache_has_the_bars_of_ckvd_klines(filled: DuckDBPyConnection, truth: Truth) -> None:
    where = "market = 'spot' AND interval = '1h' AND symbol = 'BTCUSDT'"
    assert read(filled, f"ckvd_cache WHERE {where}") == truth("BTCUSDT", "1h", "2024-06-01", "2024-06-04")
    assert read(filled, "ckvd_cache WHERE market = 'cm'") == truth(
        "BTCUSD_PERP", "1mo", "2024-04-01", "2024-06-01", "cm"
    )


@pytest.mark.parametrize(
    "condition",
    [
        "provider = 'binance'",
        "provider <> 'binance'",
        "market = 'um'",
        "market IN ('um', 'cm')",
        "market > 'd' AND symbol LIKE 'E%'",
        "symbol = 'ETHUSDT' OR interval = '1mo'",
        "interval = '4h'",
        "interval NOT IN ('1h', '4h')",
        "date = '2024-06-02'",
        "date BETWEEN '2024-05-01' AND '2024-06-01'",
        "date > DATE '2024-06-02' AND open_time < '2024-06-03 05:00+00'",
        "date IS NULL",
        "open_time >= '2024-06-01 05:00+00' AND open_time < '2024-06-02 07:00+00'",
        "NOT (open_time > '2024-06-01 05:00+00')",
        "close > 50000 AND trades % 2 = 0",
        "date <> open_time::DATE",
        "false",
    ],
)
def test_a_filtered_cache_has_the_rows_of_a_copy(filled: DuckDBPyConnection, exchange: Sandbox, condition: str) -> None:
    filled.execute("CREATE TABLE copy AS FROM ckvd_cache")
    found, expected = (
        filled.sql(f"FROM {table} WHERE {condition} ORDER BY ALL").fetchall() for table in ("ckvd_cache", "copy")
    )
    assert found == expected
    filled.execute("CREATE TABLE days AS FROM ckvd_cache_days")
    if not any(word in condition for word in ("open_time", "close")):
        found, expected = (
            filled.sql(f"FROM {table} WHERE {condition} ORDER BY ALL").fetchall()
            for table in ("ckvd_cache_days", "days")
        )
        assert found == expected
    assert not exchange.requests


def test_counting_the_cache_needs_no_column(filled: DuckDBPyConnection) -> None:
    whole = len(filled.sql("FROM ckvd_cache").fetchall())
    assert filled.sql("SELECT count(*) FROM ckvd_cache").fetchall() == [(whole,)]
    assert filled.sql("SELECT sum(rows) FROM ckvd_cache_days").fetchall() == [(whole,)]


def test_cached_days_match_the_metadata_of_their_files(filled: DuckDBPyConnection, settings: dict[str, Any]) -> None:
    store = DayStore(settings["cache_dir"])
    query = "SELECT * REPLACE (epoch_us(fetched_at) AS fetched_at, date::VARCHAR AS date) FROM ckvd_cache_days"
    names = [row[0] for row in filled.sql("DESCRIBE FROM ckvd_cache_days").fetchall()]
    found = [dict(zip(names, row, strict=True)) for row in filled.sql(query).fetchall()]
    files = sorted(settings["cache_dir"].rglob("*.arrow"))
    assert sorted(day["path"] for day in found) == [str(path) for path in files]
    for day in found:
        path = Path(day["path"])
        of = series(day["market"], day["symbol"], day["interval"])
        stored = store.describe(of, next(one for one in store.days(of) if str(one) == day["date"]))
        assert path == stored.path
        assert (day["rows"], day["bytes"]) == (stored.rows, path.stat().st_size)
        origin = stored.provenance
        assert (day["source"], day["url"], day["fetched_at"]) == (origin.source, origin.url, origin.fetched_at)
        assert day["sha256"] == (origin.sha256 or None)


def test_the_hash_and_url_of_an_archived_day_match_the_archive(filled: DuckDBPyConnection) -> None:
    query = "SELECT DISTINCT url, sha256 FROM ckvd_cache_days WHERE source = 'vision'"
    for url, sha256 in filled.sql(query).fetchall():
        assert hashlib.sha256(httpx.get(url).content).hexdigest() == sha256


def test_a_damaged_file_is_skipped_in_the_cache(
    filled: DuckDBPyConnection, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    path = settings["cache_dir"] / "binance/spot/BTCUSDT/1h/2024-06-02.arrow"
    writable(path).write_bytes(b"damaged")
    where = "WHERE market = 'spot' AND interval = '1h' AND symbol = 'BTCUSDT'"
    assert filled.sql(f"SELECT count(*) FROM ckvd_cache {where}").fetchall() == [(48,)]
    assert filled.sql(f"SELECT count(*) FROM ckvd_cache_days {where}").fetchall() == [(2,)]
    assert str(path) in caplog.text


def test_a_missing_cache_folder_is_an_empty_cache(settings: dict[str, Any], tmp_path: Path) -> None:
    con = ckvd_sql.connect(**{**settings, "cache_dir": tmp_path / "nowhere"})
    assert con.sql(f"SELECT {FIELDS} FROM ckvd_cache").fetchall() == []
    assert con.sql("FROM ckvd_cache_days").fetchall() == []
    con.close()
    assert not (tmp_path / "nowhere").exists()
