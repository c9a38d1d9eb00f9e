"""`ckvd_audit` without network: each planted defect of cached days is found, and a clean market has no finding."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.provenance import GapCheck, Provenance, Source
from ckvd_sql.sandbox import ANOMALIES, Fault
from tests.support.audits import audit, audit_days
from tests.support.bars import read, series
from tests.support.connections import connect, raises_in_sql
from tests.support.damage import writable
from tests.support.days import to_arrow
from tests.support.logs import warnings
from tests.support.truth import true_rows

if TYPE_CHECKING:
    from pathlib import Path

    from duckdb import DuckDBPyConnection

    from ckvd_sql.sandbox import Sandbox

DAY = ("2024-05-01", "2024-05-02")
OUTAGE = ("2023-03-20", "2023-04-02")
REST = r"/v\d/klines"
ARCHIVES = r"/data/"
HOURS = "ckvd_klines('BTCUSDT', '1h', '2024-05-01', '2024-05-02')"

#: Anomalies that REST has too, so that the days are cached with them.
CACHED = {
    "off grid": {("off_grid", "warning")},
    "early close": {("close_time", "warning")},
    "close before open": {("close_time", "error")},
    "missing bars": {("gap", "info")},
    "missing in places": {("gap", "info")},
    "ends at 07:36": {("gap", "info")},
    "no bars": {("gap", "warning")},
    "zero trades": {("zero_volume", "info")},
}

#: Ways of writing an archive that say the same.
HARMLESS = ("mixed units", "duplicates", "unsorted", "header", "blank lines", "CRLF", "no last line end")

#: Archives that can't be used, so that the day comes from REST.
UNUSABLE = (
    *("conflicting duplicates", "another day", "field missing", "no number", "not finite", "no time"),
    *("wrong file", "two members", "same member twice", "member with a path", "member in a folder", "no member"),
)


@pytest.mark.parametrize("name", CACHED)
def test_an_anomaly_that_was_cached_is_found(exchange: Sandbox, tmp_path: Path, name: str) -> None:
    exchange.add(Fault(".", "anomaly", name=name))
    with connect(exchange, tmp_path) as con:
        read(con, HOURS)
        found = audit(con, "BTCUSDT", "1h", *DAY)
    assert {(check, severity) for check, severity, _ in found} == CACHED[name]
    assert {day for *_, day in found} == {"2024-05-01"}


@pytest.mark.parametrize("name", HARMLESS)
def test_an_archive_that_is_written_otherwise_is_no_finding(exchange: Sandbox, tmp_path: Path, name: str) -> None:
    exchange.add(Fault(ARCHIVES, "anomaly", name=name))
    with connect(exchange, tmp_path) as con:
        read(con, HOURS)
        assert audit(con, "BTCUSDT", "1h", *DAY) == []


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_day_whose_archive_could_not_be_used_came_from_rest(exchange: Sandbox, tmp_path: Path, name: str) -> None:
    exchange.add(Fault(ARCHIVES, "anomaly", name=name))
    with connect(exchange, tmp_path) as con:
        read(con, HOURS)
        assert audit(con, "BTCUSDT", "1h", *DAY) == [("source", "info", "2024-05-01")]


def test_the_anomalies_of_these_tests_are_those_of_the_sandbox() -> None:
    assert {*CACHED, *HARMLESS, *UNUSABLE} <= {*ANOMALIES}


def test_lower_volumes_on_a_day_of_an_outage_are_not_the_sum_of_shorter_bars(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"/1h/.*\.zip", "anomaly", name="lower volumes"))
    with connect(exchange, tmp_path) as con:
        for interval in ("1h", "5m"):
            read(con, f"ckvd_klines('BTCUSDT', '{interval}', '2023-03-23', '2023-03-26')")
        found = audit(con, "BTCUSDT", "1h", "2023-03-23", "2023-03-26")
    assert set(found) == {
        (check, severity, "2023-03-24") for check, severity in (("sum", "error"), ("gap", "info"))
    } | {
        ("sum", "warning", "2023-03-24")  # of the hour in which 5m bars are missing too
    }


# A clean market.


@pytest.mark.parametrize("interval", ["1m", "15m", "1h", "8h", "1d", "3d", "1w", "1mo"])
@pytest.mark.parametrize(
    ("symbol", "market", "start", "end"),
    [
        ("BTCUSDT", "spot", "2017-08-01", "2017-09-04"),
        ("SOLUSDT", "spot", "2024-04-28", "2024-05-06"),
        ("DOGEUSDT", "um", "2024-04-28", "2024-05-06"),
        ("ETHUSD_PERP", "cm", "2024-04-28", "2024-05-06"),
    ],
)
def test_a_clean_market_has_no_finding(
    con: DuckDBPyConnection, symbol: str, market: str, start: str, end: str, interval: str
) -> None:
    for one in {interval, "5m", "1h"}:
        read(con, f"ckvd_klines('{symbol}', '{one}', '{start}', '{end}', market := '{market}')")
    assert audit(con, symbol, interval, start, end, market=market) == []


@pytest.mark.parametrize("interval", ["1m", "1h", "1d"])
def test_the_first_day_of_a_symbol_by_itself_has_no_finding(con: DuckDBPyConnection, interval: str) -> None:
    read(con, f"ckvd_klines('BNBUSDT', '{interval}', '2017-11-06', '2017-11-07')")
    assert audit(con, "BNBUSDT", interval, "2017-11-06", "2017-11-07") == []


@pytest.mark.parametrize(("interval", "expected"), [("1m", ["80 bars"]), ("1h", ["1 bar"]), ("4h", []), ("1d", [])])
def test_an_outage_is_nothing_but_a_gap(con: DuckDBPyConnection, interval: str, expected: list[str]) -> None:
    for one in (interval, "5m"):
        read(con, f"ckvd_klines('BTCUSDT', '{one}', '{OUTAGE[0]}', '{OUTAGE[1]}')")
    rows = con.sql(f"FROM ckvd_audit('BTCUSDT', '{interval}', '{OUTAGE[0]}', '{OUTAGE[1]}')").fetchall()
    assert [(row[3], row[5], row[6]) for row in rows] == [("gap", bars, "info") for bars in expected]


def test_days_after_the_end_of_trading_are_for_information(con: DuckDBPyConnection) -> None:
    read(con, "ckvd_klines('LUNAUSDT', '1h', '2022-05-12', '2022-05-16')")
    found = audit(con, "LUNAUSDT", "1h", "2022-05-12", "2022-05-16")
    assert found == [("gap", "info", f"2022-05-{day}") for day in (13, 14, 15)]


# Days that were stored with defects.


def store_day(cache: Path, rows: list[Any], day: str = "2024-05-01", **more: Any) -> None:
    """Put hours of BTCUSDT into the cache, by default as of a verified archive."""
    recorded = {"source": Source.VISION, "url": "https://archive.example/x.zip", "sha256": "0" * 64, "fetched_at": 0}
    provenance = Provenance(**{**recorded, "verified": True, **more})
    DayStore(cache).write(series("spot", "BTCUSDT", "1h"), date.fromisoformat(day), to_arrow(rows), provenance)


def hours() -> list[Any]:
    return true_rows("BTCUSDT", "1h", *DAY)


@pytest.mark.parametrize(
    ("column", "value", "check"),
    [
        (2, "1", "prices"),
        (3, "1000000", "prices"),
        (7, "1", "quote_volume"),
        (8, 0, "trades"),
        (9, "1000000", "taker_volume"),
    ],
)
def test_a_bar_that_contradicts_itself_is_found(
    exchange: Sandbox, tmp_path: Path, column: int, value: object, check: str
) -> None:
    rows = hours()
    rows[5][column] = value
    store_day(tmp_path, rows)
    with connect(exchange, tmp_path) as con:
        found = con.sql(f"SELECT * FROM ckvd_audit('BTCUSDT', '1h', '{DAY[0]}', '{DAY[1]}')").fetchall()
    assert (check, "error") in {(row[3], row[6]) for row in found}
    assert {str(row[2]) for row in found} == {"2024-05-01 05:00:00+00:00"}


def test_a_day_that_was_not_verified_or_confirmed_is_found(exchange: Sandbox, tmp_path: Path) -> None:
    store_day(tmp_path, hours()[:20], verified=False, gaps=GapCheck.UNCONFIRMED)
    with connect(exchange, tmp_path) as con:
        assert audit(con, "BTCUSDT", "1h", *DAY) == [
            (check, "warning", "2024-05-01") for check in ("checksum", "gap_check", "gap")
        ]


def test_a_day_is_compared_with_the_sum_of_the_shortest_cached_interval(exchange: Sandbox, tmp_path: Path) -> None:
    rows = hours()
    rows[7][8] += 1
    store_day(tmp_path, rows)
    with connect(exchange, tmp_path) as con:
        assert audit(con, "BTCUSDT", "1h", *DAY) == []
        for interval in ("15m", "5m"):
            read(con, f"ckvd_klines('BTCUSDT', '{interval}', '{DAY[0]}', '{DAY[1]}')")
        (row,) = con.sql(f"FROM ckvd_audit('BTCUSDT', '1h', '{DAY[0]}', '{DAY[1]}')").fetchall()
        trades = rows[7][8]
        assert row[3:] == (
            "sum", f"trades {trades}", f"trades {trades - 1}: the sum of 12 bars of 5m", "error",
        )  # fmt: skip
        assert audit(con, "BTCUSDT", "5m", *DAY) == []


def test_a_day_file_that_cannot_be_read_is_an_error_and_stays_where_it_is(exchange: Sandbox, tmp_path: Path) -> None:
    store_day(tmp_path, hours())
    store_day(tmp_path, true_rows("BTCUSDT", "1h", "2024-05-02", "2024-05-03"), "2024-05-02")
    (file, _) = sorted(tmp_path.rglob("*.arrow"))
    writable(file).write_bytes(file.read_bytes()[:-10])
    with connect(exchange, tmp_path) as con:
        assert audit(con, "BTCUSDT", "1h", "2024-05-01", "2024-05-03") == [("unreadable", "error", "2024-05-01")]
    assert file.exists()


# The SQL name.


def test_the_audit_reads_the_cached_days_of_the_range_alone_and_sends_no_request(
    exchange: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = hours()
    rows[5][8] = 0
    store_day(tmp_path, rows)
    with connect(exchange, tmp_path) as con:
        assert audit_days(con, "BTCUSDT", "1h", "2024-04-01", "2024-06-01") == ["2024-05-01"]
        assert audit_days(con, "BTCUSDT", "1h", "2024-05-01 23:00", "2024-05-03") == ["2024-05-01"]  # days are whole
        assert audit_days(con, "BTCUSDT", "1h", "2024-05-02", "2024-06-01") == []
        assert audit_days(con, "ETHUSDT", "1h", "2024-05-01", "2024-06-01") == []
    assert exchange.requests == ()
    assert [text.partition(" day of")[0] for text in warnings(caplog)] == [
        "BTCUSDT 1h (spot): no",
        "ETHUSDT 1h (spot): no",
    ]


def test_findings_are_in_order_of_symbols_days_and_bars_and_can_be_filtered(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(".", "anomaly", name="missing in places"))
    with connect(exchange, tmp_path) as con:
        read(con, "ckvd_klines(['ETHUSDT', 'BTCUSDT'], '1h', '2024-05-01', '2024-05-03')")
        call = "ckvd_audit(['ETHUSDT', 'BTCUSDT'], '1h', '2024-05-01', '2024-05-03')"
        rows = con.sql(f"SELECT symbol, date::VARCHAR, hour(open_time) FROM {call}").fetchall()
        assert rows == [
            (symbol, day, hour)
            for symbol in ("ETHUSDT", "BTCUSDT")
            for day in ("2024-05-01", "2024-05-02")
            for hour in (2, 10, 13, 23)
        ]
        filtered = con.sql(f"""SELECT count(*) FROM {call} WHERE "check" = 'gap' AND symbol = 'BTCUSDT'""")
        assert filtered.fetchall() == [(8,)]
        columns = [row[:2] for row in con.sql(f"DESCRIBE FROM {call}").fetchall()]
    assert columns == [
        ("symbol", "VARCHAR"),
        ("date", "DATE"),
        ("open_time", "TIMESTAMP WITH TIME ZONE"),
        ("check", "VARCHAR"),
        ("found", "VARCHAR"),
        ("expected", "VARCHAR"),
        ("severity", "VARCHAR"),
    ]


@pytest.mark.parametrize("remote", ["'yes'", "1", "NULL"])
def test_remote_is_true_or_false(con: DuckDBPyConnection, remote: str) -> None:
    with raises_in_sql("InvalidArgumentError"):
        con.sql(f"FROM ckvd_audit('BTCUSDT', '1h', '2024-05-01', remote := {remote})")


def test_invalid_arguments_are_refused_while_binding(con: DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.Error, match="InvalidIntervalError: "):
        con.sql("EXPLAIN FROM ckvd_audit('BTCUSDT', '7h', '2024-05-01')")
