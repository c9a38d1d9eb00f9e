"""Recorded Binance data through SQL, to the last digit. Expected values are parsed from the text of the source.

The data is in a folder beside the checkout (../shared/real) and is served unchanged by a stand-in server; without it,
these tests are skipped.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

import ckvd_sql
from ckvd_sql.market.periods import DAY, HOUR, Month, day_of, day_start, moment_of
from tests.support.bars import Bar, Row, bars, csv_rows, csv_text, read, series
from tests.support.real import GOLDEN, REAL, RECORDED, golden_rows, monthly_csv
from tests.support.stand_in import ROUTES, StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from duckdb import DuckDBPyConnection

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real Binance data is not at {REAL}")

NOW = "2025-02-15T12:00:00"
NEW_YEAR = [date(2020, 1, day) for day in (1, 2, 3)]
NEW_YEAR_CALL = "ckvd_klines('BTCUSDT', '1m', '2020-01-01', '2020-01-04')"


@pytest.fixture
def binance() -> Iterator[StandIn]:
    with StandIn(REAL / "vision") as binance:
        yield binance


def connect(binance: StandIn, cache: Path, **settings: Any) -> DuckDBPyConnection:
    con = ckvd_sql.connect(cache_dir=cache, **{**binance.settings, "now": NOW, **settings})
    con.execute("SET TimeZone = 'UTC'")
    return con


def published_rows(day: date) -> list[list[str]]:
    """The rows of a day's recorded zip."""
    path = REAL / "vision" / series("spot", "BTCUSDT", "1m").archive_path(day)
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        return csv_rows(archive.read(archive.namelist()[0]))


def serve_recorded(binance: StandIn, key: tuple[str, str, str]) -> list[Row]:
    """Let the stand-in serve the recorded rows of a series; returns them."""
    binance.rows[series(*key)] = RECORDED[key]
    return RECORDED[key]


def sources(con: DuckDBPyConnection, call: str) -> list[str]:
    return [source for (source,) in con.sql(f"SELECT DISTINCT source FROM {call} ORDER BY source").fetchall()]


# The archive, unchanged.


@pytest.mark.parametrize("served", ["by HTTP", "from a folder"])
def test_every_field_of_an_archived_bar_equals_the_archive_s_text(
    served: str, binance: StandIn, tmp_path: Path
) -> None:
    archive = binance.url if served == "by HTTP" else str(REAL / "vision")
    with connect(binance, tmp_path, vision_url=archive) as con:
        answer = read(con, NEW_YEAR_CALL)
        assert sources(con, "ckvd_cache_days") == ["vision"]
    assert answer == bars(row for day in NEW_YEAR for row in published_rows(day))
    assert len(answer) == 3 * 1440
    assert binance.asked_rest() == []
    if served == "from a folder":
        assert binance.requests == []


def test_a_close_time_in_milliseconds_becomes_its_last_microsecond(binance: StandIn, tmp_path: Path) -> None:
    with connect(binance, tmp_path) as con:
        closed = con.sql(f"SELECT epoch_us(close_time) FROM {NEW_YEAR_CALL} ORDER BY open_time").fetchall()
    milliseconds = [int(row[6]) for day in NEW_YEAR for row in published_rows(day)]
    assert {time % 1000 for time in milliseconds} == {999}
    assert [one for (one,) in closed] == [time * 1000 + 999 for time in milliseconds]


def test_the_provenance_of_a_zip_is_stored_with_its_day(binance: StandIn, tmp_path: Path) -> None:
    with connect(binance, tmp_path) as con:
        read(con, NEW_YEAR_CALL)
        cached = con.sql('SELECT date, "rows", url, sha256 FROM ckvd_cache_days ORDER BY date').fetchall()
    for day, (when, rows, url, sha256) in zip(NEW_YEAR, cached, strict=True):
        path = series("spot", "BTCUSDT", "1m").archive_path(day)
        checksum = (REAL / "vision" / f"{path}.CHECKSUM").read_text()
        assert (when, rows, url, sha256) == (day, 1440, f"{binance.url}/{path}", checksum.split()[0])


def test_a_day_is_fetched_once_and_then_read_from_its_file(binance: StandIn, tmp_path: Path) -> None:
    with connect(binance, tmp_path) as con:
        fetched = read(con, NEW_YEAR_CALL)
        assert len(binance.requests) == 2 * len(NEW_YEAR)
        files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.arrow"))
        assert files == [f"binance/spot/BTCUSDT/1m/{day}.arrow" for day in NEW_YEAR]
        binance.requests.clear()
        assert read(con, NEW_YEAR_CALL) == fetched
        assert sources(con, NEW_YEAR_CALL) == ["vision"]
    with connect(binance, tmp_path, offline=True) as later:
        assert read(later, NEW_YEAR_CALL) == fetched
    assert binance.requests == []


# Changes of the archive's format.


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_bars_are_contiguous_where_spot_archives_change_from_milliseconds_to_microseconds(
    symbol: str, binance: StandIn, tmp_path: Path
) -> None:
    months = (Month(2024, 12), Month(2025, 1))
    texts = [monthly_csv(symbol, month) for month in months]
    assert [len(text.partition(b",")[0]) for text in texts] == [13, 16]
    for month, text in zip(months, texts, strict=True):
        binance.publish(series("spot", symbol, "1h"), month, text)
    call = f"ckvd_klines('{symbol}', '1h', '2024-12-01', '2025-02-01')"
    with connect(binance, tmp_path) as con:
        answer = read(con, call)
        assert len(binance.requests) == 2 * len(months)  # each month's zip and checksum, and no day's
        around = read(con, f"ckvd_klines('{symbol}', '1h', '2024-12-31 22:00', '2025-01-01 02:00')")
        gaps = con.sql(f"FROM ckvd_gaps('{symbol}', '1h', '2024-12-01', '2025-02-01')").fetchall()
    assert answer == bars(row for text in texts for row in csv_rows(text))
    midnight = day_start(date(2025, 1, 1))
    assert [one[0] for one in around] == [midnight + hours * HOUR for hours in (-2, -1, 0, 1)]
    assert [one[6] + 1 - one[0] for one in around] == [HOUR] * 4
    assert [one[0] for one in answer] == list(range(day_start(months[0].first), day_start(months[1].next.first), HOUR))
    assert gaps == []


def test_a_header_row_is_skipped(binance: StandIn, tmp_path: Path) -> None:
    text = gzip.decompress((REAL / "csv" / "um-monthly-1m" / "FILUSDT-1m-2023-04.csv.gz").read_bytes())
    assert text.startswith(b"open_time,")
    binance.publish(series("um", "FILUSDT", "1m"), Month(2023, 4), text)
    with connect(binance, tmp_path) as con:
        answer = read(con, "ckvd_klines('FILUSDT', '1m', '2023-04-01', '2023-05-01', market := 'um')")
    assert answer == bars(csv_rows(text))
    assert len(answer) == 30 * 1440
    assert len(binance.requests) == 2


# Bars that another program read from the same archives.


@pytest.mark.parametrize("way", ["vision", "rest"])
@pytest.mark.parametrize(("market", "symbol"), list(GOLDEN))
def test_a_week_equals_the_bars_that_another_program_read(
    market: str, symbol: str, way: str, binance: StandIn, tmp_path: Path
) -> None:
    rows = golden_rows(GOLDEN[market, symbol])
    one = series(market, symbol, "1h")
    binance.rows[one] = rows
    if way == "vision":
        for first in range(0, len(rows), 24):
            binance.publish(
                one, day_of(rows[first][0] * 1000), csv_text(rows[first : first + 24], header=market != "spot")
            )
    call = f"ckvd_klines('{symbol}', '1h', '2024-01-01', '2024-01-08', market := '{market}')"
    with connect(binance, tmp_path) as con:
        answer = read(con, call)
        assert sources(con, "ckvd_cache_days") == [way]
    assert answer == bars(rows)
    assert len(answer) == 7 * 24


# Recorded REST answers.


def span(rows: Sequence[Row]) -> str:
    """The SQL arguments for the whole days of the rows."""
    first, last = day_of(rows[0][0] * 1000), day_of(rows[-1][0] * 1000 + DAY)
    return f"'{first}', '{last}'"


@pytest.mark.parametrize("key", RECORDED, ids=" ".join)
def test_a_recorded_rest_answer_is_returned_unchanged(
    key: tuple[str, str, str], binance: StandIn, tmp_path: Path
) -> None:
    rows = serve_recorded(binance, key)
    market, symbol, interval = key
    call = f"ckvd_klines('{symbol}', '{interval}', {span(rows)}, market := '{market}')"
    with connect(binance, tmp_path) as con:
        assert read(con, call) == bars(rows)
        binance.requests.clear()
        assert read(con, call) == bars(rows)
        assert sources(con, call) == ["rest"]
        assert binance.requests == []


def test_an_hour_that_was_never_traded_is_reported_as_a_gap(binance: StandIn, tmp_path: Path) -> None:
    rows = serve_recorded(binance, ("spot", "BTCUSDT", "1h"))
    before, after = next((first, second) for first, second in pairwise(rows) if second[0] - first[0] > HOUR // 1000)
    range_ = "'BTCUSDT', '1h', '2020-05-01', '2020-07-01'"
    with connect(binance, tmp_path) as con:
        gaps = con.sql(f'SELECT symbol, epoch_us("from"), epoch_us("to"), count FROM ckvd_gaps({range_})').fetchall()
        count = con.sql(f"SELECT count(*) FROM ckvd_klines({range_})").fetchall()
    missing = (after[0] - before[0]) * 1000 // HOUR - 1
    assert gaps == [("BTCUSDT", before[0] * 1000 + HOUR, after[0] * 1000, missing)]
    assert moment_of(gaps[0][1]) == datetime(2020, 6, 28, 2, tzinfo=UTC)
    assert moment_of(gaps[0][2]) == datetime(2020, 6, 28, 5, tzinfo=UTC)
    assert count == [(61 * 24 - missing,)]


def test_before_a_contract_s_first_day_there_are_no_bars_and_no_gaps(binance: StandIn, tmp_path: Path) -> None:
    rows = serve_recorded(binance, ("um", "BTCUSDT", "1d"))
    range_ = "'BTCUSDT', '1d', '2019-01-01', '2020-01-02', market := 'um'"
    with connect(binance, tmp_path) as con:
        assert read(con, f"ckvd_klines({range_})") == bars(rows)
        assert con.sql(f"FROM ckvd_gaps({range_})").fetchall() == []
        plan = con.sql(f"SELECT source, min(date), max(date) FROM ckvd_plan({range_}) GROUP BY source ORDER BY 2")
        assert plan.fetchall() == [
            ("unlisted", date(2019, 1, 1), date(2019, 9, 7)),
            ("cache", date(2019, 9, 8), date(2020, 1, 1)),
        ]
        binance.requests.clear()
        assert con.sql("FROM ckvd_klines('BTCUSDT', '1d', '2019-01-01', '2019-09-08', market := 'um')").fetchall() == []
    assert binance.requests == []


def test_a_day_s_minutes_add_up_to_its_recorded_daily_bar(binance: StandIn, tmp_path: Path) -> None:
    days = [bar for bar in bars(serve_recorded(binance, ("spot", "BTCUSDT", "1d"))) if day_of(bar[0]) in NEW_YEAR]
    volumes = ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")
    added_up = f"""(
        SELECT
            min(open_time) AS open_time,
            arg_min(open, open_time) AS open,
            max(high) AS high,
            min(low) AS low,
            arg_max(close, open_time) AS close,
            max(close_time) AS close_time,
            sum(trades)::BIGINT AS trades,
            {", ".join(f"sum({column}::DECIMAL(38, 8)) AS {column}" for column in volumes)}
        FROM {NEW_YEAR_CALL}
        GROUP BY (open_time AT TIME ZONE 'UTC')::DATE
    )"""
    with connect(binance, tmp_path) as con:
        sums = read(con, added_up)
        daily = read(con, "ckvd_klines('BTCUSDT', '1d', '2020-01-01', '2020-01-04')")
    # The sums are exact decimals; a daily bar has the nearest double.
    nearest = [tuple(float(value) if isinstance(value, Decimal) else value for value in one) for one in sums]
    assert nearest == daily == days
    assert len(daily) == len(NEW_YEAR)


# The limit on the time range of coin-margined futures.


def windows(binance: StandIn) -> list[int]:
    """The length in days of the range of each REST request for bars."""
    queries = [parse_qs(urlsplit(request).query) for request in binance.asked_rest()]
    return [(int(query["endTime"][0]) - int(query["startTime"][0])) // (DAY // 1000) for query in queries]


@pytest.mark.parametrize("interval", ["1h", "1d", "3d", "1w", "1mo"])
def test_no_request_for_coin_margined_bars_spans_more_than_200_days(
    interval: str, binance: StandIn, tmp_path: Path
) -> None:
    refusal = json.loads((REAL / "rest" / "cm_klines_00.json").read_text())
    rows = serve_recorded(binance, ("cm", "BTCUSD_PERP", "1d"))
    recorded_query = "symbol=BTCUSD_PERP&interval=1d&startTime=1546300800000&endTime=1577836800000"
    status, body = binance.answer(f"/dapi/v1/klines?{recorded_query}")
    assert (status, json.loads(body)) == (400, refusal)  # the stand-in refuses it as Binance did
    call = f"ckvd_klines('BTCUSD_PERP', '{interval}', '2020-08-01', '2023-01-07', market := 'cm')"
    with connect(binance, tmp_path, now="2023-01-08") as con:
        answer = read(con, call)
    assert answer == (bars(rows) if interval == "1d" else [])
    assert windows(binance)
    assert max(windows(binance)) <= 200


# Symbols.


@pytest.mark.parametrize(("market", "state"), [("spot", "status"), ("um", "status"), ("cm", "contractStatus")])
def test_symbols_equal_the_exchange_s_own_list(market: str, state: str, binance: StandIn, tmp_path: Path) -> None:
    body = (REAL / "rest" / f"{market}_exchangeInfo_00.json").read_bytes()
    route = next(route for known, route in ROUTES.items() if known.value == market)
    binance.files[f"{route}exchangeInfo"] = body
    with connect(binance, tmp_path) as con:
        listed: list[Bar] = con.sql(f"SELECT symbol, base, quote, status FROM ckvd_symbols('{market}')").fetchall()
    expected = [(one["symbol"], one["baseAsset"], one["quoteAsset"], one[state]) for one in json.loads(body)["symbols"]]
    assert sorted(listed) == sorted(expected)
    assert len({status for *_, status in listed}) > 1 or market == "um"  # includes delisted symbols


def test_a_symbol_that_the_exchange_does_not_know_is_named_in_the_error(binance: StandIn, tmp_path: Path) -> None:
    serve_recorded(binance, ("spot", "BTCUSDT", "1h"))
    with (
        connect(binance, tmp_path) as con,
        pytest.raises(Exception, match="InvalidSymbolError: symbol 'BTCUSDX' is not accepted"),
    ):
        con.sql("FROM ckvd_klines('BTCUSDX', '1h', '2020-05-01', '2020-05-02')").fetchall()
    assert list(tmp_path.rglob("*.arrow")) == []
