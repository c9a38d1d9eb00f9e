"""Proxies: the setting and the environment's, for the archive and REST alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql import CryptoKlineVisionData, ProviderUnavailableError, Settings, SettingsError
from tests.support.clients import DAY
from tests.support.proxies import HttpProxy, SocksProxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox

#: Only a proxy can find these hosts.
HOSTS = {"vision_url": "http://archive.test", "spot_url": "http://exchange.test"}
TODAY = ("2024-06-15", "2024-06-16")
VARIABLES = [name for base in ("http", "https", "all", "no") for name in (f"{base}_proxy", f"{base}_proxy".upper())]


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def proxy(exchange: Sandbox) -> Iterator[HttpProxy]:
    with HttpProxy(exchange) as running:
        yield running


@pytest.fixture
def socks(exchange: Sandbox) -> Iterator[SocksProxy]:
    with SocksProxy(exchange) as running:
        yield running


def settings_for(exchange: Sandbox, tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {**exchange.settings, **HOSTS, "cache_dir": tmp_path / "cache", "retries": 0, "timeout": 5, **more}


def fetch(exchange: Sandbox, tmp_path: Path, **more: Any) -> set[Any]:
    """The sources of a day that the archive has and of one that only REST has."""
    client = CryptoKlineVisionData(**settings_for(exchange, tmp_path, **more))
    tables = [client.klines("BTCUSDT", *days) for days in (DAY, TODAY)]
    return {source for table in tables for source in table.column("source").to_pylist()}


def test_archive_and_rest_go_through_the_proxy_of_the_setting(
    exchange: Sandbox, tmp_path: Path, proxy: HttpProxy
) -> None:
    assert fetch(exchange, tmp_path, proxy=proxy.url) == {"vision", "rest"}
    assert {url.split("/")[2] for url in proxy.requests} == {"archive.test", "exchange.test"}


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("form", ["http://{}", "{}"], ids=["URL", "host and port"])
def test_archive_and_rest_go_through_the_proxy_of_the_environment(
    exchange: Sandbox, tmp_path: Path, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch, variable: str, form: str
) -> None:
    monkeypatch.setenv(variable, form.format(proxy.address))
    assert fetch(exchange, tmp_path) == {"vision", "rest"}
    assert {url.split("/")[2] for url in proxy.requests} == {"archive.test", "exchange.test"}


def test_a_user_and_password_are_sent_to_the_proxy(exchange: Sandbox, tmp_path: Path, proxy: HttpProxy) -> None:
    assert fetch(exchange, tmp_path, proxy=f"http://me:secret@{proxy.address}") == {"vision", "rest"}
    assert set(proxy.users) == {"Basic bWU6c2VjcmV0"}


def test_direct_ignores_the_environment_s_proxy(
    exchange: Sandbox, tmp_path: Path, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    with pytest.raises(ProviderUnavailableError):
        fetch(exchange, tmp_path, proxy="direct")
    assert proxy.requests == []


@pytest.mark.parametrize("setting", [True, False], ids=["setting", "environment"])
def test_no_proxy_holds_for_archive_and_rest(
    exchange: Sandbox, tmp_path: Path, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch, *, setting: bool
) -> None:
    monkeypatch.setenv("no_proxy", "exchange.test,.elsewhere.test")
    if not setting:
        monkeypatch.setenv("http_proxy", proxy.url)
    with pytest.raises(ProviderUnavailableError, match=r"exchange\.test"):
        fetch(exchange, tmp_path, **({"proxy": proxy.url} if setting else {}))
    assert {url.split("/")[2] for url in proxy.requests} == {"archive.test"}


def test_this_machine_is_reached_directly(
    exchange: Sandbox, tmp_path: Path, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    local = {"vision_url": exchange.url, "spot_url": exchange.url.replace("127.0.0.1", "localhost")}
    assert fetch(exchange, tmp_path, proxy=proxy.url, **local) == {"vision", "rest"}
    assert proxy.requests == []


@pytest.mark.parametrize("variable", ["proxy", "all_proxy", "http_proxy"])
def test_archive_and_rest_go_through_a_socks_proxy_that_resolves_their_names(
    exchange: Sandbox, tmp_path: Path, socks: SocksProxy, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    if variable != "proxy":
        monkeypatch.setenv(variable, socks.url)
    assert fetch(exchange, tmp_path, **({"proxy": socks.url} if variable == "proxy" else {})) == {"vision", "rest"}
    assert set(socks.hosts) == {"archive.test", "exchange.test"}


def test_a_socks_proxy_without_the_extra_is_one_error_that_names_the_variable(
    exchange: Sandbox, tmp_path: Path
) -> None:
    code = """
import json, sys
sys.modules["aiohttp_socks"] = None
from ckvd_sql import CryptoKlineVisionData, SettingsError
try:
    CryptoKlineVisionData(**json.loads(sys.argv[1])).klines("BTCUSDT", "2024-05-01", "2024-05-02")
except SettingsError as error:
    print(error)
"""
    given = json.dumps(settings_for(exchange, tmp_path), default=str)
    environment = {**os.environ, "ALL_PROXY": "socks5://me:secret@127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code, given], env=environment, capture_output=True, text=True, check=True
    )
    assert "ALL_PROXY" in done.stdout
    assert "pip install 'ckvd-sql[socks]'" in done.stdout
    assert "secret" not in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("value", ["http://", "http://host:port", "gopher://host:1", "http://host:99999"])
def test_a_proxy_of_the_environment_that_can_t_be_used_is_named(
    exchange: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", value)
    with pytest.raises(SettingsError, match="HTTP_PROXY"):
        fetch(exchange, tmp_path)


@pytest.mark.parametrize("value", ["http://", "host:8080", "ftp://me:secret@host", "http://host:port"])
def test_a_proxy_that_can_t_be_used_is_refused_without_its_password(value: str) -> None:
    with pytest.raises(SettingsError, match="CKVD_PROXY") as refused:
        Settings.load(proxy=value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h", "socks4"])
def test_a_proxy_that_does_not_answer_is_named(exchange: Sandbox, tmp_path: Path, scheme: str) -> None:
    with pytest.raises(ProviderUnavailableError, match=r"127\.0\.0\.1"):
        fetch(exchange, tmp_path, proxy=f"{scheme}://127.0.0.1:9")
