"""Failover from the archive: files that are missing, fail or are malformed, and months against days."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql import CryptoKlineVisionData
from ckvd_sql.sandbox import Fault
from tests.support.bars import read
from tests.support.connections import sources
from tests.support.faults import NOWHERE
from tests.support.logs import warnings
from tests.support.requests import asked, zips

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import Truth

TWO_DAYS = ("BTCUSDT", "1h", "2024-06-01", "2024-06-03")
CALL = f"ckvd_klines{TWO_DAYS}"
ZIPS = r"\.zip$"


def test_closed_days_come_from_the_archive(con: DuckDBPyConnection, exchange: Sandbox, truth: Truth) -> None:
    assert sources(con, CALL) == {"vision"}
    assert len(zips(exchange)) == 2
    assert not asked(exchange, "/api/")
    assert read(con, CALL) == truth(*TWO_DAYS)


def test_a_second_query_sends_no_request(con: DuckDBPyConnection, exchange: Sandbox, truth: Truth) -> None:
    assert read(con, CALL) == truth(*TWO_DAYS)
    exchange.forget()
    assert read(con, CALL) == truth(*TWO_DAYS)
    assert sources(con, CALL) == {"vision"}
    assert not exchange.requests


@pytest.mark.parametrize("status", [404, 403])
def test_a_file_missing_from_the_archive_comes_from_rest_without_a_warning(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    exchange.add(Fault(r"\.zip", "status", status=status))
    assert sources(con, CALL) == {"rest"}
    assert read(con, CALL) == truth(*TWO_DAYS)
    assert not warnings(caplog)
    assert len(asked(exchange, ".CHECKSUM")) == 2  # once each: a 404 is not retried


FAILURES: dict[str, dict[str, Any]] = {
    "HTTP 500": {"kind": "status", "status": 500},
    "HTTP 503": {"kind": "status", "status": 503},
    "a reset connection": {"kind": "reset"},
    "a truncated answer": {"kind": "torn"},
    "a stall": {"kind": "stall", "seconds": 5},
    "a zip with another checksum": {"kind": "checksum"},
    "a damaged zip with a matching checksum": {"kind": "corrupt"},
    "a page of HTML": {"kind": "html"},
    "a redirect to another host": {"kind": "redirect", "location": "http://localhost:9/x"},
}


@pytest.mark.parametrize("failure", FAILURES)
def test_an_archive_that_fails_is_retried_then_rest_is_used_with_a_warning(
    settings: dict[str, Any], exchange: Sandbox, truth: Truth, caplog: pytest.LogCaptureFixture, failure: str
) -> None:
    exchange.add(Fault(r"2024-06-01\.zip", **FAILURES[failure]))
    client = CryptoKlineVisionData(**{**settings, "timeout": 0.5})
    report = client.fetch(TWO_DAYS[0], *TWO_DAYS[2:])
    assert {day.outcome for day in report.days} <= {"vision", "rest"}
    assert report.days[0].outcome == "rest"
    tries = max(asked(exchange, "2024-06-01.zip").count(path) for path in asked(exchange, "2024-06-01.zip"))
    assert tries == 1 + settings["retries"]
    assert any("2024-06-01" in warning for warning in warnings(caplog))
    assert client.get_data("BTCUSDT", "2024-06-01", "2024-06-02").height == len(
        truth("BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    )


@pytest.mark.parametrize("failure", FAILURES)
def test_an_archive_that_fails_once_is_still_used(
    settings: dict[str, Any], exchange: Sandbox, caplog: pytest.LogCaptureFixture, failure: str
) -> None:
    exchange.add(Fault(r"2024-06-01\.zip", **FAILURES[failure], times=1))
    report = CryptoKlineVisionData(**{**settings, "timeout": 0.5}).fetch(TWO_DAYS[0], *TWO_DAYS[2:])
    assert report.counts["vision"] == 2
    assert not warnings(caplog)


def test_when_the_archive_is_unreachable_rest_is_used_with_a_warning(
    settings: dict[str, Any], exchange: Sandbox, truth: Truth, caplog: pytest.LogCaptureFixture
) -> None:
    client = CryptoKlineVisionData(**{**settings, "vision_url": NOWHERE})
    frame = client.get_data(TWO_DAYS[0], *TWO_DAYS[2:])
    assert set(frame["source"]) == {"rest"}
    assert frame.height == len(truth(*TWO_DAYS))
    assert warnings(caplog)
    assert not asked(exchange, "/data/")


def test_an_archive_may_be_a_folder(settings: dict[str, Any], tmp_path: Any, exchange: Sandbox, truth: Truth) -> None:
    client = CryptoKlineVisionData(**{**settings, "vision_url": str(tmp_path / "no-mirror-yet")})
    assert client.get_data(TWO_DAYS[0], *TWO_DAYS[2:]).height == len(truth(*TWO_DAYS))
    assert asked(exchange, "/api/")


@pytest.mark.parametrize("checksum", ["strict", "warn"])
def test_a_wrong_checksum_is_an_error_only_if_rest_fails_and_the_setting_is_strict(
    settings: dict[str, Any], exchange: Sandbox, checksum: str
) -> None:
    exchange.add(Fault(r"\.zip", "checksum"))
    exchange.add(Fault("/api/", "status", status=500))
    report = CryptoKlineVisionData(**settings, checksum=checksum).fetch(TWO_DAYS[0], *TWO_DAYS[2:])
    if checksum == "warn":
        assert report.counts["vision"] == 2
    else:
        assert {type(day.error).__name__ for day in report.failed} == {"ChecksumError"}


def test_a_missing_past_month_is_fetched_as_one_archive(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth
) -> None:
    month = ("BTCUSDT", "1h", "2024-05-01", "2024-06-01")
    assert read(con, f"ckvd_klines{month}") == truth(*month)
    (path,) = zips(exchange)
    assert path.endswith("monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-05.zip")


def test_a_month_of_which_a_day_is_cached_is_fetched_by_days(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth
) -> None:
    assert read(con, "ckvd_klines('BTCUSDT', '1h', '2024-05-10', '2024-05-11')")
    exchange.forget()
    month = ("BTCUSDT", "1h", "2024-05-01", "2024-06-01")
    assert read(con, f"ckvd_klines{month}") == truth(*month)
    assert not asked(exchange, "monthly")
    assert not asked(exchange, "2024-05-10")


def test_a_month_without_an_archive_is_fetched_by_days(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth
) -> None:
    exchange.add(Fault("/monthly/", "status", status=404))
    month = ("ETHUSDT", "1h", "2024-05-01", "2024-06-01")
    assert read(con, f"ckvd_klines{month}") == truth(*month)
    assert len(zips(exchange)) == 31


def test_a_month_whose_archive_is_damaged_is_fetched_by_days(
    settings: dict[str, Any], exchange: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    exchange.add(Fault("/monthly/", "corrupt"))
    report = CryptoKlineVisionData(**settings).fetch("ETHUSDT", "2024-05-01", "2024-06-01")
    assert report.counts["vision"] == 31
    assert any("2024-05 " in f"{warning} " for warning in warnings(caplog))


def test_a_day_that_is_not_published_yet_comes_from_rest_and_is_cached(
    settings: dict[str, Any], exchange: Sandbox
) -> None:
    exchange.set_now("2024-06-15T00:30:00")
    client = CryptoKlineVisionData(**{**settings, **exchange.settings})
    assert client.fetch("BTCUSDT", "2024-06-14", "2024-06-15").counts["rest"] == 1
    exchange.forget()
    assert client.fetch("BTCUSDT", "2024-06-14", "2024-06-15").counts["cached"] == 1
    assert not exchange.requests


def test_eight_threads_that_query_the_same_month_fetch_it_once(
    settings: dict[str, Any], exchange: Sandbox, truth: Truth
) -> None:
    month = ("2024-05-01", "2024-06-01")
    heights: list[int] = []
    start = threading.Barrier(8)

    def work() -> None:
        client = CryptoKlineVisionData(**settings)
        start.wait()
        heights.append(client.get_data("BTCUSDT", *month).height)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heights == [len(truth("BTCUSDT", "1h", *month))] * 8
    assert len(zips(exchange)) == len(set(zips(exchange))) == 1


def test_concurrent_fetches_of_a_month_and_its_days_do_not_interfere(
    settings: dict[str, Any], exchange: Sandbox, truth: Truth, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert exchange.url
    spans = [("2024-05-01", f"2024-05-{last}") for last in (31, 30, 29, 15)] + [("2024-05-01", "2024-06-01")] * 2
    wrong: list[object] = []

    def work(folder: Any, start: threading.Barrier, span: tuple[str, str]) -> None:
        client = CryptoKlineVisionData(**{**settings, "cache_dir": folder})
        start.wait()
        try:
            height = client.get_data("BTCUSDT", *span).height
            wrong.extend([height] if height != len(truth("BTCUSDT", "1h", *span)) else [])
        except Exception as error:  # noqa: BLE001 (whatever it is)
            wrong.append(error)

    for number in range(4):
        start = threading.Barrier(len(spans))
        threads = [threading.Thread(target=work, args=(tmp_path / str(number), start, span)) for span in spans]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
    assert not warnings(caplog)
