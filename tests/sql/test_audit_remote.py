"""`ckvd_audit(…, remote := true)`: cached days beside archives, published checksums and REST, within stated bounds."""

from __future__ import annotations

import logging
import re
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.periods import Month
from ckvd_sql.market.provenance import Provenance, Source
from ckvd_sql.sandbox import Fault, Sandbox
from ckvd_sql.tables.audit_remote import MOST_CHECKSUMS, MOST_DAYS, MOST_MONTHS, MOST_REST_CALLS
from tests.support.audits import audit
from tests.support.bars import csv_text, read, series
from tests.support.connections import connect, raises_in_sql
from tests.support.days import to_arrow
from tests.support.truth import true_rows

if TYPE_CHECKING:
    from pathlib import Path

    from duckdb import DuckDBPyConnection

    from tests.support.stand_in import StandIn

DAY = ("2024-05-01", "2024-05-02")
HOURS = "ckvd_klines('BTCUSDT', '1h', '2024-05-01', '2024-05-02')"
MONTH = ("2023-03-01", "2023-04-01")
REST = r"/v\d/klines"


def remote(con: DuckDBPyConnection, start: str, end: str, symbol: str = "BTCUSDT", **more: Any) -> Any:
    return audit(con, symbol, more.pop("interval", "1h"), start, end, remote=True, **more)


def announced(caplog: pytest.LogCaptureFixture) -> list[int]:
    """The numbers of requests that were announced."""
    found = [re.match(r"the audit sends at most (\d+) requests", one.getMessage()) for one in caplog.records]
    return [int(match[1]) for match in found if match]


@pytest.mark.parametrize(
    ("symbol", "market", "interval", "start", "end"),
    [
        ("BTCUSDT", "spot", "1h", "2024-04-20", "2024-05-10"),
        ("BTCUSDT", "spot", "1m", "2024-05-01", "2024-05-03"),
        ("BTCUSDT", "spot", "1s", "2024-05-01", "2024-05-02"),
        ("SOLUSDT", "spot", "3d", "2024-03-01", "2024-06-01"),
        ("BTCUSDT", "um", "1w", "2024-03-01", "2024-06-01"),
        ("BTCUSD_PERP", "cm", "1mo", "2023-03-01", "2024-06-01"),
        ("ETHUSD_PERP", "cm", "5m", "2024-05-01", "2024-05-03"),
    ],
)
def test_days_that_agree_with_archives_and_rest_have_no_finding(
    exchange: Sandbox, tmp_path: Path, symbol: str, market: str, interval: str, start: str, end: str
) -> None:
    with connect(exchange, tmp_path) as con:
        assert read(con, f"ckvd_klines('{symbol}', '{interval}', '{start}', '{end}', market := '{market}')")
        assert remote(con, start, end, symbol, interval=interval, market=market) == []


def test_the_most_requests_are_said_before_the_first_one(
    exchange: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(exchange, tmp_path) as con:
        read(con, "ckvd_klines(['BTCUSDT', 'ETHUSDT'], '1h', '2024-05-01', '2024-05-04')")
        exchange.forget()
        with caplog.at_level(logging.INFO, "ckvd_sql"):
            call = "ckvd_audit(['BTCUSDT', 'ETHUSDT'], '1h', '2024-05-01', '2024-05-04', remote := true)"
            assert con.sql(f"FROM {call}").fetchall() == []
    (most,) = announced(caplog)
    assert most == len(exchange.requests) == 2 * (2 + 3 * 2 + 3)  # for each: a month, three days, three calls of REST


def test_however_long_the_range_the_requests_are_bounded(
    exchange: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(exchange, tmp_path) as con:
        read(con, "ckvd_klines('BTCUSDT', '1d', '2021-01-01', '2024-06-10')")
        exchange.forget()
        with caplog.at_level(logging.INFO, "ckvd_sql"):
            assert remote(con, "2021-01-01", "2024-06-10", interval="1d") == []
    bound = 2 * (MOST_MONTHS + MOST_DAYS) + MOST_CHECKSUMS + MOST_REST_CALLS
    (most,) = announced(caplog)
    assert len(exchange.requests) <= most <= bound
    months = {one.path for one in exchange.requests if "/monthly/" in one.path and one.path.endswith(".zip")}
    days = {one.path for one in exchange.requests if "/daily/" in one.path and one.path.endswith(".zip")}
    calls = [one for one in exchange.requests if one.path.endswith("/klines")]
    assert (len(months), len(days), len(calls)) == (MOST_MONTHS, MOST_DAYS, MOST_REST_CALLS)
    assert {path[-11:-7] for path in months} == {"2021", "2022", "2023", "2024"}  # evenly spread


def test_a_stored_day_with_other_values_differs_from_every_source(exchange: Sandbox, tmp_path: Path) -> None:
    rows = true_rows("BTCUSDT", "1h", *DAY)
    rows[5][8] += 1
    provenance = Provenance(Source.REST, "https://api.example", "", fetched_at=0)
    DayStore(tmp_path).write(series("spot", "BTCUSDT", "1h"), date(2024, 5, 1), to_arrow(rows), provenance)
    with connect(exchange, tmp_path) as con:
        assert audit(con, "BTCUSDT", "1h", *DAY) == [("source", "info", DAY[0])]
        call = f"ckvd_audit('BTCUSDT', '1h', '{DAY[0]}', '{DAY[1]}', remote := true)"
        rows_found = con.sql(f"""SELECT * FROM {call} WHERE "check" <> 'source'""").fetchall()
    found = [(row[3], row[2].hour, *row[4:]) for row in rows_found]
    trades = rows[5][8]
    assert found == [
        (check, 5, f"trades {trades}", f"trades {trades - 1} in {name}", "error")
        for check, name in (
            ("daily_archive", "the daily archive"),
            ("monthly_archive", "the monthly archive"),
            ("rest", "REST"),
        )
    ]


def test_a_replaced_archive_is_another_file_with_other_values(stand_in: StandIn, tmp_path: Path) -> None:
    one, right = series("spot", "BTCUSDT", "1h"), true_rows("BTCUSDT", "1h", *DAY)
    wrong = [[*row[:8], row[8] + (number == 5), *row[9:]] for number, row in enumerate(right)]
    stand_in.rows[one] = right
    stand_in.publish(one, date(2024, 5, 1), csv_text(wrong))
    with connect(stand_in, tmp_path) as con:
        read(con, HOURS)
        assert remote(con, *DAY) == [("rest", "error", DAY[0])]
        stand_in.publish(one, date(2024, 5, 1), csv_text(right))
        assert remote(con, *DAY) == [
            ("published_checksum", "warning", DAY[0]),
            ("daily_archive", "error", DAY[0]),
            ("rest", "error", DAY[0]),
        ]


def test_a_checksum_that_is_published_wrong_is_a_warning(stand_in: StandIn, tmp_path: Path) -> None:
    one, right = series("spot", "BTCUSDT", "1h"), true_rows("BTCUSDT", "1h", *DAY)
    stand_in.rows[one] = right
    stand_in.publish(one, date(2024, 5, 1), csv_text(right), checksum="0" * 64)
    with connect(stand_in, tmp_path) as con:
        read(con, HOURS)
        assert remote(con, *DAY) == [("source", "info", DAY[0]), ("published_checksum", "warning", DAY[0])]


def test_published_checksums_are_compared_beyond_the_archives_that_are_downloaded(
    stand_in: StandIn, tmp_path: Path
) -> None:
    one = series("spot", "BTCUSDT", "1d")
    months = [Month(2020 + number // 12, number % 12 + 1) for number in range(24)]
    rows = true_rows("BTCUSDT", "1d", "2020-01-01", "2022-01-01")
    stand_in.rows[one] = rows
    for month in months:
        text = true_rows("BTCUSDT", "1d", str(month.first), str(month.next.first))
        stand_in.publish(one, month, csv_text(text))
    with connect(stand_in, tmp_path) as con:
        read(con, "ckvd_klines('BTCUSDT', '1d', '2020-01-01', '2022-01-01')")
        stand_in.requests.clear()
        assert remote(con, "2020-01-01", "2022-01-01", interval="1d") == []
        compared = {request for request in stand_in.requests if request.endswith(".zip") and "/monthly/" in request}
        other = next(month for month in months if not any(str(month) in request for request in compared))
        text = true_rows("BTCUSDT", "1d", str(other.first), str(other.next.first))
        stand_in.publish(one, other, csv_text(text, header=True))
        found = remote(con, "2020-01-01", "2022-01-01", interval="1d")
        assert found == [("published_checksum", "warning", str(other.first))]
        broken = next(month for month in months if month != other and not any(str(month) in one for one in compared))
        stand_in.files[f"/{one.archive_path(broken)}.CHECKSUM"] = b"<html>"
        found = remote(con, "2020-01-01", "2022-01-01", interval="1d")
    assert found == [("published_checksum", "warning", str(day)) for day in sorted([other.first, broken.first])]


def test_a_monthly_archive_that_differs_where_the_daily_one_agrees_is_a_warning(
    exchange: Sandbox, tmp_path: Path
) -> None:
    exchange.add(Fault(r"/monthly/.*\.zip", "anomaly", name="lower volumes"))
    with connect(exchange, tmp_path) as con:
        read(con, f"ckvd_klines('BTCUSDT', '1h', '{MONTH[0]}', '{MONTH[1]}')")
        found = remote(con, *MONTH)
    assert set(found) == {("gap", "info", "2023-03-24"), ("monthly_archive", "warning", "2023-03-24")}


def test_an_archive_that_was_published_incomplete_is_a_warning_for_a_day_from_rest(
    exchange: Sandbox, tmp_path: Path
) -> None:
    exchange.add(Fault(r"/daily/.*\.zip", "anomaly", name="ends at 07:36"))
    with connect(exchange, tmp_path) as con:
        read(con, HOURS)
        found = remote(con, *DAY)
    assert found == [("source", "info", DAY[0]), ("daily_archive", "warning", DAY[0])]


@pytest.mark.parametrize("name", ["no number", "two members", "another day"])
def test_an_archive_that_is_not_bars_is_a_warning(exchange: Sandbox, tmp_path: Path, name: str) -> None:
    exchange.add(Fault(r"/daily/", "anomaly", name=name))
    with connect(exchange, tmp_path) as con:
        read(con, HOURS)
        assert remote(con, *DAY) == [("source", "info", DAY[0]), ("daily_archive", "warning", DAY[0])]


def test_what_could_not_be_compared_is_said_once_for_each_check(exchange: Sandbox, tmp_path: Path) -> None:
    with connect(exchange, tmp_path) as con:
        read(con, "ckvd_klines('BTCUSDT', '1h', '2024-05-01', '2024-05-20')")
        exchange.add(Fault(".", "status", status=451))
        exchange.forget()
        call = "ckvd_audit('BTCUSDT', '1h', '2024-05-01', '2024-05-20', remote := true)"
        rows = con.sql(f'SELECT "check", severity, found FROM {call}').fetchall()
    assert {(check, severity) for check, severity, _ in rows} == {
        ("monthly_archive", "warning"),
        ("daily_archive", "warning"),
        ("rest", "warning"),
    }
    assert all(found.startswith("not compared: ") for *_, found in rows)
    assert len({(check, found) for check, _, found in rows}) == len(rows)


def test_a_delivered_contract_that_rest_no_longer_serves_is_for_information(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.set_now("2024-07-15")
    with connect(exchange, tmp_path, now="2024-07-15") as con:
        read(con, "ckvd_klines('BTCUSDT_240628', '1h', '2024-06-20', '2024-06-22', market := 'um')")
        found = remote(con, "2024-06-20", "2024-06-22", "BTCUSDT_240628", market="um")
    assert found == [("rest", "info", "2024-06-20")]


def test_days_with_findings_are_compared_first(exchange: Sandbox, tmp_path: Path) -> None:
    with connect(exchange, tmp_path) as con:
        read(con, "ckvd_klines('BTCUSDT', '1h', '2023-01-01', '2023-07-01')")
        exchange.forget()
        remote(con, "2023-01-01", "2023-07-01")
    paths = [one.path for one in exchange.requests]
    assert any("2023-03-24.zip" in path for path in paths)  # the day of the outage


def test_nothing_is_stored_by_an_audit(exchange: Sandbox, tmp_path: Path) -> None:
    with connect(exchange, tmp_path) as con:
        read(con, HOURS)
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.arrow")}
        remote(con, "2024-04-01", "2024-06-01")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.arrow")} == before


def test_a_remote_audit_needs_the_network(exchange: Sandbox, tmp_path: Path) -> None:
    with connect(exchange, tmp_path, offline=True) as con:
        assert audit(con, "BTCUSDT", "1h", *DAY) == []
        with raises_in_sql("OfflineError"):
            remote(con, *DAY)
    assert exchange.requests == ()
