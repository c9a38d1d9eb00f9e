"""Days of a range: which are cached, and what is remembered of days without bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql.sandbox import Fault
from tests.support.bars import read
from tests.support.cached import day_files
from tests.support.requests import asked

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from ckvd_sql import CryptoKlineVisionData
    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import Truth


def test_today_is_never_cached(client: CryptoKlineVisionData, settings: dict[str, Any], exchange: Sandbox) -> None:
    for _ in range(2):
        exchange.forget()
        client.get_data("BTCUSDT", "2024-06-14", include_open=True)
        assert asked(exchange, "/api/")
    assert day_files(settings["cache_dir"]) == ["binance/spot/BTCUSDT/1h/2024-06-14.arrow"]


def test_a_day_is_cached_whole_whatever_part_of_it_was_queried(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth
) -> None:
    assert len(read(con, "ckvd_klines('BTCUSDT', '1h', '2024-06-01 05:00', '2024-06-01 07:00')")) == 2
    exchange.forget()
    whole = ("BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    assert read(con, f"ckvd_klines{whole}") == truth(*whole)
    assert not exchange.requests


@pytest.mark.parametrize(("market", "symbol"), [("um", "BTCUSDT"), ("cm", "BTCUSD_PERP")])
def test_futures_pages_cover_the_range_whichever_end_comes_first(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth, market: str, symbol: str
) -> None:
    exchange.add(Fault(r"\.zip", "status", status=404))
    call = f"ckvd_klines('{symbol}', '1m', '2024-06-12', '2024-06-15T09:30', market := '{market}')"
    assert read(con, call) == truth(symbol, "1m", "2024-06-12", "2024-06-15T09:30", market)


@pytest.mark.parametrize(
    ("market", "symbol", "listed"),
    [("spot", "1000SATSUSDT", "2023-12-12"), ("um", "SOLUSDT", "2020-09-14"), ("cm", "ETHUSD_PERP", "2020-08-18")],
)
def test_days_before_the_listing_take_few_requests_and_only_once(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth, market: str, symbol: str, listed: str
) -> None:
    start, end = f"{int(listed[:4]) - 2}-01-01", f"{listed[:4]}-{listed[5:7]}-28"
    call = f"ckvd_klines('{symbol}', '1d', '{start}', '{end}', market := '{market}')"
    assert read(con, call) == truth(symbol, "1d", start, end, market)
    before = [path for path in asked(exchange, "/data/") if f"-{listed[:7]}" not in path]
    assert len(before) <= 8
    exchange.forget()
    assert read(con, call) == truth(symbol, "1d", start, end, market)
    assert not exchange.requests


def test_a_range_wholly_before_the_listing_is_empty_and_remembered(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    call = "ckvd_klines('1000SATSUSDT', '1h', '2023-11-01', '2023-12-01')"
    assert read(con, call) == []
    exchange.forget()
    assert read(con, call) == []
    assert not exchange.requests


def test_an_outage_has_no_bars_and_is_not_requested_again(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth
) -> None:
    span = ("BTCUSDT", "1m", "2023-03-24", "2023-03-25")
    assert read(con, f"ckvd_klines{span}") == truth(*span)
    exchange.forget()
    assert read(con, f"ckvd_klines{span}") == truth(*span)
    assert not exchange.requests
