"""The network of one scan: started by its first request, ended with the scan, and never started offline."""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from concurrent.futures import CancelledError, Future
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql.cache.store import DayStore
from ckvd_sql.errors import MalformedDataError, OfflineError, ProviderError, ProviderUnavailableError
from ckvd_sql.fetch.jobs import Job
from ckvd_sql.fetch.session import FetchSession, wait_for
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import DAY, Month, day_start
from ckvd_sql.market.provenance import Source
from ckvd_sql.market.series import Market
from ckvd_sql.sandbox import Fault, Sandbox
from ckvd_sql.settings import Settings
from tests.support.bars import series
from tests.support.days import day_bars, publish_days, rest_rows
from tests.support.stand_in import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOURS = series("spot", "BTCUSDT", "1h")
DAY_1, DAY_2 = date(2024, 6, 1), date(2024, 6, 2)
JUNE = Month(2024, 6)
BOTH = Job(HOURS, JUNE, archived=(DAY_1, DAY_2))
NOW = "2024-06-15T12:00:30"


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as running:
        for day in (DAY_1, DAY_2):
            publish_days(running, HOURS, day, [day])
        running.rows[HOURS] = rest_rows(HOURS, day_start(DAY_1), day_start(DAY_2) + DAY)
        yield running


@pytest.fixture
def exchange() -> Iterator[Sandbox]:
    with Sandbox(now=NOW) as running:
        yield running


def session(server: StandIn | Sandbox, folder: Path, **changes: Any) -> FetchSession:
    fixed = {"now": NOW, "retries": 0, "timeout": 10, "cache_dir": folder}
    settings = Settings.load(**{**server.settings, **fixed, **changes})
    return FetchSession(settings, DayStore(folder), parse_time(NOW, "now"))


def network_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ckvd-fetch")]


def test_a_job_gives_each_of_its_days_and_stores_them(stand_in: StandIn, tmp_path: Path) -> None:
    with session(stand_in, tmp_path) as one:
        found = wait_for(one.start(BOTH))
    assert {day: bars.source for day, bars in found.items()} == dict.fromkeys((DAY_1, DAY_2), Source.VISION)
    assert found[DAY_1].bars.equals(day_bars(HOURS, DAY_1))
    assert DayStore(tmp_path).days(HOURS) == {DAY_1, DAY_2}


def test_a_day_without_bars_is_in_the_result_too(stand_in: StandIn, tmp_path: Path) -> None:
    later = date(2024, 6, 5)
    with session(stand_in, tmp_path) as one:
        found = wait_for(one.start(Job(HOURS, JUNE, archived=(later,))))
    assert found[later].bars.num_rows == 0


@pytest.mark.timeout(20)
def test_jobs_run_at_once(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"2024-06-01\.zip$", "stall", seconds=60))
    jobs = [Job(HOURS, JUNE, archived=(date(2024, 6, day),)) for day in (1, 5, 9, 13)]
    with session(exchange, tmp_path, timeout=60) as one:
        stalled, *others = [one.start(job) for job in jobs]
        for running in others:
            wait_for(running)
        assert not stalled.done()


def test_nothing_is_started_before_the_first_request(stand_in: StandIn, tmp_path: Path) -> None:
    with session(stand_in, tmp_path) as one:
        assert not network_threads()
        one.first_open(HOURS)
        assert network_threads()
    assert not network_threads()


def test_offline_nothing_is_ever_started(stand_in: StandIn, tmp_path: Path) -> None:
    with session(stand_in, tmp_path, offline=True) as one:
        refused = one.start(BOTH)
        with pytest.raises(OfflineError) as raised:
            wait_for(refused)
        assert raised.value.days == (DAY_1, DAY_2)
        with pytest.raises(OfflineError, match="CKVD_OFFLINE"):
            one.known_symbols(Market.SPOT)
        with pytest.raises(OfflineError, match="CKVD_OFFLINE"):
            one.first_open(HOURS)
        with pytest.raises(OfflineError, match="CKVD_OFFLINE"):
            one.published_checksums(HOURS, [DAY_1])
        assert not network_threads()
    assert not stand_in.requests


@pytest.mark.timeout(20)
def test_jobs_that_are_running_are_cancelled_at_the_end(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"\.zip$", "stall", seconds=60))
    with session(exchange, tmp_path, timeout=60) as one:
        running = [one.start(Job(HOURS, JUNE, archived=(date(2024, 6, day),))) for day in (1, 5)]
        while not any(request.path.endswith(".zip") for request in exchange.requests):
            time.sleep(0.01)
    assert all(job.done() for job in running)
    for job in running:
        with pytest.raises(CancelledError):
            wait_for(job)
    assert not network_threads()


@pytest.mark.timeout(20)
def test_a_question_that_is_open_is_cancelled_at_the_end(exchange: Sandbox, tmp_path: Path) -> None:
    ended: list[BaseException] = []

    def ask(one: FetchSession) -> None:
        try:
            list(one.archives(HOURS, [DAY_1]))
        except CancelledError as error:
            ended.append(error)

    exchange.add(Fault(r"\.zip$", "stall", seconds=60))
    with session(exchange, tmp_path, timeout=60) as one:
        asking = threading.Thread(target=ask, args=(one,))
        asking.start()
        while not any(request.path.endswith(".zip") for request in exchange.requests):
            time.sleep(0.01)
    asking.join()
    assert [type(error) for error in ended] == [CancelledError]
    assert not network_threads()


def test_an_error_in_the_scan_ends_the_jobs_too(exchange: Sandbox, tmp_path: Path) -> None:
    def scan() -> None:
        with session(exchange, tmp_path, timeout=60) as one:
            one.start(BOTH)
            raise KeyError("in the scan")

    exchange.add(Fault(r"\.CHECKSUM$", "latency", seconds=60))
    began = time.monotonic()
    with pytest.raises(KeyError, match="in the scan"):
        scan()
    assert time.monotonic() - began < 5
    assert not network_threads()


def test_the_published_checksums_are_those_of_the_archive_now(stand_in: StandIn, tmp_path: Path) -> None:
    body = stand_in.files[f"/{HOURS.archive_path(DAY_1)}"]
    later = date(2024, 6, 5)
    with session(stand_in, tmp_path) as one:
        found = one.published_checksums(HOURS, [later, DAY_1, JUNE])
        assert found == {later: None, DAY_1: hashlib.sha256(body).hexdigest(), JUNE: None}
        assert one.published_checksums(HOURS, []) == {}
    assert sorted(request.rpartition(".")[2] for request in stand_in.requests) == ["CHECKSUM"] * 3


def test_checksums_of_an_archive_that_fails_are_an_error(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"\.CHECKSUM$", "status", status=503))
    with session(exchange, tmp_path) as one, pytest.raises(ProviderUnavailableError, match="503"):
        one.published_checksums(HOURS, [DAY_1, DAY_2])


def test_a_checksum_file_that_states_none_is_the_error_of_its_period_alone(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.files[f"/{HOURS.archive_path(DAY_1)}.CHECKSUM"] = b"<html>"
    with session(stand_in, tmp_path) as one:
        found = one.published_checksums(HOURS, [DAY_1, DAY_2])
    assert [type(found[day]) for day in (DAY_1, DAY_2)] == [MalformedDataError, str]


def test_symbols_and_first_bars_come_from_the_exchange(exchange: Sandbox, tmp_path: Path) -> None:
    with session(exchange, tmp_path) as one:
        listed, archived = one.known_symbols(Market.CM)
        assert not isinstance(listed, ProviderError)
        assert not isinstance(archived, ProviderError)
        assert "BTCUSD_PERP" in {symbol.symbol for symbol in listed} & set(archived)
        assert one.first_open(HOURS) == parse_time("2017-08-17T04:00", "listed")


def test_waiting_gives_the_result_or_the_error() -> None:
    done: Future[int] = Future()
    threading.Timer(0.05, done.set_result, [5]).start()
    assert wait_for(done) == 5
    failed: Future[int] = Future()
    failed.set_exception(KeyError("the error"))
    with pytest.raises(KeyError, match="the error"):
        wait_for(failed)


@pytest.mark.timeout(10)
def test_a_signal_is_handled_while_the_main_thread_waits() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        threading.Timer(0.1, signal.raise_signal, [signal.SIGUSR1]).start()
        began = time.monotonic()
        never: Future[int] = Future()
        with pytest.raises(KeyboardInterrupt):
            wait_for(never)
        assert time.monotonic() - began < 2
    finally:
        signal.signal(signal.SIGUSR1, before)
