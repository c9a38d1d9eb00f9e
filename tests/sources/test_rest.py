"""The REST client: which requests it sends for a range, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import pytest

from ckvd_sql.errors import (
    InvalidSymbolError,
    MalformedDataError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitError,
)
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import DAY, HOUR, MINUTE, day_start
from ckvd_sql.market.series import Market
from ckvd_sql.sandbox import Fault, Sandbox
from ckvd_sql.settings import Settings
from ckvd_sql.sources.http import HttpClient
from ckvd_sql.sources.rest import PAGE, RestClient, Symbol
from tests.support.bars import series
from tests.support.days import rest_row, rest_rows, to_arrow
from tests.support.stand_in import StandIn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from ckvd_sql.market.series import Series

T = TypeVar("T")

START = day_start(date(2024, 1, 1))
NOW = "2024-06-15T12:00:30"


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Settings]:
    """Settings for a server, without patience."""

    def settings(server: StandIn | Sandbox, **changes: Any) -> Settings:
        return Settings.load(**{**server.settings, "cache_dir": tmp_path, "retries": 0, "timeout": 10, **changes})

    return settings


def ask(settings: Settings, work: Callable[[RestClient], Awaitable[T]]) -> T:
    """What a client of its own answers."""

    async def run() -> T:
        async with HttpClient(settings) as http:
            return await work(RestClient(settings, http, asyncio.Semaphore(8)))

    return asyncio.run(run())


def klines(settings: Settings, one: Series, start: int, end: int) -> pa.RecordBatch:
    return ask(settings, lambda client: client.klines(one, start, end))


def windows(stand_in: StandIn) -> list[tuple[int, int, int]]:
    """The requests for klines: first and last millisecond, and limit."""
    queries = [dict(parse_qsl(urlsplit(request).query)) for request in stand_in.asked_rest()]
    return sorted((int(one["startTime"]), int(one["endTime"]), int(one["limit"])) for one in queries)


def test_bars_are_those_that_open_in_the_range(stand_in: StandIn, load: Callable[..., Settings]) -> None:
    one = series("spot", "BTCUSDT", "1h")
    stand_in.rows[one] = rest_rows(one, START - DAY, START + 2 * DAY)
    found = klines(load(stand_in), one, START, START + DAY)
    assert found.equals(to_arrow(rest_rows(one, START, START + DAY)))
    assert windows(stand_in) == [(START // 1000, (START + DAY) // 1000 - 1, 26)]


def test_a_range_within_a_millisecond_is_not_widened(stand_in: StandIn, load: Callable[..., Settings]) -> None:
    one = series("spot", "BTCUSDT", "1h")
    stand_in.rows[one] = rest_rows(one, START, START + DAY)
    assert klines(load(stand_in), one, START + 1, START + 2 * HOUR + 1).num_rows == 2
    assert windows(stand_in) == [(START // 1000 + 1, (START + 2 * HOUR) // 1000, 4)]


def test_nothing_is_asked_for_a_range_in_which_no_bar_opens(stand_in: StandIn, load: Callable[..., Settings]) -> None:
    one = series("spot", "BTCUSDT", "1h")
    assert klines(load(stand_in), one, START + 1, START + HOUR).num_rows == 0
    assert klines(load(stand_in), one, START, START).num_rows == 0
    assert not stand_in.requests


@pytest.mark.parametrize("market", ["spot", "um", "cm"])
def test_a_long_range_is_cut_into_windows_that_no_page_can_overflow(
    stand_in: StandIn, load: Callable[..., Settings], market: str
) -> None:
    one = series(market, "BTCUSDT", "1m")
    end = START + 2 * DAY
    stand_in.rows[one] = rest_rows(one, START - DAY, end + DAY)
    assert klines(load(stand_in), one, START, end).equals(to_arrow(rest_rows(one, START, end)))
    asked = windows(stand_in)
    assert (asked[0][0], asked[-1][1]) == (START // 1000, end // 1000 - 1)
    assert [after[0] - before[1] for before, after in pairwise(asked)] == [1, 1]
    assert all((last + 1 - first) * 1000 // MINUTE < limit <= PAGE for first, last, limit in asked)


def test_coin_margined_windows_are_at_most_200_days(stand_in: StandIn, load: Callable[..., Settings]) -> None:
    one = series("cm", "BTCUSD_PERP", "1d")
    stand_in.rows[one] = rest_rows(one, START, START + 500 * DAY)
    found = klines(load(stand_in), one, START, START + 500 * DAY)  # the stand-in refuses longer windows
    assert found.equals(to_arrow(stand_in.rows[one]))
    assert len(windows(stand_in)) == 3


@pytest.mark.parametrize("market", ["spot", "um", "cm"])
def test_a_page_that_may_have_been_cut_is_asked_for_again_in_halves(
    stand_in: StandIn, load: Callable[..., Settings], market: str
) -> None:
    one = series(market, "BTCUSDT", "1h")
    half_hours = [rest_row(START + n * HOUR // 2, START + (n + 1) * HOUR // 2 - 1) for n in range(24)]
    stand_in.rows[one] = half_hours  # twice as many as the grid has; spot cuts off the newest, cm the oldest
    assert klines(load(stand_in), one, START, START + 12 * HOUR).equals(to_arrow(half_hours))


def test_more_rows_than_one_slot_can_have_are_refused(stand_in: StandIn, load: Callable[..., Settings]) -> None:
    one = series("spot", "BTCUSDT", "1h")
    stand_in.rows[one] = rest_rows(series("spot", "BTCUSDT", "1m"), START, START + HOUR)
    with pytest.raises(MalformedDataError, match="more klines than there can be"):
        klines(load(stand_in), one, START, START + HOUR)


def test_rows_that_were_not_asked_for_are_refused(stand_in: StandIn, load: Callable[..., Settings]) -> None:
    one = series("spot", "BTCUSDT", "1h")
    stand_in.files["/api/v3/klines"] = json.dumps(rest_rows(one, START - HOUR, START + HOUR)).encode()
    with pytest.raises(MalformedDataError, match="not asked for"):
        klines(load(stand_in), one, START, START + DAY)


def test_a_failure_is_tried_again_and_a_refusal_is_not(load: Callable[..., Settings]) -> None:
    one = series("spot", "BTCUSDT", "1h")
    with Sandbox(now=NOW) as exchange:
        exchange.add(Fault("klines", "status", status=503, times=1))
        assert klines(load(exchange, retries=1), one, START, START + DAY).num_rows == 24
        exchange.forget()
        exchange.add(Fault("klines", "status", status=403))
        with pytest.raises(ProviderUnavailableError, match="CKVD_SPOT_URL"):
            klines(load(exchange, retries=1), one, START, START + DAY)
        assert len(exchange.requests) == 1


def test_a_host_that_does_not_answer_is_unavailable(stand_in: StandIn, load: Callable[..., Settings]) -> None:
    settings = load(stand_in, um_url="http://127.0.0.1:9")
    with pytest.raises(ProviderUnavailableError, match=r"no answer from http://127\.0\.0\.1:9") as raised:
        klines(settings, series("um", "BTCUSDT", "1h"), START, START + DAY)
    assert raised.value.status is None


def test_a_redirect_is_not_followed(stand_in: StandIn, load: Callable[..., Settings]) -> None:
    with Sandbox(now=NOW) as exchange:
        exchange.add(Fault("klines", "redirect", location=f"{stand_in.url}/api/v3/klines"))
        with pytest.raises(ProviderUnavailableError, match="302"):
            klines(load(exchange), series("spot", "BTCUSDT", "1h"), START, START + DAY)
    assert not stand_in.requests


def test_after_a_429_nothing_is_sent_until_the_wait_is_over(load: Callable[..., Settings]) -> None:
    one = series("spot", "BTCUSDT", "1h")
    with Sandbox(now=NOW) as exchange:
        exchange.add(Fault("api/v3/klines", "status", status=429, headers={"Retry-After": "30"}))
        for _ in range(2):  # by another client on the same cache too
            with pytest.raises(RateLimitError) as raised:
                klines(load(exchange), one, START, START + DAY)
            assert 25 < raised.value.retry_after <= 30
        assert len(exchange.requests) == 1
        assert klines(load(exchange), series("um", "BTCUSDT", "1h"), START, START + DAY).num_rows == 24


def test_an_answer_that_is_too_large_is_refused(stand_in: StandIn, load: Callable[..., Settings]) -> None:
    stand_in.files["/api/v3/exchangeInfo"] = bytes(64 * 2**20 + 1)
    with pytest.raises(MalformedDataError, match="more than 50331648 bytes"):
        ask(load(stand_in), lambda client: client.symbols(Market.SPOT))


def test_now_is_the_earlier_of_the_two_clocks_where_they_differ_by_minutes(load: Callable[..., Settings]) -> None:
    exchange_now = parse_time("2024-06-15T12:00:30", "now")
    now = exchange_now + 3 * MINUTE

    async def agreed(client: RestClient) -> tuple[int, int]:
        before = client.agreed_now(now)
        await client.klines(series("spot", "BTCUSDT", "1h"), START, START + HOUR)
        return before, client.agreed_now(now)

    with Sandbox(now=NOW) as behind:
        assert ask(load(behind, now=None), agreed) == (now, exchange_now)  # unknown before its first answer
        assert ask(load(behind), agreed) == (now, now)  # a fixed clock is taken as it is
    with Sandbox(now="2999-01-01") as ahead:
        assert ask(load(ahead, now=None), agreed) == (now, now)


def test_the_clock_of_a_refusal_counts_too(load: Callable[..., Settings]) -> None:
    async def agreed(client: RestClient) -> int:
        with pytest.raises(InvalidSymbolError):
            await client.klines(series("spot", "NOSUCH", "1h"), START, START + HOUR)
        return client.agreed_now(parse_time("2024-06-15T12:01:30", "now"))

    with Sandbox(now=NOW) as exchange:
        assert ask(load(exchange, now=None), agreed) == exchange.now


@pytest.mark.parametrize("market", ["spot", "um"])
def test_the_first_bar_of_spot_and_um_is_one_request(
    stand_in: StandIn, load: Callable[..., Settings], market: str
) -> None:
    one = series(market, "BTCUSDT", "1h")
    stand_in.rows[one] = rest_rows(one, START + 5 * HOUR, START + DAY)
    assert ask(load(stand_in), lambda client: client.first_open(one)) == START + 5 * HOUR
    assert len(stand_in.requests) == 1


@pytest.mark.parametrize("interval", ["1h", "1d", "1w", "1mo"])
def test_the_first_bar_of_cm_is_found_although_it_gives_the_newest_first(
    stand_in: StandIn, load: Callable[..., Settings], interval: str
) -> None:
    one, daily = series("cm", "BTCUSD_PERP", interval), series("cm", "BTCUSD_PERP", "1d")
    listed = parse_time("2021-05-06T14:00", "listed")  # a Thursday, in the second window
    opened = one.interval.open_time(one.interval.slot(listed))
    stand_in.rows[daily] = rest_rows(daily, listed - 14 * HOUR, listed + 400 * DAY)
    stand_in.rows[one] = rest_rows(one, opened, listed + 400 * DAY)
    assert ask(load(stand_in, now=NOW), lambda client: client.first_open(one)) == opened


def test_a_series_without_a_bar_has_no_first_one(stand_in: StandIn, load: Callable[..., Settings]) -> None:
    for market in ("spot", "cm"):
        one = series(market, "BTCUSDT", "1h")
        stand_in.rows[one] = []
        assert ask(load(stand_in, now=NOW), lambda client: client.first_open(one)) is None  # noqa: B023


def test_symbols_have_the_status_of_either_spelling(stand_in: StandIn, load: Callable[..., Settings]) -> None:
    names = {"symbol": "BTCUSDT", "baseAsset": "BTC", "quoteAsset": "USDT"}
    for path, field in (("/fapi/v1/", "status"), ("/dapi/v1/", "contractStatus")):
        stand_in.files[f"{path}exchangeInfo"] = json.dumps({"symbols": [{**names, field: "TRADING"}]}).encode()
    for market in (Market.UM, Market.CM):
        found = ask(load(stand_in), lambda client: client.symbols(market))  # noqa: B023
        assert found == [Symbol("BTCUSDT", "BTC", "USDT", "TRADING")]


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"null", b'{"symbols": 5}', b'{"symbols": [{"symbol": "X"}]}'])
def test_what_is_no_list_of_symbols_is_refused(stand_in: StandIn, load: Callable[..., Settings], body: bytes) -> None:
    stand_in.files["/api/v3/exchangeInfo"] = body
    with pytest.raises(MalformedDataError, match="list of symbols"):
        ask(load(stand_in), lambda client: client.symbols(Market.SPOT))


def test_errors_of_symbols_never_name_a_symbol(load: Callable[..., Settings]) -> None:
    with Sandbox(now=NOW) as exchange:
        exchange.add(Fault("exchangeInfo", "status", status=400, body='{"code": -1121, "msg": "Invalid symbol."}'))
        with pytest.raises(ProviderError) as raised:
            ask(load(exchange), lambda client: client.symbols(Market.SPOT))
        assert not isinstance(raised.value, InvalidSymbolError)
