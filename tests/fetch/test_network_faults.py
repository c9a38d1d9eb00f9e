"""The network at its worst: whatever an archive, a REST host or the way to them does, rows are right or refused.

Each fault is met once and for ever. What was refused is not kept, and when the fault is gone everything is there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest

from ckvd_sql import (
    CkvdError,
    MalformedDataError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitError,
)
from ckvd_sql.sandbox import Fault, Sandbox
from ckvd_sql.sandbox.limits import BUDGETS
from ckvd_sql.sources.weight import BUDGET, WeightBudget
from tests.support.arrow import check_cached_days, table_bars, table_sources
from tests.support.faults import ARCHIVE, ARCHIVE_FAULTS, FAULTS, REST, REST_FAULTS
from tests.support.requests import rest_statuses
from tests.support.stand_in import StandIn

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeClient, Truth
SPAN = ("2024-05-01", "2024-05-03")

#: The faults of an archive that say that there is none, and the one redirect that leads there after all.
MEANS_NONE = ("403", "404", "redirect to nowhere", "redirect loop")

#: The faults after which REST is not asked again by itself, and those whose answers are what is wrong.
NOT_TRIED_AGAIN = {
    "403",
    "404",
    "451",
    "429",
    "418",
    "another error",
    *(name for name in REST_FAULTS if "redirect" in name),
}
MALFORMED = {
    *(REST_FAULTS.keys() - FAULTS.keys() - {"429", "418", "another error"}),
    "wrong Content-Length", "Content-Length of nothing", "HTML", "empty", "other JSON",
}  # fmt: skip


def expected_error(name: str) -> type[ProviderError]:
    """What a REST fault that stays is called."""
    if name in ("429", "418"):
        return RateLimitError
    if name in ("404", "another error"):
        return ProviderError
    return MalformedDataError if name in MALFORMED else ProviderUnavailableError


def patient(name: str) -> dict[str, Any]:
    """A stall is waited for; not for long."""
    return {"timeout": 1} if name == "stall" else {}


# The archive.


@pytest.mark.parametrize("name", ARCHIVE_FAULTS)
def test_whatever_the_archive_does_the_rows_are_rests(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, name: str
) -> None:
    exchange.add(Fault(ARCHIVE, **ARCHIVE_FAULTS[name]))
    client = make_client(retries=0, **patient(name))
    found = client.klines("BTCUSDT", *SPAN)
    assert (table_bars(found), table_sources(found)) == (truth("BTCUSDT", "1h", *SPAN), {"rest"})
    check_cached_days(client, truth)
    exchange.clear_faults()
    more = make_client().klines("BTCUSDT", "2024-04-30", "2024-05-04")
    assert table_bars(more) == truth("BTCUSDT", "1h", "2024-04-30", "2024-05-04")
    assert table_sources(more) == {"cache", "vision"}


@pytest.mark.parametrize("name", [name for name in ARCHIVE_FAULTS if name not in MEANS_NONE])
def test_what_the_archive_does_once_is_tried_again(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, name: str
) -> None:
    exchange.add(Fault(rf"{ARCHIVE}$", **{**ARCHIVE_FAULTS[name], "times": 1}))
    found = make_client(**patient(name)).klines("BTCUSDT", "2024-05-01", "2024-05-02")
    assert (table_bars(found), table_sources(found)) == (truth("BTCUSDT", "1h", "2024-05-01", "2024-05-02"), {"vision"})


@pytest.mark.parametrize("name", ARCHIVE_FAULTS)
def test_where_archive_and_rest_both_fail_there_is_an_error_and_nothing_is_kept(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, name: str
) -> None:
    exchange.add(Fault(ARCHIVE, **ARCHIVE_FAULTS[name]))
    exchange.add(Fault(REST, "status", status=503))
    client = make_client(retries=0, **patient(name))
    with pytest.raises(ProviderError) as failed:
        client.klines("BTCUSDT", *SPAN)
    assert "2024-05-01" in str(failed.value)
    assert not list(client.settings.cache_dir.rglob("*.arrow"))
    exchange.clear_faults()
    assert table_bars(make_client().klines("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)


def test_an_archive_that_is_not_there_yet_is_asked_again_by_the_next_query(
    exchange: Sandbox, make_client: MakeClient, truth: Truth
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    assert table_sources(make_client().klines("BTCUSDT", *SPAN)) == {"rest"}
    exchange.clear_faults()
    found = make_client().klines("BTCUSDT", "2024-05-03", "2024-05-05")
    assert (table_bars(found), table_sources(found)) == (truth("BTCUSDT", "1h", "2024-05-03", "2024-05-05"), {"vision"})


@pytest.mark.parametrize("kind", ["torn", "length"])
def test_an_archive_cut_at_any_kilobyte_is_not_used(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, tmp_path: Path, kind: str
) -> None:
    where = "/data/spot/daily/klines/BTCUSDT/15m/BTCUSDT-15m-2024-05-01.zip"
    size = len(httpx.get(exchange.url + where).content)
    expected = truth("BTCUSDT", "15m", "2024-05-01", "2024-05-02")
    assert size > 4 * 1024
    for cut in (0, 1, *range(1024, size, 1024), size - 1):
        exchange.clear_faults()
        exchange.add(Fault(rf"{ARCHIVE}$", kind, after=cut))
        client = make_client(retries=0, cache_dir=tmp_path / str(cut))
        found = client.klines("BTCUSDT", "2024-05-01", "2024-05-02", "15m")
        assert (table_bars(found), table_sources(found)) == (expected, {"rest"}), cut


def test_a_checksum_file_cut_anywhere_is_not_believed(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, tmp_path: Path
) -> None:
    expected = truth("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    for cut in (0, 1, 32, 63, 64, 65, 66, 80, 90):
        exchange.clear_faults()
        exchange.add(Fault(rf"{ARCHIVE}\.CHECKSUM$", "length", after=cut))
        client = make_client(retries=0, cache_dir=tmp_path / str(cut))
        found = client.klines("BTCUSDT", "2024-05-01", "2024-05-02")
        assert (table_bars(found), table_sources(found)) == (expected, {"rest"}), cut


# REST.


@pytest.mark.parametrize("name", REST_FAULTS)
def test_whatever_rest_does_for_good_is_an_error_of_its_own_kind_and_nothing_is_kept(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, name: str
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(REST, **REST_FAULTS[name]))
    client = make_client(retries=0, **patient(name))
    with pytest.raises(CkvdError) as failed:
        client.klines("BTCUSDT", *SPAN)
    assert type(failed.value) is expected_error(name)
    assert not list(client.settings.cache_dir.rglob("*.arrow"))
    exchange.clear_faults()
    # Under another name of the same host, for a 429 is remembered by host.
    again = make_client(spot_url=exchange.url.replace("127.0.0.1", "localhost"))
    assert table_bars(again.klines("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)


@pytest.mark.parametrize("name", [name for name in REST_FAULTS if name not in NOT_TRIED_AGAIN])
def test_what_rest_does_once_is_tried_again(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, name: str
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(rf"{REST}.*startTime=17", **{**REST_FAULTS[name], "times": 1}))
    found = make_client(**patient(name)).klines("BTCUSDT", *SPAN)
    assert (table_bars(found), table_sources(found)) == (truth("BTCUSDT", "1h", *SPAN), {"rest"})


@pytest.mark.parametrize("name", sorted(NOT_TRIED_AGAIN - {"429", "418"}))
def test_what_rest_refuses_is_asked_once_a_query_and_again_by_the_next(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, name: str
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(REST, **REST_FAULTS[name]))
    with pytest.raises(ProviderError):
        make_client(retries=3).klines("BTCUSDT", *SPAN)
    asked = [request.query for request in exchange.requests if re.search(REST, request.path)]
    assert len(asked) == len(set(asked))
    exchange.clear_faults()
    assert table_bars(make_client().klines("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)


@pytest.mark.parametrize("kind", ["torn", "length"])
def test_a_rest_answer_cut_at_any_kilobyte_is_not_used(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, kind: str
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    client = make_client(retries=0)
    client.klines("BTCUSDT", "2024-04-28", "2024-04-29")  # so that the listing is known
    size = len(client.klines("BTCUSDT", "2024-04-30", "2024-05-01", "15m")) * 150
    for cut in (0, 1, 2, *range(1024, size, 1024)):
        exchange.clear_faults()
        exchange.add(Fault(ARCHIVE, "status", status=404))
        exchange.add(Fault(REST, kind, after=cut, times=1))
        try:
            found = client.klines("BTCUSDT", "2024-05-01", "2024-05-02", "15m")
        except ProviderError:
            assert not list(client.settings.cache_dir.rglob("15m/2024-05-01.arrow")), cut
        else:
            assert cut >= size - 6_000, cut  # past its end there is nothing to cut
            assert table_bars(found) == truth("BTCUSDT", "15m", "2024-05-01", "2024-05-02")
            break
    exchange.clear_faults()
    assert table_bars(client.klines("BTCUSDT", "2024-05-01", "2024-05-02", "15m")) == truth(
        "BTCUSDT", "15m", "2024-05-01", "2024-05-02"
    )


STRANGE: dict[str, dict[str, Any]] = {
    "a code beyond all numbers": {"status": 400, "body": '{"code":1e999,"msg":"x"}'},
    "an error nested without end": {"status": 400, "body": "[" * 100_000},
    "a code that is text": {"status": 400, "body": '{"code":"no","msg":"x"}'},
    "an error that is a list": {"status": 400, "body": "[]"},
    "a wait that is no number": {"status": 429, "headers": {"Retry-After": "nan"}},
    "a wait without end": {"status": 418, "headers": {"Retry-After": "inf"}},
    "a wait in the past": {"status": 429, "headers": {"Retry-After": "-5"}},
    "a wait that is a date": {"status": 429, "headers": {"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}},
    "a wait that is a word": {"status": 429, "headers": {"Retry-After": "soon"}},
    "a used weight that is no number": {"status": 503, "headers": {"X-MBX-USED-WEIGHT-1M": "²"}},
    "a used weight without end": {"status": 503, "headers": {"X-MBX-USED-WEIGHT-1M": "9" * 5000}},
    "a date before all": {"status": 503, "headers": {"Date": "Mon, 01 Jan 0001 00:00:00 GMT"}},
    "a date that is none": {"status": 503, "headers": {"Date": "Mon, 99 Foo 99999 99:99:99"}},
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_refusals_are_still_errors_of_ours(exchange: Sandbox, make_client: MakeClient, name: str) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(REST, "status", **STRANGE[name]))
    with pytest.raises(ProviderError) as failed:
        make_client(retries=0).klines("BTCUSDT", *SPAN)
    if isinstance(failed.value, RateLimitError):
        assert 0 < failed.value.retry_after <= 3 * 86_400


def test_a_page_that_is_cut_at_its_limit_is_not_taken_for_the_whole(
    exchange: Sandbox, make_client: MakeClient, truth: Truth
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(REST, "anomaly", name="duplicates"))
    client = make_client(retries=0)
    try:
        assert table_bars(client.klines("BTCUSDT", *SPAN, "15m")) == truth("BTCUSDT", "15m", *SPAN)
    except ProviderError:
        assert not list(client.settings.cache_dir.rglob("*.arrow"))


# Hosts that can't be reached.


@pytest.fixture(scope="module")
def nobody() -> str:
    """A port of this machine on which nobody listens any more."""
    with StandIn() as gone:
        return gone.url


@pytest.fixture(params=["refused", "no such name"])
def unreachable(request: pytest.FixtureRequest, nobody: str) -> str:
    return nobody if request.param == "refused" else "http://nowhere.invalid"


def test_without_the_archives_host_rest_has_the_rows(make_client: MakeClient, truth: Truth, unreachable: str) -> None:
    found = make_client(vision_url=unreachable).klines("BTCUSDT", *SPAN)
    assert (table_bars(found), table_sources(found)) == (truth("BTCUSDT", "1h", *SPAN), {"rest"})


def test_without_rests_host_the_archive_has_the_rows_and_what_it_lacks_is_named(
    make_client: MakeClient, truth: Truth, unreachable: str
) -> None:
    client = make_client(spot_url=unreachable)
    found = client.klines("BTCUSDT", *SPAN)
    assert (table_bars(found), table_sources(found)) == (truth("BTCUSDT", "1h", *SPAN), {"vision"})
    with pytest.raises(ProviderUnavailableError) as failed:
        client.klines("BTCUSDT", "2024-05-01")
    assert [str(day) for day in failed.value.days] == ["2024-06-15"]


def test_without_any_host_the_cache_has_its_days_and_the_others_are_named(
    make_client: MakeClient, truth: Truth, unreachable: str
) -> None:
    make_client().klines("BTCUSDT", *SPAN)
    client = make_client(vision_url=unreachable, spot_url=unreachable)
    assert table_bars(client.klines("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)
    with pytest.raises(ProviderUnavailableError) as failed:
        client.klines("BTCUSDT", "2024-05-02", "2024-05-05")
    assert [str(day) for day in failed.value.days] == ["2024-05-03", "2024-05-04"]
    check_cached_days(client, truth)


# How long it may take.


@pytest.mark.parametrize("where", [ARCHIVE, REST])
def test_a_drip_that_never_ends_is_not_waited_for(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, where: str
) -> None:
    # A drop every tenth of a second, for minutes: no silence is ever long, and yet a request takes ten times that.
    exchange.add(Fault(where, "drip", piece=1, seconds=0.1))
    if where == REST:
        exchange.add(Fault(ARCHIVE, "status", status=404))
    client = make_client(retries=0, timeout=0.15)
    try:
        assert table_bars(client.klines("BTCUSDT", "2024-05-01", "2024-05-02")) == truth(
            "BTCUSDT", "1h", "2024-05-01", "2024-05-02"
        )
        assert where == ARCHIVE
    except ProviderUnavailableError:
        assert not list(client.settings.cache_dir.rglob("*.arrow"))
    exchange.clear_faults()
    assert table_bars(make_client().klines("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)


def test_a_drip_that_ends_in_time_is_used(exchange: Sandbox, make_client: MakeClient, truth: Truth) -> None:
    exchange.add(Fault(ARCHIVE, "drip", piece=200, seconds=0.01))
    found = make_client().klines("BTCUSDT", *SPAN)
    assert (table_bars(found), table_sources(found)) == (truth("BTCUSDT", "1h", *SPAN), {"vision"})


@pytest.mark.parametrize("retries", [0, 2])
def test_a_request_that_fails_is_sent_as_often_as_the_settings_say(
    exchange: Sandbox, make_client: MakeClient, retries: int
) -> None:
    exchange.add(Fault(".", "status", status=503))
    with pytest.raises(ProviderUnavailableError):
        make_client(retries=retries).klines("BTCUSDT", "2024-05-01", "2024-05-02")
    asked = [f"{request.path}?{request.query}" for request in exchange.requests]
    assert {asked.count(one) for one in asked} == {retries + 1}
    assert sum(".zip" in one for one in asked) == retries + 1


def test_the_archive_and_rest_each_get_that_many_tries_for_a_day(exchange: Sandbox, make_client: MakeClient) -> None:
    exchange.add(Fault(".", "status", status=503))
    with pytest.raises(ProviderUnavailableError):
        make_client(retries=1).klines("BTCUSDT", "2024-05-01", "2024-05-02")
    assert len(exchange.requests) <= 2 * (1 + 1)


def test_an_archive_that_fails_three_times_in_a_row_is_left_alone(
    exchange: Sandbox, make_client: MakeClient, truth: Truth
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=503))
    found = make_client(retries=0, concurrency=1).klines("BTCUSDT", "2024-05-02", "2024-05-30")
    assert table_bars(found) == truth("BTCUSDT", "1h", "2024-05-02", "2024-05-30")
    asked = {request.path for request in exchange.requests if re.search(ARCHIVE, request.path)}
    assert len(asked) <= 8  # three, and what was already on its way


# Weights.


def wait_for_room_in_the_minute(seconds: float) -> int:
    """Budgets are counted by the minute of the clock; begin where that many seconds of it are left."""
    left = 60 - time.time() % 60
    if left < seconds:
        time.sleep(left + 0.01)
    return int(time.time() // 60)


CROWD = """
import json, sys, threading
from ckvd_sql import CryptoKlineVisionData, CkvdError
settings, months = json.loads(sys.argv[1]), json.loads(sys.argv[2])
said = []

def ask(month):
    client = CryptoKlineVisionData(**settings)
    try:
        for day in range(2, 22, 4):
            client.klines("BTCUSDT", f"{month}-{day:02d}", f"{month}-{day + 1:02d}", "1h", sys.argv[3])
        said.append("all")
    except CkvdError as error:
        said.append(type(error).__name__)

threads = [threading.Thread(target=ask, args=(month,)) for month in months]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(sorted(said)))
"""


class Crowd:
    """Processes with six threads each that ask for days over REST, all on one cache."""

    def __init__(self, settings: dict[str, Any], processes: int, market: str = "spot") -> None:
        text = json.dumps({name: str(value) for name, value in settings.items()})
        months = [[f"{2023 - number}-{month:02d}" for month in range(1, 7)] for number in range(processes)]
        self.running = [
            subprocess.Popen(
                [sys.executable, "-c", CROWD, text, json.dumps(some), market],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ,
            )
            for some in months
        ]  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running:
            process.kill()
            process.communicate()

    @property
    def busy(self) -> bool:
        return any(process.poll() is None for process in self.running)

    def said(self) -> list[str]:
        """What became of each thread, once all have ended."""
        found: list[str] = []
        for process in self.running:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            found += json.loads(out)
        return found


@pytest.mark.parametrize("market", ["spot", "um"])
def test_a_crowd_on_one_budget_waits_rather_than_draw_a_429(
    exchange: Sandbox, make_client: MakeClient, market: str
) -> None:
    # What is asked in all, some 180 days, is more than what is left of the exchange's budget; the client's ends
    # before it. So within the minute all wait: the log comes to rest, and there is no 429 in it. Nobody here waits
    # for the next minute: the crowd is sent home. If the minute ends by itself meanwhile, the crowd goes on.
    exchange.set_now("2024-06-15T12:00:30")
    exchange.add(Fault(ARCHIVE, "status", status=404))
    budget = next(limit for one, limit in BUDGETS.items() if one == market)
    left = 200 if market == "spot" else 100
    exchange.add(Fault(REST, "weight", market=market, weight=budget - left, times=1))
    began = wait_for_room_in_the_minute(20)
    with Crowd({**exchange.settings, "cache_dir": make_client().settings.cache_dir, "timeout": 20}, 3, market) as crowd:
        before, at_rest = -1, 0
        while crowd.busy and at_rest < 10:
            time.sleep(0.15)
            now = len(rest_statuses(exchange))
            at_rest = at_rest + 1 if now == before and now else 0
            before = now
        waiting = crowd.busy
    statuses = rest_statuses(exchange)
    assert set(statuses) == {200}
    if int(time.time() // 60) == began:
        assert waiting
        assert 0 < len(statuses) < 100


@pytest.mark.parametrize("status", [429, 418])
def test_a_refusal_that_comes_anyway_stops_threads_and_processes_until_it_is_over(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, status: int
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(REST, "status", status=status, headers={"Retry-After": "600"}, times=1))
    with pytest.raises(RateLimitError) as stopped:
        make_client().klines("BTCUSDT", *SPAN)
    assert stopped.value.status in (status, None)
    assert 0 < stopped.value.retry_after <= 600
    exchange.forget()
    errors: list[CkvdError] = []

    def again(day: int) -> None:
        try:
            make_client().klines("BTCUSDT", f"2024-04-{day:02d}", f"2024-04-{day + 1:02d}")
        except CkvdError as error:
            errors.append(error)

    threads = [threading.Thread(target=again, args=(day,)) for day in range(1, 9)]
    for thread in threads:
        thread.start()
    with Crowd({**exchange.settings, "cache_dir": make_client().settings.cache_dir}, 1) as crowd:
        assert crowd.said() == ["RateLimitError"] * 6
    for thread in threads:
        thread.join()
    assert [type(error) for error in errors] == [RateLimitError] * 8
    assert {error.until for error in errors if isinstance(error, RateLimitError)} == {stopped.value.until}
    assert rest_statuses(exchange) == []
    # Another market has another budget, and the archive none at all.
    assert table_bars(make_client().klines("BTCUSDT", *SPAN, "1h", "um")) == truth("BTCUSDT", "1h", *SPAN, "um")
    exchange.clear_faults()
    assert table_bars(make_client().klines("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)


def test_a_refusal_in_the_midst_of_a_crowd_ends_all_its_asking(exchange: Sandbox, make_client: MakeClient) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(rf"{REST}.*startTime=16", "status", status=429, headers={"Retry-After": "600"}, times=1))
    with Crowd({**exchange.settings, "cache_dir": make_client().settings.cache_dir, "timeout": 20}, 2) as crowd:
        said = crowd.said()
    statuses = rest_statuses(exchange)
    assert statuses.count(429) == 1
    after = statuses[statuses.index(429) + 1 :]
    assert len(after) <= 2 * 6  # what each thread had on its way
    assert set(said) <= {"all", "RateLimitError"}
    assert "RateLimitError" in said


def test_nobody_asks_again_before_the_moment_that_the_refusal_names(
    exchange: Sandbox, make_client: MakeClient, truth: Truth
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(REST, "status", status=429, headers={"Retry-After": "2"}, times=1))
    with pytest.raises(RateLimitError) as stopped:
        make_client().klines("BTCUSDT", *SPAN)
    exchange.forget()
    found = None
    while found is None:
        try:
            found = make_client().klines("BTCUSDT", *SPAN)
        except RateLimitError:
            assert rest_statuses(exchange) == []
            time.sleep(0.05)
    assert time.time() >= stopped.value.until.timestamp()
    assert table_bars(found) == truth("BTCUSDT", "1h", *SPAN)


def test_days_fetched_before_a_refusal_are_kept_and_not_asked_for_again(
    exchange: Sandbox, make_client: MakeClient, truth: Truth
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(rf"{REST}.*startTime=17152128", "status", status=429, headers={"Retry-After": "1"}, times=1))
    span = ("2024-05-01", "2024-05-13")
    with pytest.raises(RateLimitError):
        make_client(concurrency=1).klines("BTCUSDT", *span)
    client = make_client(concurrency=1, spot_url=exchange.url.replace("127.0.0.1", "localhost"))
    planned = client.plan("BTCUSDT", *span).column("source").to_pylist()
    assert planned == ["cache"] * 8 + ["vision"] * 4
    exchange.forget()
    assert table_bars(client.klines("BTCUSDT", *span)) == truth("BTCUSDT", "1h", *span)
    assert not [request for request in exchange.requests if "startTime=1714521600000" in request.query]


def test_the_budget_is_shared_and_ends_well_before_the_exchanges(tmp_path: Path) -> None:
    for market, limit in BUDGET.items():
        assert limit == BUDGETS[market]
        wait_for_room_in_the_minute(5)
        first, second = (WeightBudget(market, "http://127.0.0.1:1", tmp_path) for _ in range(2))
        taken = 0
        while (second if taken % 200 else first).reserve(100) == 0:
            taken += 100
        assert 0.5 * limit < taken < 0.9 * limit
        assert 0 < first.reserve(100) <= 60
        assert second.reserve(100) > 0
