"""Redirects are followed within a host only."""

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
def elsewhere() -> Iterator[Sandbox]:
    """Another host: the same exchange on another port, called by other names of this machine."""
    with Sandbox(now="2024-06-15T12:00:30") as other:
        yield other


PLACES = {
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


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("part", [rf"{ARCHIVE}$", rf"{ARCHIVE}\.CHECKSUM$", REST], ids=["zip", "checksum", "REST"])
def test_a_redirect_to_another_host_is_refused_and_that_host_is_never_asked(
    exchange: Sandbox, elsewhere: Sandbox, tmp_path: Path, place: str, part: str
) -> None:
    elsewhere.forget()
    port = elsewhere.url.rpartition(":")[2]
    ending = ".CHECKSUM" if "CHECKSUM" in part else ""
    path = f"{ZIP}{ending}" if part != REST else "/api/v3/klines?symbol=BTCUSDT&interval=1h"
    exchange.add(Fault(part, "redirect", location=PLACES[place].format(port=port, path=path)))
    if part == REST:
        exchange.add(Fault(ARCHIVE, "status", status=404))
        with pytest.raises(ProviderUnavailableError):
            client_for(exchange, tmp_path / "cache").klines("BTCUSDT", *DAY)
    else:
        found = client_for(exchange, tmp_path / "cache").klines("BTCUSDT", *DAY)
        assert elsewhere.requests == ()
        assert (found.num_rows, set(found.column("source").to_pylist())) == (24, {"rest"})
    assert elsewhere.requests == ()


def test_the_old_header_that_also_redirects_does_not_lead_elsewhere_either(
    exchange: Sandbox, elsewhere: Sandbox, tmp_path: Path
) -> None:
    elsewhere.forget()
    place = PLACES["another name"].format(port=elsewhere.url.rpartition(":")[2], path=ZIP)
    exchange.add(Fault(rf"{ARCHIVE}$", "redirect", location="", headers={"URI": place}))
    client_for(exchange, tmp_path / "cache").klines("BTCUSDT", *DAY)
    assert elsewhere.requests == ()


def test_a_redirect_within_the_archives_host_is_followed(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(rf"{ARCHIVE}$", "redirect", location="?mirrored", times=1))
    found = client_for(exchange, tmp_path / "cache").klines("BTCUSDT", *DAY)
    assert set(found.column("source").to_pylist()) == {"vision"}
