"""The sandbox's REST API: which rows it answers with, its errors and its weights."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql.market.periods import SECOND
from ckvd_sql.market.series import Market
from ckvd_sql.sandbox import SYMBOLS, Fault, Sandbox
from ckvd_sql.sandbox.limits import Meter
from tests.support.exchange import (
    ROUTES,
    added_up,
    as_decimals,
    klines,
    ms,
    rest_rows,
    zip_path,
    zip_rows,
)
from tests.support.truth import NOW, at

if TYPE_CHECKING:
    import httpx


# REST.


@pytest.mark.parametrize("market", Market)
def test_row_limits_are_those_of_each_market(client: httpx.Client, market: Market) -> None:
    assert len(rest_rows(client, market)) == 500
    assert len(rest_rows(client, market, limit=1000)) == 1000
    more = klines(client, market, limit=1501)
    if market is Market.SPOT:
        assert len(more.json()) == 1000
    else:
        assert (more.status_code, more.json()["code"]) == (400, -1130)
        assert len(rest_rows(client, market, limit=1500)) == 1500


@pytest.mark.parametrize("market", Market)
def test_both_bounds_are_included(client: httpx.Client, market: Market) -> None:
    start, end = ms("2024-03-01"), ms("2024-03-01T05:00")
    assert [row[0] for row in rest_rows(client, market, startTime=start, endTime=end)] == list(
        range(start, end + 1, 3_600_000)
    )
    assert len(rest_rows(client, market, startTime=start + 1, endTime=end - 1)) == 4


@pytest.mark.parametrize("market", Market)
def test_a_limit_keeps_the_first_or_the_last_rows(client: httpx.Client, market: Market) -> None:
    start, end = ms("2024-03-01"), ms("2024-03-02")
    opens = [row[0] for row in rest_rows(client, market, startTime=start, endTime=end, limit=3)]
    if market is Market.CM:
        assert opens[-1] == end
    else:
        assert opens[0] == start
    assert rest_rows(client, market, endTime=end, limit=3)[-1][0] == end
    assert rest_rows(client, market, limit=3)[-1][0] == ms("2024-06-15T12:00")


def test_cm_limits_a_range_to_200_days(client: httpx.Client) -> None:
    start, days = ms("2023-01-01"), 86_400_000
    assert rest_rows(client, Market.CM, interval="1d", startTime=start, endTime=start + 200 * days)
    refused = klines(client, Market.CM, interval="1d", startTime=start, endTime=start + 200 * days + 1)
    assert (refused.status_code, refused.json()["code"]) == (400, -4088)
    assert len(rest_rows(client, Market.CM, interval="1d", startTime=start, limit=1000)) == 201
    assert len(rest_rows(client, Market.CM, interval="1d", endTime=start, limit=1000)) == 201
    assert rest_rows(client, Market.CM, interval="1h", startTime=start, limit=2)[0][0] == start


@pytest.mark.parametrize("market", Market)
@pytest.mark.parametrize("interval", ["1m", "1h", "1d", "3d", "1w", "1M"])
def test_the_open_bar_is_the_last_one(exchange: Sandbox, client: httpx.Client, market: Market, interval: str) -> None:
    now = exchange.now // 1000
    before, forming = rest_rows(client, market, interval=interval, limit=2)
    assert before[6] < now <= forming[6]
    assert before[6] + 1 == forming[0]
    exchange.set_now(at(NOW) + 20 * SECOND)
    later = rest_rows(client, market, interval=interval, limit=1)[0]
    assert (later[0], later[1], later[6]) == (forming[0], forming[1], forming[6])
    assert later[8] >= forming[8] > 0
    assert before not in rest_rows(client, market, interval=interval, startTime=forming[0])


def test_the_open_bar_is_made_of_the_seconds_so_far(client: httpx.Client) -> None:
    seconds = rest_rows(client, Market.SPOT, interval="1s", startTime=ms("2024-06-15T12:00"))
    assert len(seconds) == 31  # the last one has just opened
    assert seconds[-1][8] == 0
    assert as_decimals(rest_rows(client, Market.SPOT, interval="1m", limit=1)) == added_up(seconds, "1m")
    assert as_decimals(rest_rows(client, Market.SPOT, interval="1h", limit=1)) == added_up(seconds, "1h")


@pytest.mark.parametrize("market", Market)
def test_before_listing_and_in_the_future_there_are_no_rows(client: httpx.Client, market: Market) -> None:
    assert rest_rows(client, market, startTime=0, endTime=ms("1970-06-01")) == []
    assert rest_rows(client, market, startTime=ms("2030-01-01")) == []


@pytest.mark.parametrize("market", Market)
@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"symbol": "NOSUCHUSDT"}, -1121),
        ({"symbol": None}, -1102),
        ({"symbol": "btcusdt"}, -1100),
        ({"symbol": "BTC/USDT"}, -1100),
        ({"interval": "7m"}, -1120),
        ({"interval": "1mo"}, -1120),
        ({"interval": None}, -1102),
        ({"startTime": "yesterday"}, -1100),
        ({"limit": "-1"}, -1100),
        ({"limit": "0"}, -1130),
    ],
)
def test_errors_have_binances_codes(client: httpx.Client, market: Market, params: dict[str, Any], code: int) -> None:
    answer = klines(client, market, **params)
    assert answer.status_code == 400
    assert set(answer.json()) == {"code", "msg"}
    assert answer.json()["code"] == code


def test_seconds_are_for_spot_only(client: httpx.Client) -> None:
    assert rest_rows(client, Market.SPOT, interval="1s", limit=5)
    assert [klines(client, market, interval="1s").json()["code"] for market in (Market.UM, Market.CM)] == [
        -1120,
        -1120,
    ]


def test_a_delisted_pair_keeps_its_history(client: httpx.Client) -> None:
    delisted = ms("2022-05-13T00:45")
    found = rest_rows(client, Market.SPOT, symbol="LUNAUSDT", interval="1m")
    assert found[-1][0] == delisted - 60_000
    assert len(zip_rows(client, zip_path(Market.SPOT, "1m", date(2022, 5, 13), "LUNAUSDT"))) == 45
    assert client.get(zip_path(Market.SPOT, "1m", date(2022, 5, 14), "LUNAUSDT")).status_code == 404


def test_a_delivered_contract_is_in_the_archive_only(exchange: Sandbox, client: httpx.Client) -> None:
    contract = {Market.UM: "BTCUSDT_240628", Market.CM: "BTCUSD_240628"}
    for market, symbol in contract.items():
        assert rest_rows(client, market, symbol=symbol)
    exchange.set_now("2024-07-15")
    for market, symbol in contract.items():
        answer = klines(client, market, symbol=symbol)
        assert (answer.status_code, answer.json()["code"]) == (400, -1122)
        assert zip_rows(client, zip_path(market, "1h", date(2024, 6, 27), symbol))


@pytest.mark.parametrize("market", Market)
def test_exchange_info_lists_what_is_listed(exchange: Sandbox, client: httpx.Client, market: Market) -> None:
    exchange.set_now("2024-07-15")
    info = client.get(f"{ROUTES[market]}/exchangeInfo").json()
    assert info["serverTime"] == ms("2024-07-15")
    status = {
        one["symbol"]: (
            one["baseAsset"],
            one["quoteAsset"],
            one["contractStatus" if market is Market.CM else "status"],
        )
        for one in info["symbols"]
    }
    listed = [one for one in SYMBOLS[market] if one.listed <= exchange.now]
    assert status == {one.symbol: (one.base, one.quote, one.status_at(exchange.now)) for one in listed}
    assert "币安人生USDT" not in status
    if market is Market.SPOT:
        assert status["LUNAUSDT"] == ("LUNA", "USDT", "BREAK")


# Weights.


def test_every_answer_states_the_used_weight(client: httpx.Client) -> None:
    def cost(market: Market, **params: Any) -> int:
        meter = Fault(path="klines", kind="weight", market=market.value, weight=100)
        client.post("/sandbox/faults", json=meter.as_dict())
        used = int(klines(client, market, **params).headers["X-MBX-USED-WEIGHT-1M"]) - 100
        client.delete("/sandbox/faults")
        return used

    assert [cost(Market.SPOT, limit=limit) for limit in (1, 1000)] == [2, 2]
    assert [cost(Market.UM, limit=limit) for limit in (99, 100, 499, 500, 1000, 1001)] == [1, 2, 2, 5, 5, 10]
    assert cost(Market.CM, limit=None) == 5
    assert cost(Market.UM, symbol="NOSUCH") == 5


@pytest.mark.parametrize(("market", "budget"), [(Market.SPOT, 6000), (Market.UM, 2400), (Market.CM, 2400)])
def test_exceeding_the_budget_gets_429_and_then_418(
    exchange: Sandbox, client: httpx.Client, market: Market, budget: int
) -> None:
    exchange.add(Fault(path="klines", kind="weight", market=market.value, weight=budget))
    answers = [klines(client, market) for _ in range(11)]
    assert [one.status_code for one in answers] == [429] * 10 + [418]
    assert all(one.json()["code"] == -1003 for one in answers)
    assert 1 <= int(answers[0].headers["Retry-After"]) <= 60
    assert int(answers[-1].headers["Retry-After"]) == 120
    other = Market.UM if market is Market.SPOT else Market.SPOT
    assert rest_rows(client, other, limit=1)
    exchange.clear_faults()
    assert rest_rows(client, market, limit=1)


def test_a_budget_resets_each_minute_and_a_ban_ends() -> None:
    meter, start = Meter(), 1_700_000_040.0
    assert meter.charge(Market.UM, "a", 2400, start) == (2400, None)
    refusal = meter.charge(Market.UM, "a", 1, start + 15)[1]
    assert refusal is not None
    assert refusal.headers["Retry-After"] == "45"
    assert meter.charge(Market.UM, "b", 1, start + 15) == (1, None)
    assert meter.charge(Market.UM, "a", 1, start + 60) == (1, None)
    meter.use_up(Market.UM, "a", 2400, start + 61)
    refusals = [meter.charge(Market.UM, "a", 1, start + 62)[1] for _ in range(11)]
    assert [one.status for one in refusals if one] == [429] * 10 + [418]
    later = meter.charge(Market.UM, "a", 1, start + 62 + 119)[1]
    assert later is not None
    assert later.status == 418
    assert meter.charge(Market.UM, "a", 1, start + 62 + 120) == (1, None)
