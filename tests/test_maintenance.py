"""Maintenance: `verify` finds cached days that differ from what is published, `refresh` fetches them again."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql.maintenance import refresh, verify
from ckvd_sql.market.periods import Month
from ckvd_sql.sandbox import Fault, Sandbox
from ckvd_sql.scan.resolver import Resolver
from ckvd_sql.settings import Settings
from tests.support.bars import bars, csv_text, read, series
from tests.support.connections import cached_days, connect, settings_for
from tests.support.damage import writable
from tests.support.stand_in import StandIn
from tests.support.truth import true_bars, true_rows

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.maintenance import Finding
DAY = "ckvd_klines('BTCUSDT', '1h', '2024-05-01', '2024-05-02')"


def problems(resolver: Resolver, *, remote: bool = True) -> dict[str, str]:
    found: list[Finding] = list(verify(resolver, remote=remote))
    assert all(one.stale for one in found if one.problem)
    return {str(one.day): one.problem for one in found if one.problem}


def resolver(source: Sandbox | StandIn, cache: Path, **more: Any) -> Resolver:
    return Resolver(Settings.load(**settings_for(source, cache, **more)))


def test_verify_reports_a_replaced_archive_and_refresh_reports_which_bars_changed(
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
        current = resolver(stand_in, tmp_path)
        assert problems(current) == {}
        assert list(refresh(current)) == []
        stand_in.publish(one, date(2024, 5, 1), csv_text(first))
        assert problems(current, remote=False) == {}
        assert list(problems(current)) == ["2024-05-01"]
        assert "replaced" in problems(current)["2024-05-01"]
        assert read(con, call) == bars(wrong + second)  # verify changes no day
        (done,) = refresh(current)
        assert (done.day, done.error) == (date(2024, 5, 1), None)
        assert [f"{changed:%H:%M}" for changed in done.changed] == ["03:00", "05:00"]
        assert read(con, call) == bars(first + second)
        after = cached_days(con, "sha256")
        assert (before[0] != after[0], before[1] == after[1]) == (True, True)
        assert problems(current) == {}


def test_a_replaced_monthly_archive_is_refreshed_in_one_download(stand_in: StandIn, tmp_path: Path) -> None:
    one, month = series("spot", "BTCUSDT", "1d"), Month(2024, 4)
    whole = true_rows("BTCUSDT", "1d", "2024-04-01", "2024-05-01")
    wrong = [[*row[:8], row[8] + 1, *row[9:]] if number == 6 else row for number, row in enumerate(whole)]
    stand_in.publish(one, month, csv_text(wrong))
    with connect(stand_in, tmp_path) as con:
        call = "ckvd_klines('BTCUSDT', '1d', '2024-04-01', '2024-05-01')"
        assert read(con, call) == bars(wrong)
        stand_in.publish(one, month, csv_text(whole))
        current = resolver(stand_in, tmp_path)
        assert list(problems(current)) == ["2024-04-07"]
        before = len(stand_in.requests)
        done = list(refresh(current))
        assert len(stand_in.requests) - before == 5  # the current checksum; checksum and zip to compare, and to store
        assert {one.day: len(one.changed) for one in done if one.changed} == {date(2024, 4, 7): 1}
        assert read(con, call) == bars(whole)
        assert problems(current) == {}


def test_a_short_day_of_a_delivered_contract_is_refreshed_once_its_archive_is_replaced(
    exchange: Sandbox, tmp_path: Path
) -> None:
    exchange.set_now("2024-07-15")
    exchange.add(Fault(r"2024-06-26\.zip", "anomaly", name="ends at 07:36", until="2024-07-25"))
    call = "ckvd_klines('BTCUSDT_240628', '1h', '2024-06-26', '2024-06-27', market := 'um')"
    with connect(exchange, tmp_path) as con:
        assert len(read(con, call)) == 8
        exchange.set_now("2024-07-25")
        current = resolver(exchange, tmp_path)
        assert list(problems(current)) == ["2024-06-26"]
        (done,) = refresh(current)
        assert [changed.hour for changed in done.changed] == list(range(8, 24))
        assert read(con, call) == true_bars("BTCUSDT_240628", "1h", "2024-06-26", "2024-06-27", market="um")
        assert cached_days(con) == [("vision", "verified", None)]


@pytest.mark.parametrize(
    ("interval", "start", "then"), [("1h", "2024-06-14", "2024-06-15T05:00"), ("1w", "2024-06-03", "2024-07-15")]
)
def test_a_day_from_rest_is_good_if_its_archive_has_the_same_bars(
    exchange: Sandbox, tmp_path: Path, interval: str, start: str, then: str
) -> None:
    exchange.set_now("2024-06-15T02:00")
    call = f"ckvd_klines('BTCUSDT', '{interval}', '{start}', '2024-06-15')"
    with connect(exchange, tmp_path, now="2024-06-15T02:00") as con:
        first = read(con, call)
        assert {source for (source, *_) in cached_days(con)} == {"rest"}
        exchange.set_now(then)
        late = resolver(exchange, tmp_path, now=then)
        assert problems(late) == {}
        assert any(request.path.endswith(".zip") for request in exchange.requests)
        assert list(refresh(late)) == []
        assert read(con, call) == first
        assert {source for (source, *_) in cached_days(con)} == {"rest"}


def test_a_day_from_rest_is_stale_if_its_archive_has_other_bars(stand_in: StandIn, tmp_path: Path) -> None:
    one = series("spot", "BTCUSDT", "1h")
    rows = true_rows("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    stand_in.rows[one] = rows
    with connect(stand_in, tmp_path) as con:
        assert read(con, DAY) == bars(rows)
        assert cached_days(con, "source") == [("rest",)]
        published = [[*row[:8], row[8] + 1, *row[9:]] if number in (7, 9) else row for number, row in enumerate(rows)]
        stand_in.publish(one, date(2024, 5, 1), csv_text(published))
        current = resolver(stand_in, tmp_path)
        assert problems(current) == {
            "2024-05-01": "came from REST, and the archive of 2024-05-01 is out now: 2 bars differ, "
            "the first at 2024-05-01 07:00"
        }
        (done,) = refresh(current)
        assert [changed.hour for changed in done.changed] == [7, 9]
        assert read(con, DAY) == bars(published)
        assert problems(current) == {}


@pytest.mark.parametrize("broken", ["checksum", "digest", "text", "no bars"])
def test_an_archive_that_cannot_be_read_says_nothing_against_a_day_from_rest(
    stand_in: StandIn, tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = series("spot", "BTCUSDT", "1h")
    stand_in.rows[one] = true_rows("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    with connect(stand_in, tmp_path) as con:
        first = read(con, DAY)
        text = {"text": b"1,2\n", "no bars": b""}.get(broken, csv_text(stand_in.rows[one]))
        published = {"checksum": "0" * 64, "digest": "no digest"}.get(broken)
        stand_in.publish(one, date(2024, 5, 1), text, checksum=published)
        current = resolver(stand_in, tmp_path)
        assert problems(current) == {}
        unreadable = "BTCUSDT 1h (spot): cached days are not compared with archives that can't be read as published"
        expected = [] if broken == "no bars" else [f"{unreadable}: 2024-05-01"]
        assert [note.getMessage() for note in caplog.records if "not compared" in note.getMessage()] == expected
        assert list(refresh(current)) == []
        assert read(con, DAY) == first


def test_a_replaced_archive_with_the_same_bars_leaves_its_day_good(stand_in: StandIn, tmp_path: Path) -> None:
    one, rows = series("spot", "BTCUSDT", "1h"), true_rows("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    stand_in.publish(one, date(2024, 5, 1), csv_text(rows))
    with connect(stand_in, tmp_path) as con:
        assert read(con, DAY) == bars(rows)
        stand_in.publish(one, date(2024, 5, 1), csv_text(rows) + b"\n")
        assert problems(resolver(stand_in, tmp_path)) == {}


def test_refresh_reports_a_day_that_it_cannot_fetch_and_leaves_its_file(stand_in: StandIn, tmp_path: Path) -> None:
    one, day = series("spot", "BTCUSDT", "1h"), date(2024, 5, 1)
    rows = true_rows("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    stand_in.publish(one, day, csv_text(rows))
    with connect(stand_in, tmp_path) as con:
        assert read(con, DAY) == bars(rows)
    stand_in.publish(one, day, csv_text(rows), checksum="0" * 64)
    with StandIn() as dead:
        nowhere = dead.url
    current = resolver(stand_in, tmp_path, spot_url=nowhere)
    path = current.store.path(one, day)
    writable(path).write_bytes(b"damaged")
    (done,) = refresh(current)
    assert type(done.error).__name__ == "ChecksumError"
    assert path.read_bytes() == b"damaged"
