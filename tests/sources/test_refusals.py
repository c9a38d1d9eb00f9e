"""What an answer other than 200 means, and what its message tells the user to do."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql.errors import CkvdError, InvalidSymbolError, ProviderError, ProviderUnavailableError, RateLimitError
from ckvd_sql.market.series import Market
from ckvd_sql.sources.refusals import DelistedError, Refusal, rate_limit_error

if TYPE_CHECKING:
    from collections.abc import Mapping

URL = "https://api.example/api/v3/klines?symbol=BTCUSDT"
NOW = 1_718_452_830.0  # 2024-06-15 12:00:30 UTC
THREE_DAYS = 3 * 86_400.0


def refusal(
    status: int,
    body: Any = b"",
    *,
    market: Market = Market.SPOT,
    symbol: str | None = "BTCUSDT",
    headers: Mapping[str, str] | None = None,
) -> Refusal:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Refusal(market, symbol, URL, status, "Some Reason", headers or {}, content)


def code(number: Any, message: Any = "as Binance says") -> dict[str, Any]:
    return {"code": number, "msg": message}


MEANINGS: list[tuple[int, Any, type[CkvdError]]] = [
    (400, code(-1121), InvalidSymbolError),
    (400, code(-1122), DelistedError),
    (400, code(-1120), ProviderError),
    (400, code(-4088), ProviderError),
    (401, b"", ProviderError),
    (404, b"<html>", ProviderError),
    (418, code(-1003), RateLimitError),
    (429, code(-1003), RateLimitError),
    (429, code(-1121), RateLimitError),  # the status counts, not the code
    (403, b"<html>", ProviderUnavailableError),
    (451, code(0), ProviderUnavailableError),
    (301, b"", ProviderUnavailableError),
    (302, b"", ProviderUnavailableError),
    (307, b"", ProviderUnavailableError),
    (500, b"", ProviderUnavailableError),
    (502, b"<html>Bad Gateway</html>", ProviderUnavailableError),
    (503, code(-1), ProviderUnavailableError),
]


@pytest.mark.parametrize(("status", "body", "kind"), MEANINGS)
def test_each_status_and_code_has_its_exception(status: int, body: Any, kind: type[CkvdError]) -> None:
    assert type(refusal(status, body).error(NOW)) is kind


@pytest.mark.parametrize("status", [301, 400, 403, 404, 418, 429, 451, 500])
def test_a_provider_error_has_the_url_and_the_status(status: int) -> None:
    error = refusal(status).error(NOW)
    assert isinstance(error, ProviderError)
    assert (error.url, error.status) == (URL, status)


@pytest.mark.parametrize("number", [-1121, -1122])
def test_a_call_without_a_symbol_can_not_have_an_invalid_one(number: int) -> None:
    assert type(refusal(400, code(number), symbol=None).error(NOW)) is ProviderError


def test_an_unknown_symbol_is_named_with_the_function_that_lists_those_of_its_market() -> None:
    error = refusal(400, code(-1121), market=Market.CM, symbol="XYZUSD_PERP").error(NOW)
    assert isinstance(error, InvalidSymbolError)
    assert (error.argument, error.value) == ("symbol", "XYZUSD_PERP")
    assert "ckvd_symbols('cm')" in str(error)


@pytest.mark.parametrize("market", list(Market))
@pytest.mark.parametrize("status", [403, 451])
def test_a_refused_location_or_address_names_the_setting_and_a_host_that_serves_everyone(
    market: Market, status: int
) -> None:
    message = str(refusal(status, market=market).error(NOW))
    assert f"CKVD_{market.value.upper()}_URL" in message
    assert "https://data-api.binance.vision" in message
    assert "api.example" in message
    assert str(status) in message


def test_other_errors_say_what_binance_says() -> None:
    assert "HTTP 400: Maximum time interval" in str(refusal(400, code(-4088, "Maximum time interval")).error(NOW))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff",
        b"[]",
        b"null",
        b'{"code": -1121}',
        b'{"msg": "no code"}',
        b'{"code": "x", "msg": "no number"}',
        b'{"code": null, "msg": "no number"}',
        b'{"code": Infinity, "msg": "no number"}',
        b"[" * 100_000,
        b'{"code": ' + b"9" * 5000 + b', "msg": ""}',
    ],
)
def test_a_body_that_is_no_error_of_binance_gives_the_reason_phrase(body: bytes) -> None:
    error = refusal(400, body).error(NOW)
    assert type(error) is ProviderError
    assert str(error).endswith("HTTP 400: Some Reason")


@pytest.mark.parametrize("status", [400, 403, 451, 500, 503])
def test_only_429_and_418_ask_to_wait(status: int) -> None:
    assert refusal(status, headers={"Retry-After": "30"}).wait is None


WAITS: list[tuple[str, float]] = [
    ("30", 30.0),
    ("1.5", 1.5),
    ("  7 ", 7.0),
    ("0", 1.0),
    ("-5", 1.0),
    ("999999999", THREE_DAYS),
    ("1e300", THREE_DAYS),
]


@pytest.mark.parametrize(("stated", "seconds"), WAITS)
@pytest.mark.parametrize("status", [418, 429])
def test_retry_after_is_at_least_a_second_and_at_most_the_longest_ban(status: int, stated: str, seconds: float) -> None:
    assert refusal(status, headers={"Retry-After": stated}).wait == seconds


@pytest.mark.parametrize("stated", ["nan", "inf", "-inf", "", "soon", "Sat, 15 Jun 2024 12:01:00 GMT", None])
@pytest.mark.parametrize(("status", "seconds"), [(418, 120.0), (429, 60.0)])
def test_without_a_usable_retry_after_a_ban_is_two_minutes_and_a_limit_one(
    status: int, seconds: float, stated: str | None
) -> None:
    assert refusal(status, headers={} if stated is None else {"Retry-After": stated}).wait == seconds


def test_a_rate_limit_says_until_when_and_that_the_query_goes_on_from_there() -> None:
    error = refusal(429, headers={"Retry-After": "30"}).error(NOW)
    assert isinstance(error, RateLimitError)
    assert error.retry_after == 30
    assert error.until == datetime(2024, 6, 15, 12, 1, tzinfo=UTC)
    assert "asks this address to wait until 2024-06-15 12:01:00 UTC, 30 s from now" in str(error)
    assert "cached" in str(error)


def test_a_ban_is_called_a_ban() -> None:
    assert "has banned this address until 2024-06-15 12:02:30 UTC" in str(refusal(418).error(NOW))


def test_a_wait_that_is_over_is_not_negative() -> None:
    error = rate_limit_error(URL, None, until=NOW - 5, now=NOW)
    assert error.retry_after == 0
    assert error.status is None
