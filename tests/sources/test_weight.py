"""The weight budget and refusals by REST, as threads and processes on one cache share them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import pytest

from ckvd_sql import (
    CkvdError,
    RateLimitError,
)
from ckvd_sql.sandbox import Fault, Sandbox
from ckvd_sql.sandbox.limits import BUDGETS
from ckvd_sql.sources.weight import BUDGET, WeightBudget
from tests.support.arrow import table_bars
from tests.support.faults import ARCHIVE, REST
from tests.support.requests import rest_statuses

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeClient, Truth
SPAN = ("2024-05-01", "2024-05-03")


def wait_for_time_in_the_minute(seconds: float) -> int:
    """Wait until that many seconds of the clock's minute are left, because budgets are per minute; gives the minute."""
    left = 60 - time.time() % 60
    if left < seconds:
        time.sleep(left + 0.01)
    return int(time.time() // 60)


CLIENT_PROGRAM = """
import json, sys, threading
from ckvd_sql import CryptoKlineVisionData, CkvdError
settings, months = json.loads(sys.argv[1]), json.loads(sys.argv[2])
outcomes = []

def ask(month):
    client = CryptoKlineVisionData(**settings)
    try:
        for day in range(2, 22, 4):
            client.klines("BTCUSDT", f"{month}-{day:02d}", f"{month}-{day + 1:02d}", "1h", sys.argv[3])
        outcomes.append("all")
    except CkvdError as error:
        outcomes.append(type(error).__name__)

threads = [threading.Thread(target=ask, args=(month,)) for month in months]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(sorted(outcomes)))
"""


class ClientProcesses:
    """Processes with six threads each that fetch days over REST, all on one cache."""

    def __init__(self, settings: dict[str, Any], processes: int, market: str = "spot") -> None:
        text = json.dumps({name: str(value) for name, value in settings.items()})
        months = [[f"{2023 - number}-{month:02d}" for month in range(1, 7)] for number in range(processes)]
        self.running = [
            subprocess.Popen(
                [sys.executable, "-c", CLIENT_PROGRAM, text, json.dumps(some), market],
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

    def outcomes(self) -> list[str]:
        """What each thread ended with, "all" or the class of an error, once all have ended."""
        found: list[str] = []
        for process in self.running:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            found += json.loads(out)
        return found


@pytest.mark.parametrize("market", ["spot", "um"])
def test_processes_on_one_budget_wait_instead_of_exceeding_it(
    exchange: Sandbox, make_client: MakeClient, market: str
) -> None:
    # The processes query some 180 days, which exceeds what is left of the exchange's budget; the clients' own budget
    # ends before it. So within the minute all of them wait: the log stops growing, without a 429. The test does not
    # wait for the next minute but ends the processes; if the minute ends meanwhile, they continue.
    exchange.set_now("2024-06-15T12:00:30")
    exchange.add(Fault(ARCHIVE, "status", status=404))
    budget = next(limit for one, limit in BUDGETS.items() if one == market)
    left = 200 if market == "spot" else 100
    exchange.add(Fault(REST, "weight", market=market, weight=budget - left, times=1))
    began = wait_for_time_in_the_minute(20)
    with ClientProcesses(
        {**exchange.settings, "cache_dir": make_client().settings.cache_dir, "timeout": 20}, 3, market
    ) as clients:
        before, unchanged = -1, 0
        while clients.busy and unchanged < 10:
            time.sleep(0.15)
            now = len(rest_statuses(exchange))
            unchanged = unchanged + 1 if now == before and now else 0
            before = now
        waiting = clients.busy
    statuses = rest_statuses(exchange)
    assert set(statuses) == {200}
    if int(time.time() // 60) == began:
        assert waiting
        assert 0 < len(statuses) < 100


@pytest.mark.parametrize("status", [429, 418])
def test_a_refusal_stops_all_threads_and_processes_until_it_ends(
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
    with ClientProcesses({**exchange.settings, "cache_dir": make_client().settings.cache_dir}, 1) as clients:
        assert clients.outcomes() == ["RateLimitError"] * 6
    for thread in threads:
        thread.join()
    assert [type(error) for error in errors] == [RateLimitError] * 8
    assert {error.until for error in errors if isinstance(error, RateLimitError)} == {stopped.value.until}
    assert rest_statuses(exchange) == []
    # Another market has another budget, and the archive has none.
    assert table_bars(make_client().klines("BTCUSDT", *SPAN, "1h", "um")) == truth("BTCUSDT", "1h", *SPAN, "um")
    exchange.clear_faults()
    assert table_bars(make_client().klines("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)


def test_a_refusal_stops_processes_that_are_already_fetching(exchange: Sandbox, make_client: MakeClient) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(rf"{REST}.*startTime=16", "status", status=429, headers={"Retry-After": "600"}, times=1))
    with ClientProcesses(
        {**exchange.settings, "cache_dir": make_client().settings.cache_dir, "timeout": 20}, 2
    ) as clients:
        outcomes = clients.outcomes()
    statuses = rest_statuses(exchange)
    assert statuses.count(429) == 1
    after = statuses[statuses.index(429) + 1 :]
    assert len(after) <= 2 * 6  # what each thread had in flight
    assert set(outcomes) <= {"all", "RateLimitError"}
    assert "RateLimitError" in outcomes


def test_no_request_is_sent_before_the_time_that_a_refusal_names(
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


def test_days_fetched_before_a_refusal_are_cached_and_not_requested_again(
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


def test_the_budget_is_shared_and_below_the_exchanges(tmp_path: Path) -> None:
    for market, limit in BUDGET.items():
        assert limit == BUDGETS[market]
        wait_for_time_in_the_minute(5)
        first, second = (WeightBudget(market, "http://127.0.0.1:1", tmp_path) for _ in range(2))
        taken = 0
        while (second if taken % 200 else first).reserve(100) == 0:
            taken += 100
        assert 0.5 * limit < taken < 0.9 * limit
        assert 0 < first.reserve(100) <= 60
        assert second.reserve(100) > 0
