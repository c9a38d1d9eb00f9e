"""Control of the sandbox from other processes, its clock and its lifecycle."""

from __future__ import annotations

import os
import signal
import socket
import threading
from datetime import date

import httpx
import pytest

from ckvd_sql.market.series import Market
from ckvd_sql.sandbox import Fault, Sandbox, serve
from tests.support.exchange import (
    ZIP,
    zip_path,
)
from tests.support.truth import NOW, at


def test_faults_requests_and_clock_are_controlled_over_http(exchange: Sandbox, client: httpx.Client) -> None:
    fault = {"path": "ping", "kind": "status", "status": 451, "times": 1}
    assert client.post("/sandbox/faults", json=fault).status_code == 201
    assert client.get("/sandbox/faults").json()[0]["status"] == 451
    assert [client.get("/api/v3/ping").status_code for _ in range(2)] == [451, 200]
    assert client.delete("/sandbox/faults").json() == []
    assert [one["status"] for one in client.get("/sandbox/requests").json()] == [451, 200]
    assert client.put("/sandbox/clock", json={"now": "2024-06-16"}).json()["now"] == "2024-06-16T00:00:00+00:00"
    assert exchange.now == at("2024-06-16")
    assert client.get("/sandbox/clock").json()["fixed"] is True
    assert client.put("/sandbox/clock", json={"now": "soon"}).status_code == 400
    assert client.post("/sandbox/faults", content=b"{").status_code == 400
    assert client.post("/sandbox/faults", json={"path": "x", "kind": "html", "colour": 1}).status_code == 400
    assert client.get("/sandbox/else").status_code == 404


def test_the_clock_is_in_every_answer(exchange: Sandbox, client: httpx.Client) -> None:
    assert client.get("/api/v3/ping").headers["Date"] == "Sat, 15 Jun 2024 12:00:30 GMT"
    assert client.get(ZIP).headers["Date"] == "Sat, 15 Jun 2024 12:00:30 GMT"
    assert exchange.settings == {
        **dict.fromkeys(("vision_url", "spot_url", "um_url", "cm_url"), exchange.url),
        "now": "2024-06-15T12:00:30+00:00",
    }


def test_without_a_fixed_clock_time_is_real() -> None:
    with Sandbox() as exchange:
        first = exchange.now
        assert "now" not in exchange.settings
        assert first > at("2024-01-01")
        assert exchange.now >= first


def test_a_sandbox_leaves_no_thread_and_frees_its_port() -> None:
    before = threading.active_count()
    with Sandbox(now=NOW) as exchange, httpx.Client(base_url=exchange.url) as client:
        exchange.add(Fault(path="ping", kind="latency", seconds=60))
        with pytest.raises(httpx.ReadTimeout):
            client.get("/api/v3/ping", timeout=0.2)
        port = int(exchange.url.rpartition(":")[2])
    assert threading.active_count() == before
    with Sandbox(now=NOW, port=port) as again:
        assert httpx.get(f"{again.url}/api/v3/ping").json() == {}
        with pytest.raises(OSError, match=r"in use"), Sandbox(port=port):
            pass
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_serving_in_the_foreground_ends_with_a_signal() -> None:
    answers: list[int] = []

    def ask(url: str) -> None:
        answers.append(httpx.get(f"{url}/api/v3/ping").status_code)
        os.kill(os.getpid(), signal.SIGTERM)

    threads: list[threading.Thread] = []

    def ready(url: str) -> None:
        threads.append(threading.Thread(target=ask, args=(url,)))
        threads[0].start()

    serve(now=NOW, on_ready=ready)
    threads[0].join()
    assert answers == [200]


def test_many_requests_are_answered_at_once(exchange: Sandbox, client: httpx.Client) -> None:
    days = [zip_path(Market.SPOT, "1m", date(2024, 5, number)) for number in range(1, 13)]
    found: dict[str, bytes] = {}

    def ask(where: str) -> None:
        found[where] = client.get(where).content

    threads = [threading.Thread(target=ask, args=(where,)) for where in days]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*found.values()}) == len(days)
    assert len(exchange.requests) == len(days)
