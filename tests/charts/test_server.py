"""The server of `ckvd view`: who is answered, with what, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.truth import at

if TYPE_CHECKING:
    from ckvd_sql.charts.server import ViewServer
    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import Truth

GAP = {"symbol": "BTCUSDT", "market": "spot", "interval": "1h", "start": "2023-03-24", "end": "2023-03-26"}


def ask(server: ViewServer, name: str, **asked: str) -> dict[str, Any]:
    answer = httpx.get(f"{server.url}api/{name}", params=asked)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_the_page_is_served_with_headers_that_keep_it_to_itself(server: ViewServer) -> None:
    for name in ("", "app.js", "chart.js", "style.css", "lightweight-charts.js"):
        answer = httpx.get(f"{server.url}{name}")
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["", "wrong/", "wrong/api/cache", "../", "api/cache"])
def test_without_the_token_nothing_is_found(server: ViewServer, path: str) -> None:
    root = server.url.removesuffix(f"{server.token}/")
    assert httpx.get(f"{root}{path}").status_code == 404


@pytest.mark.parametrize("host", ["elsewhere.example", "127.0.0.1", "127.0.0.1:1", "localhost.elsewhere.example"])
def test_another_host_s_name_is_refused(server: ViewServer, host: str) -> None:
    assert httpx.get(server.url, headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(server: ViewServer, method: str) -> None:
    assert httpx.request(method, server.url).status_code == 501


@pytest.mark.parametrize("name", ["api/sql", "api/", "../pyproject.toml", "index.html", "lightweight-charts.LICENSE"])
def test_there_is_nothing_else(server: ViewServer, name: str) -> None:
    assert httpx.get(f"{server.url}{name}").status_code == 404


def test_bars_come_with_the_times_of_those_that_are_missing(server: ViewServer, truth: Truth) -> None:
    found = ask(server, "bars", **GAP)
    expected = truth("BTCUSDT", "1h", "2023-03-24", "2023-03-26")
    assert found["time"] == [bar[0] // 1_000_000 for bar in expected]
    assert found["close"] == [bar[4] for bar in expected]
    assert found["missing"] == [at("2023-03-24T13:00") // 1_000_000]


def test_the_last_bars_are_few_and_one_is_forming(server: ViewServer) -> None:
    found = ask(server, "latest", symbol="BTCUSDT", market="spot", interval="1h", start="-7d", end="")
    assert found["time"][-1] == at("2024-06-15T12:00") // 1_000_000
    assert len(found["time"]) <= 4


def test_the_cache_is_listed_by_series_and_month(server: ViewServer) -> None:
    (series,) = ask(server, "cache")["series"]
    assert (series["symbol"], series["days"], series["first"]) == ("BTCUSDT", 41, "2023-03-01")
    march, april = series["months"]
    assert (march["month"], march["days"], march["of"], march["source"]) == ("2023-03", 31, 31, "vision")
    assert (april["days"], april["of"]) == (10, 30)


def test_the_days_of_a_month_have_what_the_audit_finds(server: ViewServer, exchange: Sandbox) -> None:
    exchange.forget()
    days = ask(server, "days", symbol="BTCUSDT", market="spot", interval="1h", month="2023-03")["days"]
    assert len(days) == 31
    assert {day["date"]: day["doubts"] for day in days if day["doubts"]} == {"2023-03-24": "gap (info)"}
    assert exchange.requests == ()


@pytest.mark.parametrize(
    ("name", "asked", "error"),
    [
        ("bars", {**GAP, "symbol": "NOSUCH"}, "InvalidSymbolError: symbol 'NOSUCH'"),
        ("bars", {**GAP, "interval": "7m"}, "InvalidIntervalError"),
        ("bars", {**GAP, "symbol": "x'; DROP TABLE y; --"}, "InvalidSymbolError"),
        ("bars", {**GAP, "symbol": "*USDT"}, "InvalidSymbolError"),
        ("bars", {**GAP, "interval": "1s", "start": "2020"}, "200,000 bars at most"),
        ("bars", {"symbol": "BTCUSDT"}, "market is missing"),
        ("days", {"symbol": "BTCUSDT", "market": "spot", "interval": "1h", "month": "../etc"}, "month '../etc'"),
    ],
)
def test_what_can_t_be_shown_is_one_sentence(server: ViewServer, name: str, asked: dict[str, str], error: str) -> None:
    assert error in ask(server, name, **asked)["error"]
