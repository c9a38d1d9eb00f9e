"""Faults of the sandbox: how each kind looks to a client, and when it fires."""

from __future__ import annotations

import hashlib
import io
import socket
import zipfile
from typing import Any

import httpx
import pytest

from ckvd_sql.market.series import Market
from ckvd_sql.sandbox import Fault, Sandbox
from tests.support.exchange import (
    ZIP,
    klines,
    rest_rows,
    zip_rows,
)


def test_a_fault_fires_as_often_as_configured(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.add(Fault(path=r"\.zip$", kind="status", status=503, body="busy", headers={"Retry-After": "7"}, times=2))
    answers = [client.get(ZIP) for _ in range(3)]
    assert [one.status_code for one in answers] == [503, 503, 200]
    assert (answers[0].text, answers[0].headers["Retry-After"]) == ("busy", "7")
    assert [(one.method, one.path, one.status) for one in exchange.requests] == [
        ("GET", ZIP, 503),
        ("GET", ZIP, 503),
        ("GET", ZIP, 200),
    ]


def test_a_fault_without_times_lasts_until_cleared(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.add(Fault(path="symbol=BTC", kind="html"))
    for _ in range(3):
        answer = klines(client, Market.SPOT)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html")
    assert rest_rows(client, Market.SPOT, symbol="ETHUSDT")
    exchange.clear_faults()
    assert rest_rows(client, Market.SPOT)


def test_bodies_can_be_truncated_or_reset(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.add(Fault(path=r"\.zip$", kind="torn", after=100, times=1))
    exchange.add(Fault(path=r"\.zip$", kind="reset", times=1))
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(ZIP)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        client.get(ZIP)
    assert zip_rows(client, ZIP)


def test_a_stall_lasts_until_the_client_gives_up(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.add(Fault(path=r"\.zip$", kind="stall", seconds=60, times=1))
    with pytest.raises(httpx.ReadTimeout):
        client.get(ZIP, timeout=0.3)
    assert client.get(ZIP).status_code == 200


def test_a_slow_body_arrives_whole(exchange: Sandbox, client: httpx.Client) -> None:
    whole = client.get(ZIP).content
    exchange.add(Fault(path=r"\.zip$", kind="drip", piece=300, seconds=0.001, times=1))
    exchange.add(Fault(path=r"\.zip$", kind="latency", seconds=0.01, times=1))
    assert client.get(ZIP).content == whole


def test_a_checksum_fault_changes_the_digest_alone(exchange: Sandbox, client: httpx.Client) -> None:
    right = client.get(ZIP + ".CHECKSUM").text
    exchange.add(Fault(path="BTCUSDT-1h", kind="checksum", times=1))
    body = client.get(ZIP).content
    wrong = client.get(ZIP + ".CHECKSUM").text
    assert wrong != right
    assert (len(wrong), wrong[64:]) == (len(right), right[64:])
    assert hashlib.sha256(body).hexdigest() == right[:64]
    assert client.get(ZIP + ".CHECKSUM").text == right


def test_a_corrupted_zip_matches_its_checksum(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.add(Fault(path=r"\.zip$", kind="corrupt", times=1))
    checksum, body = client.get(ZIP + ".CHECKSUM").text, client.get(ZIP).content
    assert hashlib.sha256(body).hexdigest() == checksum[:64]
    with (
        zipfile.ZipFile(io.BytesIO(body)) as archive,
        pytest.raises(Exception, match=r"(?i)crc|decompress|invalid"),
    ):
        archive.read(archive.namelist()[0])
    assert zip_rows(client, ZIP)


def test_a_redirect_has_its_location(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.add(Fault(path="ping", kind="redirect", location="/elsewhere"))
    answer = client.get("/api/v3/ping")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/elsewhere")


def test_a_wrong_content_length_announces_less_than_is_sent(exchange: Sandbox) -> None:
    whole = httpx.get(exchange.url + ZIP).content
    exchange.add(Fault(path=r"\.zip$", kind="length", after=100, times=1))
    with socket.create_connection(("127.0.0.1", int(exchange.url.rpartition(":")[2])), timeout=20) as wire:
        wire.sendall(f"GET {ZIP} HTTP/1.1\r\nHost: sandbox\r\n\r\n".encode())
        sent = b"".join(iter(lambda: wire.recv(65536), b""))
    head, _, body = sent.partition(b"\r\n\r\n")
    assert b"Content-Length: 100\r\n" in head
    assert body == whole
    exchange.add(Fault(path=r"\.zip$", kind="length", after=100, times=1))
    assert httpx.get(exchange.url + ZIP).content == whole[:100]


def test_a_fault_ends_at_its_time_on_the_exchanges_clock(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.add(Fault(path="ping", kind="status", until="2024-06-15T13:00"))
    assert client.get("/api/v3/ping").status_code == 503
    exchange.set_now("2024-06-15T13:00")
    assert client.get("/api/v3/ping").status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "flood"},
        {"path": "("},
        {"times": 0},
        {"market": "moon"},
        {"seconds": -1},
        {"kind": "anomaly"},
        {"kind": "anomaly", "name": "sunspots"},
        {"until": "soon"},
    ],
)
def test_an_invalid_fault_is_refused(client: httpx.Client, wrong: dict[str, Any]) -> None:
    fields = {"path": "x", "kind": "html", **wrong}
    with pytest.raises(ValueError, match=r"."):
        Fault(**fields)
    assert client.post("/sandbox/faults", json=fields).status_code == 400
