"""Archives whose published checksum does not match."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.market.periods import Month
from ckvd_sql.sandbox import Fault, Sandbox
from tests.support.bars import Bar, Row, bars, csv_text, read, series
from tests.support.connections import cached_days, connect, raises_in_sql
from tests.support.logs import warnings
from tests.support.requests import rest_queries, zips
from tests.support.truth import true_bars, true_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stand_in import StandIn

REST = "/v[13]/klines"
DAY = "ckvd_klines('BTCUSDT', '1h', '2024-05-01', '2024-05-02')"


def break_archive_and_rest(case: str, exchange: Sandbox) -> str:
    """Make the archive's checksums wrong, and give a call that REST cannot serve either."""
    exchange.add(Fault(r"\.zip", "checksum"))
    match case:
        case "gone":
            exchange.set_now("2024-07-15")
            return "ckvd_klines('BTCUSDT_240628', '1h', '2024-06-26', '2024-06-27', market := 'um')"
        case "refused":
            exchange.add(Fault(REST, "status", status=451))
        case "down":
            exchange.add(Fault(REST, "status", status=503))
    return DAY


def bars_of(case: str) -> list[Bar]:
    if case == "gone":
        return true_bars("BTCUSDT_240628", "1h", "2024-06-26", "2024-06-27", market="um")
    return true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-02")


def test_a_day_whose_published_checksum_never_matches_comes_from_rest(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"\.zip", "checksum"))
    for policy in ("strict", "warn"):
        with connect(exchange, tmp_path / policy, checksum=policy) as con:
            assert read(con, DAY) == true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
            assert cached_days(con) == [("rest", None, None)]


@pytest.mark.parametrize("case", ["gone", "refused", "down"])
def test_a_wrong_checksum_is_an_error_if_rest_cannot_serve_the_day(
    exchange: Sandbox, tmp_path: Path, case: str
) -> None:
    call = break_archive_and_rest(case, exchange)
    with connect(exchange, tmp_path) as con:
        with raises_in_sql("ChecksumError"):
            read(con, call)
        assert cached_days(con) == []
        exchange.clear_faults()
        assert read(con, call) == bars_of(case)
        assert cached_days(con) == [("vision", "verified", None)]


@pytest.mark.parametrize("case", ["gone", "refused", "down"])
def test_with_checksum_warn_the_day_is_used_and_marked_unverified(
    exchange: Sandbox, tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    call = break_archive_and_rest(case, exchange)
    with connect(exchange, tmp_path, checksum="warn") as con:
        assert read(con, call) == bars_of(case)
        assert cached_days(con, "source, checksum") == [("vision", "unverified")]
        assert "checksum" in caplog.text
        exchange.forget()
        assert read(con, call) == bars_of(case)
    assert exchange.requests == ()


def test_an_unverified_complete_day_has_no_gaps(exchange: Sandbox, tmp_path: Path) -> None:
    call = break_archive_and_rest("down", exchange)
    with connect(exchange, tmp_path, checksum="warn") as con:
        assert len(read(con, call)) == 24
        assert cached_days(con) == [("vision", "unverified", None)]


def test_a_month_whose_checksum_never_matches_is_fetched_by_days(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"monthly/.*\.zip", "checksum"))
    with connect(exchange, tmp_path) as con:
        found = read(con, "ckvd_klines('BTCUSDT', '1h', '2024-04-01', '2024-05-01')")
        assert found == true_bars("BTCUSDT", "1h", "2024-04-01", "2024-05-01")
        assert set(cached_days(con)) == {("vision", "verified", None)}
    beyond_the_listing_date = [query for query in rest_queries(exchange) if "limit=1" not in query.split("&")]
    assert beyond_the_listing_date == []


def test_a_checksum_that_fails_once_is_retried(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"\.zip", "checksum", times=1))
    with connect(exchange, tmp_path, retries=1) as con:
        assert read(con, DAY) == true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
        assert cached_days(con) == [("vision", "verified", None)]


def test_an_archive_that_is_wrong_for_good_is_not_downloaded_by_the_next_query(
    exchange: Sandbox, tmp_path: Path
) -> None:
    exchange.add(Fault(r"\.zip", "checksum"))
    exchange.add(Fault(REST, "status", status=503))
    with connect(exchange, tmp_path, retries=1) as con, raises_in_sql("ChecksumError"):
        read(con, DAY)
    assert len(zips(exchange)) == 2
    exchange.forget()
    with connect(exchange, tmp_path) as con, raises_in_sql("ChecksumError"):
        read(con, DAY)
    assert zips(exchange) == []


# With `warn`: days of more bars than a page of REST.

MINUTES = "ckvd_klines('BTCUSDT', '1m', '2024-05-01', '2024-05-02')"


def publish_minutes(stand_in: StandIn, archived: list[Row], rest: list[Row]) -> None:
    one = series("spot", "BTCUSDT", "1m")
    stand_in.publish(one, date(2024, 5, 1), csv_text(archived), checksum="0" * 64)
    stand_in.rows[one] = rest


def minutes() -> list[Row]:
    return true_rows("BTCUSDT", "1m", "2024-05-01", "2024-05-02")


def lower(row: Row) -> Row:
    return [*row[:8], row[8] - 1, *row[9:]]


@pytest.mark.parametrize("interval", ["1m", "1s"])
def test_with_warn_a_long_day_is_used_when_a_sample_equals_rest(
    exchange: Sandbox, tmp_path: Path, interval: str, caplog: pytest.LogCaptureFixture
) -> None:
    exchange.add(Fault(r"\.zip", "checksum"))
    with connect(exchange, tmp_path, checksum="warn", retries=3) as con:
        found = read(con, f"ckvd_klines('BTCUSDT', '{interval}', '2024-05-01', '2024-05-02')")
        assert found == true_bars("BTCUSDT", interval, "2024-05-01", "2024-05-02")
        assert cached_days(con) == [("vision", "unverified", None)]
    assert len(rest_queries(exchange)) <= 2
    assert len(zips(exchange)) == 2
    assert len(warnings(caplog)) == 1


def test_with_warn_a_long_day_whose_sample_differs_comes_whole_from_rest(stand_in: StandIn, tmp_path: Path) -> None:
    publish_minutes(stand_in, [lower(row) for row in minutes()], minutes())
    with connect(stand_in, tmp_path, checksum="warn") as con:
        assert read(con, MINUTES) == bars(minutes())
        assert cached_days(con) == [("rest", None, None)]


@pytest.mark.parametrize("status", [503, 451])
def test_with_warn_a_long_day_is_used_while_rest_cannot_be_asked(
    exchange: Sandbox, tmp_path: Path, status: int
) -> None:
    exchange.add(Fault(r"\.zip", "checksum"))
    exchange.add(Fault(REST, "status", status=status))
    with connect(exchange, tmp_path, checksum="warn") as con:
        assert read(con, MINUTES) == bars(minutes())
        assert cached_days(con) == [("vision", "unverified", None)]


def test_with_warn_a_long_day_of_a_symbol_that_rest_does_not_know_is_used(stand_in: StandIn, tmp_path: Path) -> None:
    publish_minutes(stand_in, minutes(), [])
    stand_in.rows.clear()
    with connect(stand_in, tmp_path, checksum="warn") as con:
        assert read(con, MINUTES) == bars(minutes())
        assert cached_days(con) == [("vision", "unverified", None)]


def test_with_warn_the_gaps_of_a_long_day_are_compared_with_rest(stand_in: StandIn, tmp_path: Path) -> None:
    short = minutes()[:700] + minutes()[720:]
    publish_minutes(stand_in, short, short)
    with connect(stand_in, tmp_path / "real", checksum="warn") as con:
        assert read(con, MINUTES) == bars(short)
        assert cached_days(con) == [("vision", "unverified", "confirmed")]
    publish_minutes(stand_in, minutes()[:200], minutes())
    with connect(stand_in, tmp_path / "torn", checksum="warn") as con:
        assert read(con, MINUTES) == bars(minutes())
        assert cached_days(con) == [("rest", None, None)]


def test_with_warn_a_month_that_is_the_only_archive_is_downloaded_once_more_for_all_its_days(
    stand_in: StandIn, tmp_path: Path
) -> None:
    one = series("spot", "GONEUSDT", "1h")
    rows = true_rows("BTCUSDT", "1h", "2024-04-01", "2024-05-01")
    stand_in.publish(one, Month(2024, 4), csv_text(rows), checksum="0" * 64)
    with connect(stand_in, tmp_path, checksum="warn") as con:
        assert read(con, "ckvd_klines('GONEUSDT', '1h', '2024-04-01', '2024-05-01')") == bars(rows)
        assert set(cached_days(con, "source, checksum")) == {("vision", "unverified")}
    assert len([path for path in stand_in.requests if path.endswith("2024-04.zip")]) == 2
