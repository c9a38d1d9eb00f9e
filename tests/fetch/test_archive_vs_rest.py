"""Truth of a day: what a closed day holds when its archive is short, odd, replaced or wrongly summed.

Anomalies are the sandbox's; where REST must not have a symbol, a stand-in is asked.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from ckvd_sql.maintenance import refresh, verify
from ckvd_sql.market.series import HOUR, MINUTE, Month
from ckvd_sql.sandbox import ANOMALIES, Fault, Sandbox
from ckvd_sql.sandbox.anomalies import RESTART
from ckvd_sql.scan.resolver import Resolver
from ckvd_sql.settings import Settings
from tests.support.bars import Bar, Row, bars, csv_text, read, series
from tests.support.connections import cached_days, connect, raises_in_sql, settings_for
from tests.support.requests import rest_queries
from tests.support.stand_in import StandIn
from tests.support.truth import at, true_bars, true_rows, with_anomaly

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.maintenance import Finding
REST = "/v[13]/klines"
DAY = "ckvd_klines('BTCUSDT', '1h', '2024-05-01', '2024-05-02')"

SHORT = ("missing bars", "missing in places", "ends at 07:36")
#: Kept as they are: nothing is invented, nothing repaired.
KEPT = ("off grid", "early close", "close before open", "zero trades")
#: The same bars, otherwise written.
MENDED = (
    "duplicates", "unsorted", "mixed units", "header", "no header", "blank lines", "CRLF", "no last line end",
)  # fmt: skip
UNFIT = (
    "conflicting duplicates", "another day", "no bars", "field missing", "no number", "not finite", "no time",
    "wrong file", "two members", "same member twice", "member with a path", "member with a root",
    "member in a folder", "no member", "zip bomb",
)  # fmt: skip


# Short archives.


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("interval", ["1h", "1m"])
def test_rest_has_more_than_a_short_archive_so_rests_day_is_taken(
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
def test_rest_agrees_with_a_short_archive_so_it_is_kept_confirmed_and_never_checked_again(
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
            lacking = con.sql(f"SELECT sum(count)::INT FROM ckvd_gaps({range_})").fetchall()
            assert lacking == [(len(true_rows("BTCUSDT", interval, "2024-05-01", "2024-05-02")) - len(expected),)]
    with connect(exchange, tmp_path) as con:  # nor by another connection
        assert read(con, f"ckvd_klines({range_})") == expected
    assert exchange.requests == ()


def test_the_check_of_a_month_costs_at_most_two_requests_for_each_short_day(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(rf"\.zip|{REST}", "anomaly", name="missing in places"))
    with connect(exchange, tmp_path) as con:
        found = read(con, "ckvd_klines('BTCUSDT', '1h', '2024-04-01', '2024-05-01')")
        assert found == with_anomaly("missing in places", true_rows("BTCUSDT", "1h", "2024-04-01", "2024-05-01"))
        assert len(rest_queries(exchange)) <= 2 * 30
        assert set(cached_days(con)) == {("vision", "verified", "confirmed")}


def test_a_whole_archived_day_is_not_checked(exchange: Sandbox, tmp_path: Path) -> None:
    with connect(exchange, tmp_path) as con:
        assert len(read(con, DAY)) == 24
        assert cached_days(con) == [("vision", "verified", None)]
    assert rest_queries(exchange) == []


def test_one_bar_that_rest_has_is_enough_among_gaps_that_are_real(stand_in: StandIn, tmp_path: Path) -> None:
    one, day = series("spot", "BTCUSDT", "1h"), date(2024, 5, 1)
    whole = true_rows("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    real = [row for number, row in enumerate(whole) if number not in (2, 3, 4, 10, 11)]
    stand_in.publish(one, day, csv_text(row for row in real if row != whole[20]))
    stand_in.rows[one] = real
    with connect(stand_in, tmp_path) as con:
        assert read(con, DAY) == bars(real)
        assert cached_days(con, "source") == [("rest",)]


def test_a_gap_longer_than_a_page_is_checked_to_its_end(stand_in: StandIn, tmp_path: Path) -> None:
    one, day = series("spot", "BTCUSDT", "1m"), date(2024, 5, 1)
    whole = true_rows("BTCUSDT", "1m", "2024-05-01", "2024-05-02")
    real = whole[:60] + whole[1100:]
    stand_in.publish(one, day, csv_text(whole[:60]))
    stand_in.rows[one] = real
    with connect(stand_in, tmp_path) as con:
        assert read(con, "ckvd_klines('BTCUSDT', '1m', '2024-05-01', '2024-05-02')") == bars(real)
        assert cached_days(con, "source") == [("rest",)]


@pytest.mark.parametrize("status", [503, 429])
def test_a_short_archive_that_could_not_be_checked_is_not_believed_for_good(
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
        kept_then = cached_days(con)
    assert ("vision", "verified", "unconfirmed") not in kept_then
    with connect(exchange, tmp_path / "at first", spot_url=exchange.url.replace("127.0.0.1", "localhost")) as con:
        assert read(con, DAY) == true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-02")


# Symbols that REST serves no longer.


def test_a_delivered_contract_keeps_its_archives_short_day(exchange: Sandbox, tmp_path: Path) -> None:
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


def test_a_symbol_that_rest_does_not_know_keeps_its_archives_short_day(stand_in: StandIn, tmp_path: Path) -> None:
    short = true_rows("BTCUSDT", "1h", "2024-05-01", "2024-05-01T07:00")
    stand_in.publish(series("spot", "GONEUSDT", "1h"), date(2024, 5, 1), csv_text(short))
    call = "ckvd_klines('GONEUSDT', '1h', '2024-05-01', '2024-05-02')"
    with connect(stand_in, tmp_path) as con:
        assert read(con, call) == bars(short)
        assert cached_days(con) == [("vision", "verified", "unconfirmed")]
        before = len(stand_in.requests)
        assert read(con, call) == bars(short)
        assert len(stand_in.requests) == before


def test_a_delisted_pair_that_rest_still_serves_ends_where_it_ended(exchange: Sandbox, tmp_path: Path) -> None:
    call = "ckvd_klines('LUNAUSDT', '1h', '2022-05-12', '2022-05-14')"
    with connect(exchange, tmp_path) as con:
        assert read(con, call) == true_bars("LUNAUSDT", "1h", "2022-05-12", "2022-05-14")
        assert cached_days(con, "source, gaps") == [("vision", None), ("vision", "confirmed")]


# Months that lack days.


def test_a_months_archive_that_lacks_days_leaves_them_to_their_own_archives_and_then_to_rest(
    stand_in: StandIn, tmp_path: Path
) -> None:
    one = series("um", "BTCUSDT", "1h")
    whole = true_rows("BTCUSDT", "1h", "2024-04-01", "2024-05-01", market="um")
    lacking = [row for row in whole if not at("2024-04-18") <= row[0] * 1000 < at("2024-04-22")]
    stand_in.publish(one, Month(2024, 4), csv_text(lacking, header=True))
    for number in (18, 20):
        stand_in.publish(
            one, date(2024, 4, number), csv_text(row for row in whole if row[0] * 1000 // (24 * HOUR) == number + 19813)
        )
    stand_in.rows[one] = [row for row in whole if row[0] * 1000 < at("2024-04-21")]
    with connect(stand_in, tmp_path) as con:
        call = "ckvd_klines('BTCUSDT', '1h', '2024-04-01', '2024-05-01', market := 'um')"
        assert read(con, call) == bars(whole)[:480] + bars(whole[504:])
        said = cached_days(con, "day(date), source, rows")
    assert said[16:22] == [
        (17, "vision", 24),
        (18, "vision", 24),
        (19, "rest", 24),
        (20, "vision", 24),
        (21, "rest", 0),
        (22, "vision", 24),
    ]


def test_one_torn_day_in_a_months_archive_comes_from_rest_and_the_others_from_the_archive(
    stand_in: StandIn, tmp_path: Path
) -> None:
    one = series("spot", "BTCUSDT", "1h")
    whole = true_rows("BTCUSDT", "1h", "2024-04-01", "2024-05-01")
    stand_in.publish(one, Month(2024, 4), csv_text(whole[: 21 * 24 + 8] + whole[22 * 24 :]))
    stand_in.rows[one] = whole
    with connect(stand_in, tmp_path) as con:
        assert read(con, "ckvd_klines('BTCUSDT', '1h', '2024-04-01', '2024-05-01')") == bars(whole)
        assert cached_days(con, "source") == [("vision",)] * 21 + [("rest",)] + [("vision",)] * 8


# Archives that are replaced, or late.


def problems(resolver: Resolver, *, remote: bool = True) -> dict[str, str]:
    found: list[Finding] = list(verify(resolver, remote=remote))
    assert all(one.stale for one in found if one.problem)
    return {str(one.day): one.problem for one in found if one.problem}


def resolver(source: Sandbox | StandIn, cache: Path, **more: Any) -> Resolver:
    return Resolver(Settings.load(**settings_for(source, cache, **more)))


def test_verify_says_that_an_archive_was_replaced_and_refresh_says_which_bars_changed(
    stand_in: StandIn, tmp_path: Path
) -> None:
    one = series("spot", "BTCUSDT", "1h")
    first, second = (
        true_rows("BTCUSDT", "1h", "2024-05-01", "2024-05-02"),
        true_rows("BTCUSDT", "1h", "2024-05-02", "2024-05-03"),
    )
    wrong = [[*row[:4], row[3], *row[5:]] if number in (3, 5) else row for number, row in enumerate(first)]
    stand_in.publish(one, date(2024, 5, 1), csv_text(wrong))
    stand_in.publish(one, date(2024, 5, 2), csv_text(second))
    call = "ckvd_klines('BTCUSDT', '1h', '2024-05-01', '2024-05-03')"
    with connect(stand_in, tmp_path) as con:
        assert read(con, call) == bars(wrong + second)
        before = cached_days(con, "sha256")
        asked = resolver(stand_in, tmp_path)
        assert problems(asked) == {}
        assert list(refresh(asked)) == []
        stand_in.publish(one, date(2024, 5, 1), csv_text(first))
        assert problems(asked, remote=False) == {}
        assert list(problems(asked)) == ["2024-05-01"]
        assert "replaced" in problems(asked)["2024-05-01"]
        assert read(con, call) == bars(wrong + second)  # verify changes nothing
        (done,) = refresh(asked)
        assert (done.day, done.error) == (date(2024, 5, 1), None)
        assert [f"{changed:%H:%M}" for changed in done.changed] == ["03:00", "05:00"]
        assert read(con, call) == bars(first + second)
        after = cached_days(con, "sha256")
        assert (before[0] != after[0], before[1] == after[1]) == (True, True)
        assert problems(asked) == {}


def test_a_month_that_was_replaced_is_refreshed_as_a_month(stand_in: StandIn, tmp_path: Path) -> None:
    one, month = series("spot", "BTCUSDT", "1d"), Month(2024, 4)
    whole = true_rows("BTCUSDT", "1d", "2024-04-01", "2024-05-01")
    wrong = [[*row[:8], row[8] + 1, *row[9:]] if number == 6 else row for number, row in enumerate(whole)]
    stand_in.publish(one, month, csv_text(wrong))
    with connect(stand_in, tmp_path) as con:
        call = "ckvd_klines('BTCUSDT', '1d', '2024-04-01', '2024-05-01')"
        assert read(con, call) == bars(wrong)
        stand_in.publish(one, month, csv_text(whole))
        asked = resolver(stand_in, tmp_path)
        assert len(problems(asked)) == 30
        before = len(stand_in.requests)
        done = list(refresh(asked))
        assert len(stand_in.requests) - before == 3  # what is published now; the checksum and the zip
        assert {one.day: len(one.changed) for one in done if one.changed} == {date(2024, 4, 7): 1}
        assert read(con, call) == bars(whole)
        assert problems(asked) == {}


def test_a_torn_archive_of_a_delivered_contract_is_mended_when_it_is_replaced(
    exchange: Sandbox, tmp_path: Path
) -> None:
    exchange.set_now("2024-07-15")
    exchange.add(Fault(r"2024-06-26\.zip", "anomaly", name="ends at 07:36", until="2024-07-25"))
    call = "ckvd_klines('BTCUSDT_240628', '1h', '2024-06-26', '2024-06-27', market := 'um')"
    with connect(exchange, tmp_path) as con:
        assert len(read(con, call)) == 8
        exchange.set_now("2024-07-25")
        asked = resolver(exchange, tmp_path)
        assert list(problems(asked)) == ["2024-06-26"]
        (done,) = refresh(asked)
        assert [changed.hour for changed in done.changed] == list(range(8, 24))
        assert read(con, call) == true_bars("BTCUSDT_240628", "1h", "2024-06-26", "2024-06-27", market="um")
        assert cached_days(con) == [("vision", "verified", None)]


@pytest.mark.parametrize(
    ("interval", "start", "then"), [("1h", "2024-06-14", "2024-06-15T05:00"), ("1w", "2024-06-03", "2024-07-15")]
)
def test_a_day_that_came_from_rest_before_its_archive_is_fetched_from_there(
    exchange: Sandbox, tmp_path: Path, interval: str, start: str, then: str
) -> None:
    exchange.set_now("2024-06-15T02:00")
    call = f"ckvd_klines('BTCUSDT', '{interval}', '{start}', '2024-06-15')"
    with connect(exchange, tmp_path, now="2024-06-15T02:00") as con:
        first = read(con, call)
        assert {source for (source, *_) in cached_days(con)} == {"rest"}
        early = resolver(exchange, tmp_path, now="2024-06-15T02:00")
        assert problems(early) == {}
        assert list(refresh(early)) == []
        exchange.set_now(then)
        late = resolver(exchange, tmp_path, now=then)
        assert all("came from REST" in problem for problem in problems(late).values())
        assert [one.changed for one in refresh(late)] == [()]
        assert read(con, call) == first
        assert set(cached_days(con)) == {("vision", "verified", None)}
        assert problems(late) == {}


def test_refresh_reports_a_day_that_it_can_not_have_and_keeps_the_old_one(stand_in: StandIn, tmp_path: Path) -> None:
    one, day = series("spot", "BTCUSDT", "1h"), date(2024, 5, 1)
    first = true_rows("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    stand_in.publish(one, day, csv_text(first))
    with connect(stand_in, tmp_path) as con:
        assert read(con, DAY) == bars(first)
        stand_in.publish(one, day, csv_text(first), checksum="0" * 64)
        with StandIn() as dead:
            nowhere = dead.url
        (done,) = refresh(resolver(stand_in, tmp_path, spot_url=nowhere))
        assert type(done.error).__name__ == "ChecksumError"
        assert read(con, DAY) == bars(first)


# Checksums that are wrong for good.


def without_rest(case: str, exchange: Sandbox) -> tuple[str, dict[str, Any]]:
    """A call whose archive has a wrong checksum and whose REST can't serve it, and settings for that."""
    exchange.add(Fault(r"\.zip", "checksum"))
    match case:
        case "gone":
            exchange.set_now("2024-07-15")
            return "ckvd_klines('BTCUSDT_240628', '1h', '2024-06-26', '2024-06-27', market := 'um')", {"now": None}
        case "refused":
            exchange.add(Fault(REST, "status", status=451))
        case "down":
            exchange.add(Fault(REST, "status", status=503))
    return DAY, {}


def bars_of(case: str) -> list[Bar]:
    if case == "gone":
        return true_bars("BTCUSDT_240628", "1h", "2024-06-26", "2024-06-27", market="um")
    return true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-02")


def test_a_published_checksum_that_is_wrong_for_good_means_rests_day(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"\.zip", "checksum"))
    for policy in ("strict", "warn"):
        with connect(exchange, tmp_path / policy, checksum=policy) as con:
            assert read(con, DAY) == true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
            assert cached_days(con) == [("rest", None, None)]


@pytest.mark.parametrize("case", ["gone", "refused", "down"])
def test_where_rest_can_not_serve_the_day_a_wrong_checksum_is_an_error(
    exchange: Sandbox, tmp_path: Path, case: str
) -> None:
    call, more = without_rest(case, exchange)
    with connect(exchange, tmp_path, **(exchange.settings if more else {})) as con:
        with raises_in_sql("ChecksumError"):
            read(con, call)
        assert cached_days(con) == []
        exchange.clear_faults()
        assert read(con, call) == bars_of(case)
        assert cached_days(con) == [("vision", "verified", None)]


@pytest.mark.parametrize("case", ["gone", "refused", "down"])
def test_with_checksum_warn_the_day_is_used_and_says_that_it_is_unverified(
    exchange: Sandbox, tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    call, more = without_rest(case, exchange)
    with connect(exchange, tmp_path, checksum="warn", **(exchange.settings if more else {})) as con:
        assert read(con, call) == bars_of(case)
        assert cached_days(con, "source, checksum") == [("vision", "unverified")]
        assert "checksum" in caplog.text
        exchange.forget()
        assert read(con, call) == bars_of(case)
    assert exchange.requests == ()


def test_an_unverified_day_that_lacks_no_bar_has_no_gaps_to_tell_of(exchange: Sandbox, tmp_path: Path) -> None:
    call, _ = without_rest("down", exchange)
    with connect(exchange, tmp_path, checksum="warn") as con:
        assert len(read(con, call)) == 24
        assert cached_days(con) == [("vision", "unverified", None)]


def test_a_month_whose_checksum_is_wrong_for_good_is_taken_day_by_day(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"monthly/.*\.zip", "checksum"))
    with connect(exchange, tmp_path) as con:
        found = read(con, "ckvd_klines('BTCUSDT', '1h', '2024-04-01', '2024-05-01')")
        assert found == true_bars("BTCUSDT", "1h", "2024-04-01", "2024-05-01")
        assert set(cached_days(con)) == {("vision", "verified", None)}
    assert [query for query in rest_queries(exchange) if "limit=1" not in query.split("&")] == []  # but for the listing


def test_a_wrong_checksum_once_is_only_a_bad_download(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"\.zip", "checksum", times=1))
    with connect(exchange, tmp_path, retries=1) as con:
        assert read(con, DAY) == true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
        assert cached_days(con) == [("vision", "verified", None)]


# Anomalies.


def day_of(kind: str) -> tuple[str, list[Row]]:
    """A call for a day and its true rows: of spot in microseconds, or of futures with a header."""
    interval, market, day, end = {
        "spot": ("1h", "spot", "2025-03-03", "2025-03-04"),
        "um": ("15m", "um", "2024-05-01", "2024-05-02"),
    }[kind]
    call = f"ckvd_klines('BTCUSDT', '{interval}', '{day}', '{end}', market := '{market}')"
    return call, true_rows("BTCUSDT", interval, day, end, market=market)


def test_every_anomaly_has_its_rule() -> None:
    assert sorted((*SHORT, *KEPT, *MENDED, *UNFIT)) == sorted(ANOMALIES)


@pytest.mark.parametrize("kind", ["spot", "um"])
@pytest.mark.parametrize("name", ANOMALIES)
def test_an_anomaly_in_the_archive_alone(exchange: Sandbox, tmp_path: Path, kind: str, name: str) -> None:
    exchange.set_now("2025-03-15")
    exchange.add(Fault(r"\.zip", "anomaly", name=name))
    call, found = day_of(kind)
    with connect(exchange, tmp_path, now="2025-03-15") as con:
        assert read(con, call) == (with_anomaly(name, found) if name in KEPT else bars(found))
        source = "rest" if name in SHORT + UNFIT else "vision"
        assert cached_days(con, "source") == [(source,)]
        exchange.forget()
        assert read(con, call) == (with_anomaly(name, found) if name in KEPT else bars(found))
    assert exchange.requests == ()


@pytest.mark.parametrize("kind", ["spot", "um"])
@pytest.mark.parametrize("name", [*KEPT, "duplicates", "unsorted"])
def test_an_anomaly_of_bars_is_the_same_rows_from_archive_and_from_rest(
    exchange: Sandbox, tmp_path: Path, kind: str, name: str
) -> None:
    exchange.set_now("2025-03-15")
    exchange.add(Fault(rf"\.zip|{REST}", "anomaly", name=name))
    call, found = day_of(kind)
    expected = with_anomaly(name, found) if name in KEPT else bars(found)
    with connect(exchange, tmp_path / "archive", now="2025-03-15") as con:
        assert read(con, call) == expected
        assert cached_days(con, "source") == [("vision",)]
    exchange.add(Fault(r"\.zip", "status", status=404))
    with connect(exchange, tmp_path / "REST", now="2025-03-15") as con:
        assert read(con, call) == expected
        assert cached_days(con, "source") == [("rest",)]


@pytest.mark.parametrize("name", ["conflicting duplicates", "field missing", "no number", "not finite", "no time"])
def test_a_day_that_no_source_has_soundly_is_an_error_and_is_not_kept(
    exchange: Sandbox, tmp_path: Path, name: str
) -> None:
    exchange.add(Fault(rf"\.zip|{REST}", "anomaly", name=name))
    with connect(exchange, tmp_path) as con:
        with raises_in_sql("MalformedDataError"):
            read(con, DAY)
        assert cached_days(con) == []
        exchange.clear_faults()
        assert read(con, DAY) == true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-02")


def test_bars_off_the_grid_are_where_they_opened_and_are_no_gap(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"\.zip", "anomaly", name="off grid"))
    with connect(exchange, tmp_path) as con:
        found = read(con, DAY)
        opened = [(bar[0] - at("2024-05-01")) for bar in found]
        assert opened == [hour * HOUR for hour in range(9)] + [RESTART + hour * HOUR for hour in range(15)]
        assert found[9][6] - found[9][0] == HOUR - 1
        assert found[-1][6] == at("2024-05-02") - 1  # the grid is whole again at midnight
        assert con.sql(f"FROM {DAY.replace('klines', 'gaps')}").fetchall() == []
        inside = f"SELECT count(*) FROM {DAY} WHERE open_time BETWEEN '2024-05-01 09:00' AND '2024-05-01 10:30'"
        assert con.sql(inside).fetchall() == [(1,)] or con.sql(inside).fetchall() == [(2,)]


def test_close_times_are_kept_even_where_they_are_early_or_before_their_open(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"\.zip", "anomaly", name="early close"))
    exchange.add(Fault(r"\.zip", "anomaly", name="close before open"))
    with connect(exchange, tmp_path) as con:
        found = read(con, DAY)
    assert found[12][6] == at("2024-05-01 12:39:41.646") + 999
    assert found[14][6] == at("2024-05-01 14:00") - 1
    assert [bar[6] - bar[0] for number, bar in enumerate(found) if number not in (12, 14)] == [HOUR - 1] * 22


def test_a_bar_without_trades_is_a_bar(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"\.zip", "anomaly", name="zero trades"))
    with connect(exchange, tmp_path) as con:
        bar = read(con, DAY)[12]
    opened, price = at("2024-05-01 12:00"), bar[1]
    assert bar == (opened, price, price, price, price, 0.0, opened + 60 * MINUTE - 1, 0.0, 0, 0.0, 0.0)


def test_weeks_in_milliseconds_among_microseconds_are_weeks(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.set_now("2025-09-15")
    exchange.add(Fault(r"\.zip", "anomaly", name="mixed units"))
    with connect(exchange, tmp_path, now="2025-09-15") as con:
        found = read(con, "ckvd_klines('BTCUSDT', '1w', '2025-03-01', '2025-08-01')")
        assert found == true_bars("BTCUSDT", "1w", "2025-03-01", "2025-08-01")
        assert set(cached_days(con, "source")) == {("vision",)}
