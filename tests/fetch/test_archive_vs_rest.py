"""Days and months that their archive has only in part: what REST adds, confirms or cannot confirm."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import duckdb
import pytest

from ckvd_sql.market.periods import HOUR, Month
from ckvd_sql.sandbox import Fault, Sandbox
from tests.support.bars import bars, csv_text, read, series
from tests.support.connections import cached_days, connect
from tests.support.requests import rest_queries
from tests.support.truth import at, true_bars, true_rows, with_anomaly

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stand_in import StandIn

REST = "/v[13]/klines"
DAY = "ckvd_klines('BTCUSDT', '1h', '2024-05-01', '2024-05-02')"

SHORT = ("missing bars", "missing in places", "ends at 07:36")


# Short archives.


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("interval", ["1h", "1m"])
def test_when_rest_has_more_bars_than_a_short_archive_the_day_comes_from_rest(
    exchange: Sandbox, tmp_path: Path, name: str, interval: str
) -> None:
    exchange.add(Fault(r"\.zip", "anomaly", name=name))
    call = f"ckvd_klines('BTCUSDT', '{interval}', '2024-05-01', '2024-05-02')"
    with connect(exchange, tmp_path) as con:
        assert read(con, call) == true_bars("BTCUSDT", interval, "2024-05-01", "2024-05-02")
        assert cached_days(con) == [("rest", None, None)]
        exchange.forget()
        assert read(con, call) == true_bars("BTCUSDT", interval, "2024-05-01", "2024-05-02")
    assert exchange.requests == ()


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("interval", ["1h", "1m"])
def test_when_rest_agrees_with_a_short_archive_its_gaps_are_confirmed_and_never_checked_again(
    exchange: Sandbox, tmp_path: Path, name: str, interval: str
) -> None:
    exchange.add(Fault(rf"\.zip|{REST}", "anomaly", name=name))
    range_ = f"'BTCUSDT', '{interval}', '2024-05-01', '2024-05-02'"
    expected = with_anomaly(name, true_rows("BTCUSDT", interval, "2024-05-01", "2024-05-02"))
    with connect(exchange, tmp_path) as con:
        assert read(con, f"ckvd_klines({range_})") == expected
        assert cached_days(con) == [("vision", "verified", "confirmed")]
        assert len(rest_queries(exchange)) <= 2
        exchange.forget()
        for _ in range(3):
            assert read(con, f"ckvd_klines({range_})") == expected
            missing = con.sql(f"SELECT sum(count)::INT FROM ckvd_gaps({range_})").fetchall()
            assert missing == [(len(true_rows("BTCUSDT", interval, "2024-05-01", "2024-05-02")) - len(expected),)]
    with connect(exchange, tmp_path) as con:  # nor by another connection
        assert read(con, f"ckvd_klines({range_})") == expected
    assert exchange.requests == ()


def test_checking_a_month_takes_at_most_two_requests_per_short_day(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(rf"\.zip|{REST}", "anomaly", name="missing in places"))
    with connect(exchange, tmp_path) as con:
        found = read(con, "ckvd_klines('BTCUSDT', '1h', '2024-04-01', '2024-05-01')")
        assert found == with_anomaly("missing in places", true_rows("BTCUSDT", "1h", "2024-04-01", "2024-05-01"))
        assert len(rest_queries(exchange)) <= 2 * 30
        assert set(cached_days(con)) == {("vision", "verified", "confirmed")}


def test_a_complete_archived_day_is_not_checked(exchange: Sandbox, tmp_path: Path) -> None:
    with connect(exchange, tmp_path) as con:
        assert len(read(con, DAY)) == 24
        assert cached_days(con) == [("vision", "verified", None)]
    assert rest_queries(exchange) == []


def test_a_single_extra_bar_in_rest_replaces_the_day_even_among_real_gaps(stand_in: StandIn, tmp_path: Path) -> None:
    one, day = series("spot", "BTCUSDT", "1h"), date(2024, 5, 1)
    whole = true_rows("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    real = [row for number, row in enumerate(whole) if number not in (2, 3, 4, 10, 11)]
    stand_in.publish(one, day, csv_text(row for row in real if row != whole[20]))
    stand_in.rows[one] = real
    with connect(stand_in, tmp_path) as con:
        assert read(con, DAY) == bars(real)
        assert cached_days(con, "source") == [("rest",)]


def test_a_gap_longer_than_a_rest_page_is_checked_to_its_end(stand_in: StandIn, tmp_path: Path) -> None:
    one, day = series("spot", "BTCUSDT", "1m"), date(2024, 5, 1)
    whole = true_rows("BTCUSDT", "1m", "2024-05-01", "2024-05-02")
    real = whole[:60] + whole[1100:]
    stand_in.publish(one, day, csv_text(whole[:60]))
    stand_in.rows[one] = real
    with connect(stand_in, tmp_path) as con:
        assert read(con, "ckvd_klines('BTCUSDT', '1m', '2024-05-01', '2024-05-02')") == bars(real)
        assert cached_days(con, "source") == [("rest",)]


@pytest.mark.parametrize("status", [503, 429])
def test_a_short_archive_that_could_not_be_checked_is_checked_again_later(
    exchange: Sandbox, tmp_path: Path, status: int
) -> None:
    exchange.add(Fault(r"\.zip", "anomaly", name="ends at 07:36"))
    exchange.add(Fault(REST, "status", status=status, headers={"Retry-After": "1"}, times=1))
    with connect(exchange, tmp_path / "at first") as con:
        answer = []
        try:
            answer = read(con, DAY)
        except duckdb.Error as error:
            assert "Error: " in str(error)  # noqa: PT017 (either is right: an error of ours, or the bars that are there)
        assert all(bar in true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-02") for bar in answer)
        cached_then = cached_days(con)
    assert ("vision", "verified", "unconfirmed") not in cached_then
    with connect(exchange, tmp_path / "at first", spot_url=exchange.url.replace("127.0.0.1", "localhost")) as con:
        assert read(con, DAY) == true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-02")


# Symbols that REST no longer serves.


def test_a_short_day_of_a_delivered_contract_is_used_unconfirmed(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.set_now("2024-07-15")
    exchange.add(Fault(r"2024-06-2\d\.zip", "anomaly", name="missing bars"))
    call = "ckvd_klines('BTCUSDT_240628', '1h', '2024-06-26', '2024-06-28', market := 'um')"
    expected = with_anomaly("missing bars", true_rows("BTCUSDT_240628", "1h", "2024-06-26", "2024-06-28", market="um"))
    with connect(exchange, tmp_path) as con:
        assert read(con, call) == expected
        assert cached_days(con) == [("vision", "verified", "unconfirmed")] * 2
        exchange.forget()
        assert read(con, call) == expected
    assert exchange.requests == ()


def test_a_short_day_of_a_symbol_unknown_to_rest_is_used_unconfirmed(stand_in: StandIn, tmp_path: Path) -> None:
    short = true_rows("BTCUSDT", "1h", "2024-05-01", "2024-05-01T07:00")
    stand_in.publish(series("spot", "GONEUSDT", "1h"), date(2024, 5, 1), csv_text(short))
    call = "ckvd_klines('GONEUSDT', '1h', '2024-05-01', '2024-05-02')"
    with connect(stand_in, tmp_path) as con:
        assert read(con, call) == bars(short)
        assert cached_days(con) == [("vision", "verified", "unconfirmed")]
        before = len(stand_in.requests)
        assert read(con, call) == bars(short)
        assert len(stand_in.requests) == before


def test_the_short_last_day_of_a_delisted_pair_is_confirmed_by_rest(exchange: Sandbox, tmp_path: Path) -> None:
    call = "ckvd_klines('LUNAUSDT', '1h', '2022-05-12', '2022-05-14')"
    with connect(exchange, tmp_path) as con:
        assert read(con, call) == true_bars("LUNAUSDT", "1h", "2022-05-12", "2022-05-14")
        assert cached_days(con, "source, gaps") == [("vision", None), ("vision", "confirmed")]


# Monthly archives with missing days.


def test_days_missing_from_a_monthly_archive_come_from_daily_archives_and_then_from_rest(
    stand_in: StandIn, tmp_path: Path
) -> None:
    one = series("um", "BTCUSDT", "1h")
    whole = true_rows("BTCUSDT", "1h", "2024-04-01", "2024-05-01", market="um")
    incomplete = [row for row in whole if not at("2024-04-18") <= row[0] * 1000 < at("2024-04-22")]
    stand_in.publish(one, Month(2024, 4), csv_text(incomplete, header=True))
    for number in (18, 20):
        stand_in.publish(
            one, date(2024, 4, number), csv_text(row for row in whole if row[0] * 1000 // (24 * HOUR) == number + 19813)
        )
    stand_in.rows[one] = [row for row in whole if row[0] * 1000 < at("2024-04-21")]
    with connect(stand_in, tmp_path) as con:
        call = "ckvd_klines('BTCUSDT', '1h', '2024-04-01', '2024-05-01', market := 'um')"
        assert read(con, call) == bars(whole)[:480] + bars(whole[504:])
        days = cached_days(con, "day(date), source, rows")
    assert days[16:22] == [
        (17, "vision", 24),
        (18, "vision", 24),
        (19, "rest", 24),
        (20, "vision", 24),
        (21, "rest", 0),
        (22, "vision", 24),
    ]


def test_one_short_day_in_a_monthly_archive_comes_from_rest_and_the_others_from_the_archive(
    stand_in: StandIn, tmp_path: Path
) -> None:
    one = series("spot", "BTCUSDT", "1h")
    whole = true_rows("BTCUSDT", "1h", "2024-04-01", "2024-05-01")
    stand_in.publish(one, Month(2024, 4), csv_text(whole[: 21 * 24 + 8] + whole[22 * 24 :]))
    stand_in.rows[one] = whole
    with connect(stand_in, tmp_path) as con:
        assert read(con, "ckvd_klines('BTCUSDT', '1h', '2024-04-01', '2024-05-01')") == bars(whole)
        assert cached_days(con, "source") == [("vision",)] * 21 + [("rest",)] + [("vision",)] * 8


@pytest.mark.parametrize("answer", ["missing in places", "no bars"])
def test_a_short_or_empty_answer_of_rest_neither_replaces_a_short_archived_day_nor_confirms_its_gaps(
    exchange: Sandbox, tmp_path: Path, answer: str
) -> None:
    exchange.add(Fault(r"\.zip", "anomaly", name="ends at 07:36"))
    exchange.add(Fault(REST, "anomaly", name=answer))
    whole = true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    with connect(exchange, tmp_path) as con:
        assert read(con, DAY) == whole[:8]
        assert cached_days(con) == []
        exchange.clear_faults()
        assert read(con, DAY) == whole
