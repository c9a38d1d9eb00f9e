"""Failover to REST: each way in which the exchange can refuse or fail, and the error that it becomes."""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import ckvd_sql
from ckvd_sql import (
    CryptoKlineVisionData,
    InvalidSymbolError,
    MalformedDataError,
    OfflineError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitError,
)
from ckvd_sql.sandbox import Fault
from tests.support.bars import read
from tests.support.connections import sources
from tests.support.faults import NOWHERE
from tests.support.requests import asked

if TYPE_CHECKING:
    from pathlib import Path

    from duckdb import DuckDBPyConnection

    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import Truth

NO_ARCHIVE = Fault(r"\.zip", "status", status=404)
KLINES = r"/klines\?"


def refuse(exchange: Sandbox, status: int, body: str = "", **headers: str) -> None:
    exchange.add(NO_ARCHIVE)
    exchange.add(Fault(KLINES, "status", status=status, body=body, headers=headers))


@pytest.mark.parametrize("status", [429, 418])
def test_a_rate_limit_error_has_its_duration_and_its_end(
    client: CryptoKlineVisionData, exchange: Sandbox, status: int
) -> None:
    refuse(exchange, status, '{"code":-1003,"msg":"Too much request weight used."}', **{"Retry-After": "77"})
    before = datetime.now(UTC)
    with pytest.raises(RateLimitError, match="the days fetched so far are cached") as error:
        client.get_data("BTCUSDT", "2024-06-01", "2024-06-02")
    assert 70 < error.value.retry_after <= 77
    assert before + timedelta(seconds=76) < error.value.until < datetime.now(UTC) + timedelta(seconds=78)


@pytest.mark.parametrize("status", [429, 418])
def test_no_request_is_sent_until_a_rate_limit_ends(settings: dict[str, Any], exchange: Sandbox, status: int) -> None:
    refuse(exchange, status, **{"Retry-After": "77"})
    for _ in range(3):
        with pytest.raises(RateLimitError):
            CryptoKlineVisionData(**settings).get_data("BTCUSDT", "2024-06-01", "2024-06-02")
    assert len(asked(exchange, "/api/")) == 1


def test_requests_resume_when_a_rate_limit_ends(settings: dict[str, Any], exchange: Sandbox, truth: Truth) -> None:
    exchange.add(NO_ARCHIVE)
    exchange.add(Fault(KLINES, "status", status=429, headers={"Retry-After": "1"}, times=1))
    client = CryptoKlineVisionData(**settings)
    with pytest.raises(RateLimitError) as error:
        client.get_data("BTCUSDT", "2024-06-01", "2024-06-02")
    time.sleep(max(0.0, error.value.until.timestamp() - time.time()) + 0.05)
    assert client.get_data("BTCUSDT", "2024-06-01", "2024-06-02").height == len(
        truth("BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    )


def test_the_days_fetched_before_a_rate_limit_stay_cached(client: CryptoKlineVisionData, exchange: Sandbox) -> None:
    exchange.add(Fault(r"2024-06-1\d\.zip", "status", status=404))
    exchange.add(Fault(KLINES, "status", status=429, headers={"Retry-After": "77"}))
    with pytest.raises(RateLimitError):
        client.get_data("BTCUSDT", "2024-06-01", "2024-06-12")
    exchange.forget()
    assert client.get_data("BTCUSDT", "2024-06-01", "2024-06-09").height == 8 * 24
    assert not exchange.requests


def test_an_unknown_symbol_is_named_in_the_error(client: CryptoKlineVisionData, exchange: Sandbox) -> None:
    with pytest.raises(InvalidSymbolError, match="ckvd_symbols") as error:
        client.get_data("NOPEUSDT", "2024-06-01", "2024-06-03")
    assert (error.value.argument, error.value.value) == ("symbol", "NOPEUSDT")
    assert len(asked(exchange, "/api/")) <= 2


UNKNOWN_SYMBOL = '{"code":-1121,"msg":"Invalid symbol."}'


def test_a_symbol_known_only_to_the_archive_has_empty_days_elsewhere(
    client: CryptoKlineVisionData, exchange: Sandbox, truth: Truth
) -> None:
    exchange.add(Fault(r"2024-06-02\.zip", "status", status=404))
    exchange.add(Fault(KLINES, "status", status=400, body=UNKNOWN_SYMBOL))
    frame = client.get_data("BTCUSDT", "2024-06-01", "2024-06-03")
    assert frame.height == len(truth("BTCUSDT", "1h", "2024-06-01", "2024-06-02"))


def test_a_symbol_known_only_to_the_cache_has_empty_days_elsewhere(
    client: CryptoKlineVisionData, exchange: Sandbox
) -> None:
    assert client.get_data("BTCUSDT", "2024-06-01", "2024-06-02").height
    refuse(exchange, 400, UNKNOWN_SYMBOL)
    assert client.get_data("BTCUSDT", "2024-06-05", "2024-06-06").height == 0


def test_a_delisted_symbol_has_its_days_and_none_after(con: DuckDBPyConnection, truth: Truth) -> None:
    span = ("LUNAUSDT", "1h", "2022-05-10", "2022-05-20")
    assert read(con, f"ckvd_klines{span}") == truth(*span)


def test_an_empty_day_is_cached(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    call = "ckvd_klines('LUNAUSDT', '1h', '2022-05-15', '2022-05-19')"
    assert read(con, call) == []
    assert exchange.requests
    exchange.forget()
    assert read(con, call) == []
    assert not exchange.requests


def test_a_delivered_contract_has_its_days_and_none_after(
    settings: dict[str, Any], exchange: Sandbox, truth: Truth
) -> None:
    exchange.set_now("2024-09-01")
    client = CryptoKlineVisionData(**{**settings, **exchange.settings})
    span = ("2024-06-26", "2024-07-03")
    frame = client.get_data("BTCUSDT_240628", *span, market="um")
    assert frame.height == len(truth("BTCUSDT_240628", "1h", *span, "um"))
    exchange.forget()
    assert client.get_data("BTCUSDT_240628", *span, market="um").height == frame.height
    assert not exchange.requests


@pytest.mark.parametrize(
    ("market", "symbol", "setting"),
    [("spot", "BTCUSDT", "CKVD_SPOT_URL"), ("um", "BTCUSDT", "CKVD_UM_URL"), ("cm", "BTCUSD_PERP", "CKVD_CM_URL")],
)
@pytest.mark.parametrize("status", [451, 403])
def test_the_error_for_a_blocked_address_names_the_setting_that_helps(
    client: CryptoKlineVisionData, exchange: Sandbox, market: str, symbol: str, setting: str, status: int
) -> None:
    refuse(exchange, status)
    with pytest.raises(ProviderUnavailableError, match=setting) as error:
        client.get_data(symbol, "2024-06-01", "2024-06-02", market=market)
    assert error.value.status == status


@pytest.mark.parametrize("status", [451, 403])
def test_a_refusal_is_not_retried(client: CryptoKlineVisionData, exchange: Sandbox, status: int) -> None:
    refuse(exchange, status)
    with pytest.raises(ProviderUnavailableError):
        client.get_data("BTCUSDT", "2024-06-01", "2024-06-02")
    paths = asked(exchange, "/api/")
    assert len(paths) == len(set(paths))


def test_an_exchange_that_fails_is_retried(
    settings: dict[str, Any], client: CryptoKlineVisionData, exchange: Sandbox
) -> None:
    refuse(exchange, 502)
    with pytest.raises(ProviderUnavailableError, match="HTTP 502") as error:
        client.get_data("BTCUSDT", "2024-06-01", "2024-06-04")
    assert error.value.days == tuple(date(2024, 6, number) for number in (1, 2, 3))
    paths = asked(exchange, "limit=")
    assert {paths.count(path) for path in paths} == {1 + settings["retries"]}


@pytest.mark.parametrize("kind", ["status", "reset", "torn", "html"])
def test_an_exchange_that_fails_once_is_still_used(
    client: CryptoKlineVisionData, exchange: Sandbox, truth: Truth, kind: str
) -> None:
    exchange.add(NO_ARCHIVE)
    exchange.add(Fault(KLINES, kind, times=1))
    frame = client.get_data("BTCUSDT", "2024-06-01", "2024-06-02")
    assert frame.height == len(truth("BTCUSDT", "1h", "2024-06-01", "2024-06-02"))


def test_an_answer_without_rows_is_malformed(client: CryptoKlineVisionData, exchange: Sandbox) -> None:
    exchange.add(NO_ARCHIVE)
    exchange.add(Fault(KLINES, "html"))
    with pytest.raises(MalformedDataError, match="/api/v3/klines"):
        client.get_data("BTCUSDT", "2024-06-01", "2024-06-02")


def test_any_other_refusal_is_a_provider_error_and_not_retried(
    client: CryptoKlineVisionData, exchange: Sandbox
) -> None:
    refuse(exchange, 400, '{"code":-1100,"msg":"Illegal characters"}')
    with pytest.raises(ProviderError, match="Illegal characters") as error:
        client.get_data("BTCUSDT", "2024-06-01", "2024-06-02")
    assert error.value.status == 400
    paths = asked(exchange, "/api/")
    assert len(paths) == len(set(paths))


def test_nothing_of_a_failed_day_is_cached(client: CryptoKlineVisionData, exchange: Sandbox, tmp_path: Path) -> None:
    refuse(exchange, 500)
    with pytest.raises(ProviderUnavailableError):
        client.get_data("BTCUSDT", "2024-06-01", "2024-06-02")
    assert not [name for _, _, names in os.walk(tmp_path) for name in names if name.endswith(".arrow")]


# Without a network.


def test_without_a_network_cached_days_are_served_and_missing_days_named(
    settings: dict[str, Any], client: CryptoKlineVisionData, truth: Truth
) -> None:
    client.fetch("BTCUSDT", "2024-06-01", "2024-06-04")
    without_network = CryptoKlineVisionData(**{**settings, **dict.fromkeys(("vision_url", "spot_url"), NOWHERE)})
    assert without_network.get_data("BTCUSDT", "2024-06-01", "2024-06-04").height == len(
        truth("BTCUSDT", "1h", "2024-06-01", "2024-06-04")
    )
    with pytest.raises(ProviderUnavailableError, match="2024-06-04 to 2024-06-06") as error:
        without_network.get_data("BTCUSDT", "2024-06-02", "2024-06-07")
    assert error.value.days == tuple(date(2024, 6, number) for number in (4, 5, 6))


@pytest.mark.parametrize(
    "query",
    [
        "FROM ckvd_klines('BTCUSDT', '1h', '2024-05-01', '2024-06-01')",
        "FROM ckvd_klines('BTCUSDT', '1h', '2024-06-15')",
        "FROM ckvd_klines('BTCUSDT', '1h', '2024-06-15', include_open := true)",
        "FROM ckvd_gaps('BTCUSDT', '1h', '2024-06-02', '2024-06-03')",
        "FROM ckvd_symbols()",
        "FROM ckvd_klines('NOPEUSDT', '1mo', '2017-01-01')",
    ],
)
def test_offline_no_query_sends_a_request(settings: dict[str, Any], exchange: Sandbox, query: str) -> None:
    con = ckvd_sql.connect(**settings, offline=True)
    with pytest.raises(Exception, match=r"OfflineError.*CKVD_OFFLINE"):
        con.sql(query).fetchall()
    con.close()
    assert not exchange.requests


def test_offline_cached_days_are_served_and_missing_days_named(
    settings: dict[str, Any], client: CryptoKlineVisionData, exchange: Sandbox
) -> None:
    client.fetch("BTCUSDT", "2024-06-01", "2024-06-04")
    offline = CryptoKlineVisionData(**settings, offline=True)
    exchange.forget()
    assert offline.get_data("BTCUSDT", "2024-06-01", "2024-06-04").height == 72
    with pytest.raises(OfflineError, match="2024-06-04 to 2024-06-06") as error:
        offline.get_data("BTCUSDT", "2024-06-02", "2024-06-07")
    assert error.value.days == tuple(date(2024, 6, number) for number in (4, 5, 6))
    assert not exchange.requests


def test_the_source_column_tells_archive_and_rest_apart(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    assert exchange.url
    assert sources(con, "ckvd_klines('BTCUSDT', '1h', '2024-06-14')") == {"vision", "rest"}
