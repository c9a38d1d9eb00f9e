"""Fixtures of all tests: an exchange on loopback, an empty cache folder, clients, and the true bars to compare with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import pytest

import ckvd_sql
from ckvd_sql import CryptoKlineVisionData
from ckvd_sql.market.parse import parse_time
from ckvd_sql.sandbox import Sandbox, market_bars
from tests.support.bars import Bar, bars, series
from tests.support.stand_in import StandIn
from tests.support.truth import NOW

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from duckdb import DuckDBPyConnection


class Truth(Protocol):
    """Gives the closed bars that open in `[start, end)`, in the shape of `tests.support.bars.read`."""

    def __call__(self, symbol: str, interval: str, start: str, end: str, market: str = "spot") -> list[Bar]: ...


class MakeClient(Protocol):
    """Gives a client of the exchange with these settings; all clients of a test have one cache."""

    def __call__(self, **more: Any) -> CryptoKlineVisionData: ...


@pytest.fixture(autouse=True)
def _no_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CKVD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture(scope="module")
def clock() -> str:
    """The time of the sandbox's clock; a module may override it."""
    return NOW


@pytest.fixture(scope="module")
def running_exchange(clock: str) -> Iterator[Sandbox]:
    with Sandbox(now=clock) as exchange:
        yield exchange


@pytest.fixture
def exchange(running_exchange: Sandbox, clock: str) -> Iterator[Sandbox]:
    """The sandbox, its clock, faults and logged requests reset."""
    running_exchange.set_now(clock)
    running_exchange.clear_faults()
    running_exchange.forget()
    yield running_exchange
    running_exchange.clear_faults()


@pytest.fixture
def settings(exchange: Sandbox, tmp_path: Path) -> dict[str, Any]:
    """Settings for that exchange and an empty cache, with a short timeout and one retry."""
    return {**exchange.settings, "cache_dir": tmp_path / "cache", "timeout": 2, "retries": 1}


@pytest.fixture
def con(settings: dict[str, Any]) -> Iterator[DuckDBPyConnection]:
    con = ckvd_sql.connect(**settings)
    yield con
    con.close()


@pytest.fixture
def client(settings: dict[str, Any]) -> CryptoKlineVisionData:
    return CryptoKlineVisionData(**settings)


@pytest.fixture
def make_client(exchange: Sandbox, tmp_path: Path) -> MakeClient:
    usual = {"cache_dir": tmp_path / "cache", "retries": 1, "timeout": 10}

    def client(**more: Any) -> CryptoKlineVisionData:
        return CryptoKlineVisionData(**{**exchange.settings, **usual, **more})

    return client


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as stand_in:
        yield stand_in


@pytest.fixture
def truth(exchange: Sandbox) -> Truth:
    def true_bars(symbol: str, interval: str, start: str, end: str, market: str = "spot") -> list[Bar]:
        first, last = (parse_time(text, "time") for text in (start, end))
        return bars(market_bars(series(market, symbol, interval), first, min(last, exchange.now), exchange.now))

    return true_bars
