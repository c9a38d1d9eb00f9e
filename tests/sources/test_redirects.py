"""Redirects are followed within one host only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ckvd_sql import ProviderUnavailableError
from ckvd_sql.sandbox import Fault, Sandbox
from tests.support.clients import DAY, ZIP, client_for
from tests.support.faults import ARCHIVE, REST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def other_host() -> Iterator[Sandbox]:
    """Another host: a second sandbox on another port, reached by other names of loopback."""
    with Sandbox(now="2024-06-15T12:00:30") as other:
        yield other


LOCATIONS = {
    "another name": "http://localhost:{port}{path}",
    "another address": "http://127.0.0.2:{port}{path}",
    "another port": "http://127.0.0.1:{port}{path}",
    "without a scheme": "//localhost:{port}{path}",
    "in capitals": "HTTP://LOCALHOST:{port}{path}",
    "with a user": "http://127.0.0.1@localhost:{port}{path}",
    "with a backslash": "http://127.0.0.1\\@localhost:{port}{path}",
    "with backslashes": "\\\\localhost:{port}{path}",
    "with a space": " http://localhost:{port}{path}",
    "as IPv6": "http://[::ffff:127.0.0.1]:{port}{path}",
    "a short address": "http://127.1:{port}{path}",
    "a number": "http://2130706433:{port}{path}",
    "a file": "file:///etc/passwd",
    "another scheme": "ftp://localhost:{port}{path}",
}


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("part", [rf"{ARCHIVE}$", rf"{ARCHIVE}\.CHECKSUM$", REST], ids=["zip", "checksum", "REST"])
def test_a_redirect_to_another_host_is_refused_and_that_host_gets_no_request(
    exchange: Sandbox, other_host: Sandbox, tmp_path: Path, location: str, part: str
) -> None:
    other_host.forget()
    port = other_host.url.rpartition(":")[2]
    ending = ".CHECKSUM" if "CHECKSUM" in part else ""
    path = f"{ZIP}{ending}" if part != REST else "/api/v3/klines?symbol=BTCUSDT&interval=1h"
    exchange.add(Fault(part, "redirect", location=LOCATIONS[location].format(port=port, path=path)))
    if part == REST:
        exchange.add(Fault(ARCHIVE, "status", status=404))
        with pytest.raises(ProviderUnavailableError):
            client_for(exchange, tmp_path / "cache").klines("BTCUSDT", *DAY)
    else:
        found = client_for(exchange, tmp_path / "cache").klines("BTCUSDT", *DAY)
        assert other_host.requests == ()
        assert (found.num_rows, set(found.column("source").to_pylist())) == (24, {"rest"})
    assert other_host.requests == ()


def test_a_redirect_by_the_obsolete_uri_header_is_refused_too(
    exchange: Sandbox, other_host: Sandbox, tmp_path: Path
) -> None:
    other_host.forget()
    location = LOCATIONS["another name"].format(port=other_host.url.rpartition(":")[2], path=ZIP)
    exchange.add(Fault(rf"{ARCHIVE}$", "redirect", location="", headers={"URI": location}))
    client_for(exchange, tmp_path / "cache").klines("BTCUSDT", *DAY)
    assert other_host.requests == ()


def test_a_redirect_within_the_archives_host_is_followed(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(rf"{ARCHIVE}$", "redirect", location="?mirrored", times=1))
    found = client_for(exchange, tmp_path / "cache").klines("BTCUSDT", *DAY)
    assert set(found.column("source").to_pylist()) == {"vision"}
