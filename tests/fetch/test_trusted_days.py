"""Which days from REST are stored: those that are whole and closed minutes ago, or that no archive will correct."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ckvd_sql.sandbox import Fault
from tests.support.bars import read
from tests.support.connections import cached_days, connect
from tests.support.logs import warnings
from tests.support.truth import true_bars

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox

NO_ARCHIVE = Fault("/data/", "status", status=404)
REST = r"/v\d/klines"
RECENT = ("2024-06-10", "2024-06-11")

#: What REST may answer for a closed day that it has in full some minutes later.
SHORT_ANSWERS = {
    "nothing": Fault(REST, "status", status=200, body="[]"),
    "hours left out": Fault(REST, "anomaly", name="missing in places"),
}


def call(start: str, end: str) -> str:
    return f"ckvd_klines('BTCUSDT', '1h', '{start}', '{end}')"


@pytest.mark.parametrize("name", SHORT_ANSWERS)
def test_a_recent_day_that_rest_has_in_part_is_served_with_one_warning_and_not_stored(
    exchange: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    exchange.add(NO_ARCHIVE)
    exchange.add(SHORT_ANSWERS[name])
    with connect(exchange, tmp_path) as con:
        assert len(read(con, call("2024-06-10", "2024-06-13"))) < 3 * 24
        assert cached_days(con) == []
        assert len([text for text in warnings(caplog) if "missing from REST's answer" in text]) == 1
        exchange.clear_faults()
        exchange.add(NO_ARCHIVE)
        assert read(con, call(*RECENT)) == true_bars("BTCUSDT", "1h", *RECENT)
        assert cached_days(con, "source") == [("rest",)]


def test_a_whole_day_is_stored_only_some_minutes_after_it_closed(exchange: Sandbox, tmp_path: Path) -> None:
    for now, stored in (("2024-06-15T00:00:20", 0), ("2024-06-15T00:10", 1)):
        exchange.set_now(now)
        with connect(exchange, tmp_path, now=now) as con:
            assert read(con, call("2024-06-14", "2024-06-15")) == true_bars("BTCUSDT", "1h", "2024-06-14", "2024-06-15")
            assert len(cached_days(con)) == stored


def test_whole_historical_days_are_stored(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(NO_ARCHIVE)
    with connect(exchange, tmp_path) as con:
        read(con, call("2024-05-20", "2024-06-10"))
        assert cached_days(con, "source") == [("rest",)] * 21


def test_a_short_day_is_stored_once_no_archive_will_come(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(NO_ARCHIVE)
    with connect(exchange, tmp_path) as con:
        assert len(read(con, call("2023-03-24", "2023-03-25"))) == 23
        assert cached_days(con, "source, rows") == [("rest", 23)]


@pytest.mark.parametrize("name", SHORT_ANSWERS)
def test_while_the_archive_fails_a_short_day_is_never_stored(exchange: Sandbox, tmp_path: Path, name: str) -> None:
    exchange.add(Fault("/data/", "status", status=503))
    exchange.add(SHORT_ANSWERS[name])
    with connect(exchange, tmp_path) as con:
        read(con, call("2023-05-01", "2023-05-02"))
        assert cached_days(con) == []
        exchange.clear_faults()
        assert read(con, call("2023-05-01", "2023-05-02")) == true_bars("BTCUSDT", "1h", "2023-05-01", "2023-05-02")


def test_the_first_day_of_a_symbol_is_whole_from_its_first_bar_on(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.set_now("2020-08-23T12:00")
    exchange.add(NO_ARCHIVE)
    with connect(exchange, tmp_path, now="2020-08-23T12:00") as con:
        found = read(con, "ckvd_klines('LUNAUSDT', '1h', '2020-08-20', '2020-08-22')")
        assert found == true_bars("LUNAUSDT", "1h", "2020-08-20", "2020-08-22")
        assert cached_days(con, "day(date)") == [(21,)]
