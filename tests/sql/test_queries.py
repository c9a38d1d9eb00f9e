"""`ckvd_klines` in SQL: its arguments, its columns, and its use like any other table."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import ckvd_sql
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.series import INTERVALS
from ckvd_sql.sandbox import Fault, Sandbox
from tests.support.bars import FIELDS, read
from tests.support.truth import NOW

if TYPE_CHECKING:
    from pathlib import Path

    from duckdb import DuckDBPyConnection

    from tests.conftest import Truth

SPAN = ("2024-06-03", "2024-06-05")
SERIES = ("BTCUSDT", "1h")
CALL = f"ckvd_klines{(*SERIES, *SPAN)}"


@pytest.mark.parametrize(
    "arguments",
    [
        "'BTCUSDT', '1h', '2024-06-03', '2024-06-05'",
        "symbol := 'BTCUSDT', interval := '1h', \"start\" := '2024-06-03', \"end\" := '2024-06-05'",
        "'BTCUSDT', '1h', '2024-06-03', \"end\" := '2024-06-05', market := 'spot', include_open := false",
        "'BTCUSDT', '1h', DATE '2024-06-03', DATE '2024-06-05'",
        "'BTCUSDT', '1h', TIMESTAMP '2024-06-03', TIMESTAMP '2024-06-05 00:00:00'",
        "'BTCUSDT', '1h', TIMESTAMP_S '2024-06-03 00:00:00', TIMESTAMP_NS '2024-06-05 00:00:00'",
        "'BTCUSDT', '1h', TIMESTAMPTZ '2024-06-03 00:00:00+00', TIMESTAMPTZ '2024-06-05 05:45:00+05:45'",
        "'BTCUSDT', '1h', '2024-06-03T00:00:00Z', '2024-06-05 02:00:00+02:00'",
        "'BTCUSDT', '1h', TIMESTAMP '2024-06-10' - INTERVAL 7 DAY, DATE '2024-06-04' + 1",
        "'BTC' || 'USDT', lower('1H'), make_date(2024, 6, 3), '2024-06-0' || (2 + 3)",
        "['BTCUSDT'], '1h', '2024-06-03', '2024-06-05'",
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns"])
def test_arguments_may_be_written_in_many_ways_and_no_time_zone_moves_a_bar(
    con: DuckDBPyConnection, truth: Truth, arguments: str, zone: str
) -> None:
    con.execute(f"SET TimeZone = '{zone}'")
    assert read(con, f"ckvd_klines({arguments})") == truth(*SERIES, *SPAN)


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ("?, ?, ?, ?", [*SERIES, *SPAN]),
        (
            "$symbol, $interval, $start, $end",
            dict(zip(("symbol", "interval", "start", "end"), (*SERIES, *SPAN), strict=True)),
        ),
        ("$1, $2, $3::DATE, $4::TIMESTAMP", [*SERIES, *SPAN]),
        ("?, '1h', ?, ?", [["BTCUSDT"], *SPAN]),
    ],
)
def test_arguments_may_be_parameters(con: DuckDBPyConnection, truth: Truth, arguments: str, values: Any) -> None:
    query = f"SELECT {FIELDS} FROM ckvd_klines({arguments}) ORDER BY open_time"
    assert con.execute(query, values).fetchall() == truth(*SERIES, *SPAN)


def test_arguments_may_be_variables(con: DuckDBPyConnection, truth: Truth) -> None:
    con.execute("SET VARIABLE symbols = ['BTCUSDT']; SET VARIABLE since = DATE '2024-06-03'")
    call = "ckvd_klines(getvariable('symbols'), '1h', getvariable('since'), getvariable('since') + INTERVAL 2 DAY)"
    assert read(con, call) == truth(*SERIES, *SPAN)


@pytest.mark.parametrize("interval", [*INTERVALS, "1M"])
def test_every_interval_can_be_queried(con: DuckDBPyConnection, truth: Truth, interval: str) -> None:
    fine = interval.endswith(("s", "m"))
    start, end = ("2024-06-15T10:00", "2024-06-15T11:30") if fine else ("2024-04-29", "2024-06-15T12:00:30")
    name = "1mo" if interval == "1M" else interval
    assert read(con, f"ckvd_klines('BTCUSDT', '{interval}', '{start}', '{end}')") == truth("BTCUSDT", name, start, end)


@pytest.mark.parametrize(
    ("market", "symbol"),
    [("um", "ETHUSDT"), ("cm", "BTCUSD_PERP"), ("um", "BTCUSDT_240628"), ("cm", "BTCUSD_240927")],
)
def test_every_market_can_be_queried(con: DuckDBPyConnection, truth: Truth, market: str, symbol: str) -> None:
    assert read(con, f"ckvd_klines('{symbol}', '1h', '2024-06-13', market := '{market}')") == truth(
        symbol, "1h", "2024-06-13", "2024-06-15T12:00:30", market
    )


def test_a_symbol_need_not_be_ascii(settings: dict[str, Any], exchange: Sandbox, truth: Truth) -> None:
    exchange.set_now("2025-10-12T06:00:00")
    con = ckvd_sql.connect(**{**settings, **exchange.settings})
    span = ("币安人生USDT", "1h", "2025-10-01", "2025-10-12T06:00:00")
    assert read(con, f"ckvd_klines{span}") == truth(*span)
    assert read(con, "ckvd_cache WHERE symbol = '币安人生USDT' AND date < '2025-10-12'") == truth(
        *span[:3], "2025-10-12"
    )
    con.close()


def test_archives_in_milliseconds_and_in_microseconds_join_seamlessly(
    settings: dict[str, Any], exchange: Sandbox, truth: Truth
) -> None:
    exchange.set_now("2025-03-01")
    con = ckvd_sql.connect(**{**settings, **exchange.settings})
    span = ("BTCUSDT", "15m", "2024-12-30", "2025-01-03")
    assert read(con, f"ckvd_klines{span}") == truth(*span)
    con.close()


def test_a_list_of_symbols_comes_symbol_by_symbol_each_once(con: DuckDBPyConnection, truth: Truth) -> None:
    call = f"ckvd_klines(['ETHUSDT', 'BTCUSDT', 'ETHUSDT'], '1h', '{SPAN[0]}', '{SPAN[1]}')"
    symbols = [row[0] for row in con.sql(f"SELECT symbol FROM {call}").fetchall()]
    assert symbols == ["ETHUSDT"] * 48 + ["BTCUSDT"] * 48
    for symbol in ("ETHUSDT", "BTCUSDT"):
        assert read(con, f"{call} WHERE symbol = '{symbol}'") == truth(symbol, "1h", *SPAN)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2024-06-03T00:00:00", "2024-06-03T00:00:00.000001"),
        ("2024-06-03T00:00:00.000001", "2024-06-03T01:00:00"),
        ("2024-06-03T00:59:59.999999", "2024-06-04T00:00:00"),
        ("2024-06-03T23:00:00", "2024-06-04T00:00:01"),
        ("2024-06-03", "2024-06-03"),
        ("2024-06-15T11:00:00", "2024-06-15T12:00:00"),
        ("2024-06-14T22:30:00", "2024-06-15T03:00:00"),
    ],
)
def test_the_range_is_half_open_before_and_after_caching(
    con: DuckDBPyConnection, truth: Truth, start: str, end: str
) -> None:
    for _ in range(2):
        assert read(con, f"ckvd_klines('BTCUSDT', '1h', '{start}', '{end}')") == truth("BTCUSDT", "1h", start, end)


def test_an_omitted_end_means_now(con: DuckDBPyConnection, truth: Truth) -> None:
    assert read(con, "ckvd_klines('BTCUSDT', '1h', '2024-06-14')") == truth(
        "BTCUSDT", "1h", "2024-06-14", "2024-06-15T12:00:30"
    )


def test_an_end_in_the_future_means_now(con: DuckDBPyConnection, truth: Truth) -> None:
    assert read(con, "ckvd_klines('BTCUSDT', '1h', '2024-06-14', '2099-01-01')") == truth(
        "BTCUSDT", "1h", "2024-06-14", "2024-06-15T12:00:30"
    )


@pytest.mark.parametrize("interval", ["1m", "1d", "1w", "1mo"])
def test_a_range_in_the_future_is_empty_and_sends_no_request(
    con: DuckDBPyConnection, exchange: Sandbox, interval: str
) -> None:
    assert read(con, f"ckvd_klines('BTCUSDT', '{interval}', '2024-06-16', '9999-12-31')") == []
    assert not exchange.requests


def test_the_last_seven_days_can_be_queried_by_the_real_clock(settings: dict[str, Any]) -> None:
    with Sandbox() as live:
        con = ckvd_sql.connect(**{**settings, "now": None, **live.settings})
        bars = read(con, "ckvd_klines('BTCUSDT', '1d', now() - INTERVAL 7 DAY)")
        con.close()
    assert len(bars) in {6, 7}


@pytest.mark.parametrize("interval", ["1m", "1h", "1d", "1w"])
def test_the_forming_bar_is_left_out_unless_requested(con: DuckDBPyConnection, truth: Truth, interval: str) -> None:
    start, now = "2024-06-10" if interval[-1] in "dw" else "2024-06-15T09:00", "2024-06-15T12:00:30"
    call = f"ckvd_klines('BTCUSDT', '{interval}', '{start}', include_open := "
    *closed, forming = read(con, f"{call}true)")
    assert closed == read(con, f"{call}false)") == truth("BTCUSDT", interval, start, now)
    assert forming[0] <= parse_time(now, "now") <= forming[6]


REFUSED = [
    ("'BTC USDT', '1h', '2024-01-01'", "InvalidSymbolError: symbol 'BTC USDT'"),
    ("'../x', '1h', '2024-01-01'", "InvalidSymbolError: symbol"),
    ("NULL, '1h', '2024-01-01'", "InvalidSymbolError: symbol"),
    ("[], '1h', '2024-01-01'", "InvalidSymbolError: .*at least one"),
    ("['BTCUSDT', NULL], '1h', '2024-01-01'", "InvalidSymbolError: symbol"),
    ("'BTCUSDT', '7h', '2024-01-01'", "InvalidIntervalError: interval '7h'.* 12h"),
    ("'BTCUSDT', '1s', '2024-01-01', market := 'um'", "InvalidIntervalError: interval '1s'"),
    ("'BTCUSDT', '1h', 'yesterdy'", "InvalidTimeError: start 'yesterdy'.* did you mean 'yesterday'"),
    ("'BTCUSDT', '1h', NULL", "InvalidTimeError: start"),
    ("'BTCUSDT', '1h', 20240101", "InvalidTimeError: start"),
    ("'BTCUSDT', '1h', 'infinity'::TIMESTAMP", "InvalidTimeError: start"),
    ("'BTCUSDT', '1h', '2024-01-02', '2024-01-01'", "InvalidTimeError: start .*must not be after until"),
    ("'BTCUSDT', '1h', '2024-01-02', market := 'margin'", "InvalidMarketError: market 'margin'"),
    ("'BTCUSDT', '1h', '2024-01-02', include_open := 'maybe'", "InvalidArgumentError: include_open 'maybe'"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
@pytest.mark.parametrize("name", ["ckvd_klines", "ckvd_plan", "ckvd_gaps"])
def test_a_refused_argument_is_named_and_no_request_is_sent(
    con: DuckDBPyConnection, exchange: Sandbox, name: str, arguments: str, message: str
) -> None:
    with pytest.raises(duckdb.Error, match=message) as error:
        con.sql(f"FROM {name}({arguments})")
    assert "Traceback" not in str(error.value)
    assert not exchange.requests


def test_an_error_while_reading_is_one_sentence(con: DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.Error, match=r"InvalidSymbolError: .*ckvd_symbols") as error:
        con.sql("FROM ckvd_klines('NOPEUSDT', '1h', '2024-06-01', '2024-06-02')").fetchall()
    assert "Traceback" not in str(error.value)


def test_columns_have_their_names_and_types(con: DuckDBPyConnection) -> None:
    found = [row[:2] for row in con.sql(f"DESCRIBE FROM {CALL}").fetchall()]
    time = "TIMESTAMP WITH TIME ZONE"
    assert found == [
        ("symbol", "VARCHAR"),
        ("open_time", time),
        *((name, "DOUBLE") for name in ("open", "high", "low", "close", "volume")),
        ("close_time", time),
        ("quote_volume", "DOUBLE"),
        ("trades", "BIGINT"),
        ("taker_buy_volume", "DOUBLE"),
        ("taker_buy_quote_volume", "DOUBLE"),
        ("source", "VARCHAR"),
    ]


# The rest of SQL.

HOURS = "SELECT count(*), sum(trades), min(epoch_us(open_time)), max(epoch_us(open_time))"


@pytest.mark.parametrize(
    "query",
    [
        "WITH bars AS (FROM {}) SELECT count(*), max(close) FROM bars",
        "WITH bars AS MATERIALIZED (FROM {}) SELECT a.open - b.low FROM bars a JOIN bars b USING (open_time)",
        "SELECT count(*) FROM {} a JOIN {} b USING (open_time) WHERE a.high > b.low",
        "SELECT a.close, b.close FROM {} a LEFT JOIN {} b ON b.open_time = a.open_time + INTERVAL 1 HOUR ORDER BY ALL",
        "SELECT a.open_time, b.open_time FROM {} a ASOF JOIN {} b ON a.open_time > b.open_time ORDER BY ALL",
        "SELECT open_time FROM {} UNION ALL SELECT open_time FROM {} ORDER BY ALL",
        "SELECT open_time FROM {} EXCEPT SELECT open_time FROM {} WHERE hour(open_time) < 5 ORDER BY ALL",
        "SELECT * EXCLUDE source FROM {} ORDER BY open_time DESC LIMIT 3",
        "SELECT open_time, avg(close) OVER (ORDER BY open_time ROWS 5 PRECEDING) FROM {} ORDER BY ALL",
        "SELECT open_time FROM {} WHERE open_time = (SELECT max(open_time) FROM {})",
        "SELECT count(*) FROM {} WHERE open_time IN (SELECT open_time FROM {} WHERE trades % 7 = 0)",
        "SELECT time_bucket(INTERVAL 6 HOUR, open_time), first(open ORDER BY open_time) FROM {} GROUP BY 1 ORDER BY 1",
        "SELECT symbol, count(*) FROM {} GROUP BY ALL",
        "PIVOT (SELECT symbol, strftime(open_time, '%d') d, trades FROM {}) ON d USING sum(trades)",
        "SELECT count(*) FROM {} k JOIN (VALUES (TIMESTAMPTZ '2024-06-03 05:00:00+00')) v(t) ON k.open_time = v.t",
        "SUMMARIZE SELECT open, close FROM {}",
    ],
)
def test_a_call_is_a_table_like_any_other(con: DuckDBPyConnection, query: str) -> None:
    con.execute(f"CREATE TABLE bars_copy AS FROM {CALL}")
    assert con.sql(query.format(*[CALL] * 2)).fetchall() == con.sql(query.format(*["bars_copy"] * 2)).fetchall()


def test_a_view_reads_again_each_time(con: DuckDBPyConnection, exchange: Sandbox, truth: Truth) -> None:
    con.execute(f"CREATE VIEW bars AS FROM {CALL}")
    assert read(con, "bars") == truth(*SERIES, *SPAN)
    exchange.forget()
    assert read(con, "bars") == truth(*SERIES, *SPAN)
    assert not exchange.requests


def test_two_equal_queries_return_equal_rows_cold_and_warm(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    exchange.add(Fault(r"2024-06-0[56]\.zip", "status", status=404))  # days of both sources
    call = "ckvd_klines('BTCUSDT', '1h', '2024-04-20', '2024-06-10')"
    for name in ("cold", "warm", "packed"):
        con.execute(f"CREATE TABLE {name} AS FROM {call}")
    assert con.sql("SELECT DISTINCT source FROM cold ORDER BY ALL").fetchall() == [("rest",), ("vision",)]
    for name in ("warm", "packed"):
        assert con.sql(f"(FROM cold EXCEPT FROM {name}) UNION ALL (FROM {name} EXCEPT FROM cold)").fetchall() == []


def test_a_view_and_a_prepared_statement_outlive_thousands_of_other_calls(
    con: DuckDBPyConnection, truth: Truth
) -> None:
    con.execute(f"CREATE VIEW bars AS FROM {CALL}")
    con.execute(f"PREPARE hours AS {HOURS} FROM {CALL}")
    relation = con.sql(f"{HOURS} FROM {CALL}")
    start = parse_time("2020-01-01", "start")
    for number in range(1030):
        con.execute(f"EXPLAIN FROM ckvd_klines('BTCUSDT', '1h', make_timestamp({start + number}), '2020-01-02')")
    assert read(con, "bars") == truth(*SERIES, *SPAN)
    assert con.execute("EXECUTE hours").fetchall() == relation.fetchall()


def test_a_prepared_statement_takes_other_arguments_each_time(con: DuckDBPyConnection, truth: Truth) -> None:
    con.execute(f"PREPARE bars AS SELECT {FIELDS} FROM ckvd_klines($1, $2, $3, $4) ORDER BY open_time")
    for arguments in [(*SERIES, *SPAN), ("ETHUSDT", "2h", "2024-06-01", "2024-06-02")]:
        assert con.execute(f"EXECUTE bars{arguments}").fetchall() == truth(*arguments)


def test_a_view_uses_the_settings_of_the_latest_registration(
    con: DuckDBPyConnection, settings: dict[str, Any], tmp_path: Path, truth: Truth
) -> None:
    con.execute(f"CREATE VIEW bars AS FROM {CALL}")
    ckvd_sql.register(con, **{**settings, "cache_dir": tmp_path / "another"})
    assert read(con, "bars") == truth(*SERIES, *SPAN)
    assert list((tmp_path / "another").rglob("*.arrow"))
    assert not list((tmp_path / "cache").rglob("*.arrow"))


def test_threads_read_through_a_cursor_each(con: DuckDBPyConnection, truth: Truth) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        cursor = con.cursor()
        span = ("2024-06-03", f"2024-06-{4 + number % 4:02d}")
        try:
            for _ in range(5):
                assert read(cursor, f"ckvd_klines('BTCUSDT', '1h', '{span[0]}', '{span[1]}')") == truth(*SERIES, *span)
        except Exception as error:  # noqa: BLE001 (whatever it is)
            wrong.append(error)
        cursor.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_call_works_within_a_transaction(con: DuckDBPyConnection, truth: Truth) -> None:
    con.execute("BEGIN")
    assert read(con, CALL) == truth(*SERIES, *SPAN)
    con.execute("ROLLBACK")
    assert read(con, CALL) == truth(*SERIES, *SPAN)


@pytest.mark.parametrize(
    "arguments",
    [
        "'BTCUSDT', '1h', '2024-06-10', '2024-06-12'",
        "'BTCUSDT', '1h', '2024-06-10', until := '2024-06-12'",
        "'BTCUSDT', '1h', '2024-06-10', \"end\" := '2024-06-12'",
        "symbol := 'BTC/USDT', interval := '60m', start := DATE '2024-06-10', until := TIMESTAMP '2024-06-12'",
        "'BTCUSDT', '1h', '2024-06-10', '2024-06-12', 'SPOT'",
        "'btcusdt', '1H', 1717977600000, 1718150400",
        "'btcusdt', '1H', '2024-W24', '2024-W24-3'",
    ],
)
def test_arguments_may_be_written_in_many_ways(con: DuckDBPyConnection, truth: Truth, arguments: str) -> None:
    assert read(con, f"ckvd_klines({arguments})") == truth("BTCUSDT", "1h", "2024-06-10", "2024-06-12")


@pytest.mark.parametrize("end", ["", ", NULL", ", 'now'", ', "end" := NULL', ", until := NULL", ", 'tomorrow'"])
def test_without_an_end_a_range_ends_now(con: DuckDBPyConnection, truth: Truth, end: str) -> None:
    assert read(con, f"ckvd_klines('BTCUSDT', '1h', 'yesterday'{end})") == truth("BTCUSDT", "1h", "2024-06-14", NOW)


def test_an_end_by_both_of_its_names_is_refused(con: DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.Error, match="are the same argument"):
        con.sql("FROM ckvd_klines('BTCUSDT', '1h', '2024-06-10', until := '2024-06-12', \"end\" := '2024-06-13')")
