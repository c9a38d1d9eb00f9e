"""The sandbox: a synthetic exchange that adds up, answers as Binance does, and fails on request."""

from __future__ import annotations

import hashlib
import io
import os
import random
import signal
import socket
import threading
import zipfile
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ckvd_sql.market.series import (
    DAY,
    HOUR,
    INTERVALS,
    MINUTE,
    SECOND,
    Market,
    Month,
    Period,
    day_start,
)
from ckvd_sql.sandbox import ANOMALIES, OUTAGES, SYMBOLS, Fault, Sandbox, market_bars, serve
from ckvd_sql.sandbox.anomalies import MEMBERS, ROWS, TEXTS
from ckvd_sql.sandbox.history import closed_bars
from ckvd_sql.sandbox.limits import Meter
from ckvd_sql.sandbox.symbols import Listing, listing_of
from ckvd_sql.sandbox.synthetic import minutes, refine
from tests.support.exchange import (
    ROUTES,
    ZIP,
    added_up,
    as_decimals,
    expected_rows,
    in_rest_shape,
    klines,
    ms,
    rest_rows,
    series,
    zip_path,
    zip_rows,
)
from tests.support.truth import at

if TYPE_CHECKING:
    from pathlib import Path

NOW = "2024-06-15T12:00:30"
LISTINGS = [one for listings in SYMBOLS.values() for one in listings]


# The synthetic market.


@pytest.mark.parametrize("market", Market)
def test_every_interval_adds_up_to_longer_ones(market: Market) -> None:
    # From a Monday on which a 3d bar opens, for a multiple of both; spot has an outage in between.
    span = ("2023-03-13", "2023-04-03")
    bars = {name: expected_rows(market, name, *span) for name in INTERVALS if name not in ("1s", "1mo")}
    parts = {"3m": "1m", "5m": "1m", "15m": "5m", "30m": "15m", "1h": "30m", "2h": "1h", "4h": "2h"}
    parts |= {"6h": "2h", "8h": "4h", "12h": "6h", "1d": "12h", "3d": "1d", "1w": "1d"}
    for longer, shorter in parts.items():
        assert as_decimals(bars[longer]) == added_up(bars[shorter], longer), longer


def test_days_add_up_to_months() -> None:
    fine = expected_rows(Market.SPOT, "1d", "2024-01-01", "2024-04-01")
    assert as_decimals(expected_rows(Market.SPOT, "1mo", "2024-01-01", "2024-04-01")) == added_up(fine, "1mo")


@pytest.mark.parametrize("symbol", ["BTCUSDT", "币安人生USDT"])
def test_seconds_add_up_to_minutes(symbol: str) -> None:
    day = ("2025-10-10", "2025-10-10T06:00")
    fine = expected_rows(Market.SPOT, "1s", *day, symbol)
    assert len(fine) == 6 * 3600
    assert as_decimals(expected_rows(Market.SPOT, "1m", *day, symbol)) == added_up(fine, "1m")


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda one: f"{one.market}-{one.symbol}")
def test_bars_are_possible_bars(listing: Listing) -> None:
    last = listing.delisted or at("2026-03-01")
    for day in {listing.listed // DAY, listing.listed // DAY + 7, last // DAY - 3, last // DAY}:
        whole = minutes(listing, date.fromordinal(date(1970, 1, 1).toordinal() + day))
        for bars in (whole, refine(listing, whole)):
            opened, high, low, close, volume, quote_volume, trades, taker, taker_quote = bars.values
            assert (low > 0).all()
            assert (low <= opened).all()
            assert (low <= close).all()
            assert (high >= opened).all()
            assert (high >= close).all()
            assert ((volume > 0) == (trades > 0)).all()
            assert (taker <= volume).all()
            assert (taker_quote <= quote_volume).all()
            assert (bars.values >= 0).all()
            if listing.market is not Market.CM:
                assert (low * volume <= quote_volume).all()
                assert (quote_volume <= high * volume).all()
        again = refine(listing, whole).to(INTERVALS["1m"])
        assert (again.values == whole.values).all()


def test_a_day_closes_where_the_next_one_opens() -> None:
    bars = expected_rows(Market.UM, "1d", "2024-01-01", "2024-06-01")
    assert all(first[4] == second[1] for first, second in pairwise(bars))


def test_bars_do_not_depend_on_what_was_asked_before() -> None:
    listing, hour = listing_of(Market.SPOT, "ETHUSDT"), INTERVALS["1h"]
    assert listing is not None
    days = [day_start(date(2024, 2, 1)) + number * DAY for number in range(20)]

    def asked(order: list[int]) -> dict[int, bytes]:
        minutes.cache_clear()
        return {one: closed_bars(listing, hour, one, one + DAY, at(NOW)).values.tobytes() for one in order}

    shuffled = random.Random(7).sample(days, len(days))  # noqa: S311 (no secret)
    whole = closed_bars(listing, hour, days[0], days[-1] + DAY, at(NOW))
    apart = asked(shuffled)
    assert asked(days) == apart
    assert all(whole.between(one, one + DAY).values.tobytes() == apart[one] for one in days)


def test_futures_follow_spot() -> None:
    spot, um, cm = (expected_rows(market, "1d", "2024-01-01", "2024-02-01") for market in Market)
    for one, two, three in zip(spot, um, cm, strict=True):
        assert abs(float(two[4]) / float(one[4]) - 1) < 0.005
        assert abs(float(three[4]) / float(one[4]) - 1) < 0.005
        assert float(three[7]) < float(three[5])  # contracts, and coins they are worth


def test_the_first_day_is_partial_and_the_bar_of_its_day_still_opens_at_midnight(
    client: httpx.Client,
) -> None:
    assert rest_rows(client, Market.SPOT, interval="1m", startTime=0, limit=1)[0][0] == ms("2017-08-17T04:00")
    assert rest_rows(client, Market.SPOT, interval="1d", startTime=0, limit=1)[0][0] == ms("2017-08-17")
    assert len(zip_rows(client, zip_path(Market.SPOT, "1h", date(2017, 8, 17)))) == 20


def test_an_outage_has_no_bars_in_archive_and_rest(client: httpx.Client) -> None:
    outage = next(one for one in OUTAGES if one.market is Market.SPOT and one.start == at("2023-03-24T12:40"))
    found = rest_rows(client, Market.SPOT, interval="1m", startTime=ms("2023-03-24"), limit=1000)
    assert not [row for row in found if outage.start <= row[0] * 1000 < outage.end]
    hours = [
        row[0] for row in rest_rows(client, Market.SPOT, startTime=ms("2023-03-24"), endTime=ms("2023-03-24T23:00"))
    ]
    assert ms("2023-03-24T12:00") in hours
    assert ms("2023-03-24T13:00") not in hours
    assert hours == [int(cells[0]) for cells in zip_rows(client, zip_path(Market.SPOT, "1h", date(2023, 3, 24)))]
    assert len(found) == 1000  # the gap does not shorten a page


# The archive.


@pytest.mark.parametrize("market", Market)
@pytest.mark.parametrize("interval", ["1m", "1h", "1d"])
def test_archive_and_rest_have_the_same_bars(client: httpx.Client, market: Market, interval: str) -> None:
    cells = zip_rows(client, zip_path(market, interval, date(2022, 4, 30)))
    start, end = ms("2022-04-30"), ms("2022-05-01") - 1
    pages = [(start, start + 12 * 3_600_000 - 1), (start + 12 * 3_600_000, end)]
    found = [
        row
        for first, last in pages
        for row in rest_rows(client, market, interval=interval, startTime=first, endTime=last, limit=1000)
    ]
    assert found == [in_rest_shape(one) for one in cells]
    assert found == expected_rows(market, interval, "2022-04-30", "2022-05-01")


@pytest.mark.parametrize("interval", ["1h", "1d", "3d", "1w", "1mo"])
def test_monthly_archives_have_the_bars_that_open_in_the_month(client: httpx.Client, interval: str) -> None:
    cells = zip_rows(client, zip_path(Market.SPOT, interval, Month(2024, 3)))
    assert [in_rest_shape(one) for one in cells] == expected_rows(Market.SPOT, interval, "2024-03-01", "2024-04-01")


def test_spot_has_no_header_and_futures_have_one_since_2022_05(client: httpx.Client) -> None:
    for market, day, header in [
        (Market.SPOT, date(2024, 6, 1), False),
        (Market.UM, date(2022, 4, 30), False),
        (Market.UM, date(2022, 5, 1), True),
        (Market.CM, date(2024, 6, 1), True),
    ]:
        cells = zip_rows(client, zip_path(market, "12h", day))
        assert (cells[0][0] == "open_time") is header
        assert {len(one) for one in cells} == {12}
        assert len(cells) == 2 + header


def test_spot_counts_microseconds_from_2025_on(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.set_now("2025-03-01")
    before, since = (
        zip_rows(client, zip_path(Market.SPOT, "1h", one))[0] for one in (date(2024, 12, 31), date(2025, 1, 1))
    )
    assert (before[0], before[6]) == (str(ms("2024-12-31")), str(ms("2024-12-31T01:00") - 1))
    assert (since[0], since[6]) == (str(at("2025-01-01")), str(at("2025-01-01T01:00") - 1))
    um = zip_rows(client, zip_path(Market.UM, "1h", date(2025, 1, 1)))[1]
    assert um[0] == str(ms("2025-01-01"))
    assert rest_rows(client, Market.SPOT, startTime=ms("2025-01-01"), limit=1)[0] == in_rest_shape(since)


def test_checksums_end_with_a_newline_on_futures_only(client: httpx.Client) -> None:
    ends = [client.get(zip_path(market, "1h", date(2024, 6, 1)) + ".CHECKSUM").text[-1] for market in Market]
    assert ends == ["p", "\n", "\n"]


@pytest.mark.parametrize(
    ("market", "interval", "period", "published"),
    [
        (Market.SPOT, "1h", date(2024, 6, 1), at("2024-06-02T04:00")),
        (Market.UM, "1h", date(2024, 6, 1), at("2024-06-02T08:35")),
        (Market.SPOT, "1d", Month(2024, 5), at("2024-06-04")),
        (Market.SPOT, "1w", Month(2024, 4), at("2024-05-06T04:00")),  # its last week ends in May
    ],
)
def test_a_file_is_there_once_it_is_published(
    exchange: Sandbox, client: httpx.Client, market: Market, interval: str, period: Period, published: int
) -> None:
    where = zip_path(market, interval, period)
    exchange.set_now(published - 1)
    for ending in ("", ".CHECKSUM"):
        answer = client.get(where + ending)
        assert answer.status_code == 404
        assert "<Code>NoSuchKey</Code>" in answer.text
    exchange.set_now(published)
    assert zip_rows(client, where)
    assert client.get(where).headers["Last-Modified"] == client.get(where).headers["Date"]


@pytest.mark.parametrize(
    "where",
    [
        zip_path(Market.SPOT, "1h", date(2017, 8, 16)),
        zip_path(Market.SPOT, "1w", date(2024, 6, 3)),
        ZIP.replace("BTCUSDT", "NOSUCHUSDT"),
        ZIP.replace("-06-01", "-02-30"),
        "/data/futures/um/daily/klines/BTCUSDT/1s/BTCUSDT-1s-2024-06-01.zip",
        "/data/spot/daily/klines/BTCUSDT/1h/",
        "/elsewhere",
    ],
)
def test_what_the_archive_lacks_is_404(client: httpx.Client, where: str) -> None:
    assert client.get(where).status_code == 404


def test_zips_are_the_same_bytes_from_every_sandbox(client: httpx.Client) -> None:
    first = client.get(ZIP)
    assert first.headers["ETag"] == f'"{hashlib.md5(first.content, usedforsecurity=False).hexdigest()}"'
    with Sandbox(now="2026-01-01") as other:
        assert httpx.get(other.url + ZIP).content == first.content


def test_files_can_be_asked_for_in_part_or_if_changed(client: httpx.Client) -> None:
    whole = client.get(ZIP)
    assert int(client.head(ZIP).headers["Content-Length"]) == len(whole.content)
    part = client.get(ZIP, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert client.get(ZIP, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304


def test_the_non_ascii_symbol_works_percent_encoded(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.set_now("2025-11-15")
    symbol = "币安人生USDT"
    cells = zip_rows(client, zip_path(Market.SPOT, "1h", date(2025, 10, 8), symbol))
    found = rest_rows(client, Market.SPOT, symbol=symbol, startTime=ms("2025-10-08"), limit=24)
    assert found == [in_rest_shape(one) for one in cells]
    assert symbol in exchange.requests[0].path


# REST.


@pytest.mark.parametrize("market", Market)
def test_limits(client: httpx.Client, market: Market) -> None:
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
def test_which_rows_a_limit_keeps(client: httpx.Client, market: Market) -> None:
    start, end = ms("2024-03-01"), ms("2024-03-02")
    opens = [row[0] for row in rest_rows(client, market, startTime=start, endTime=end, limit=3)]
    if market is Market.CM:
        assert opens[-1] == end
    else:
        assert opens[0] == start
    assert rest_rows(client, market, endTime=end, limit=3)[-1][0] == end
    assert rest_rows(client, market, limit=3)[-1][0] == ms("2024-06-15T12:00")


def test_cm_knows_200_days(client: httpx.Client) -> None:
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
    assert len(seconds) == 31  # the last has only just opened
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
def test_errors_are_worded_as_binance_words_them(
    client: httpx.Client, market: Market, params: dict[str, Any], code: int
) -> None:
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


def test_a_delivered_contract_is_left_to_the_archive(exchange: Sandbox, client: httpx.Client) -> None:
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


def test_every_answer_says_the_used_weight(client: httpx.Client) -> None:
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
def test_who_asks_for_too_much_is_told_to_wait_then_banned(
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


def test_a_budget_is_new_each_minute_and_a_ban_ends() -> None:
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


# Faults.


def test_a_fault_fires_as_often_as_asked(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.add(Fault(path=r"\.zip$", kind="status", status=503, body="busy", headers={"Retry-After": "7"}, times=2))
    answers = [client.get(ZIP) for _ in range(3)]
    assert [one.status_code for one in answers] == [503, 503, 200]
    assert (answers[0].text, answers[0].headers["Retry-After"]) == ("busy", "7")
    assert [(one.method, one.path, one.status) for one in exchange.requests] == [
        ("GET", ZIP, 503),
        ("GET", ZIP, 503),
        ("GET", ZIP, 200),
    ]


def test_a_fault_without_times_lasts_until_cleared(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.add(Fault(path="symbol=BTC", kind="html"))
    for _ in range(3):
        answer = klines(client, Market.SPOT)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html")
    assert rest_rows(client, Market.SPOT, symbol="ETHUSDT")
    exchange.clear_faults()
    assert rest_rows(client, Market.SPOT)


def test_torn_and_reset_bodies(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.add(Fault(path=r"\.zip$", kind="torn", after=100, times=1))
    exchange.add(Fault(path=r"\.zip$", kind="reset", times=1))
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(ZIP)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        client.get(ZIP)
    assert zip_rows(client, ZIP)


def test_a_stall_lasts_until_the_client_gives_up(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.add(Fault(path=r"\.zip$", kind="stall", seconds=60, times=1))
    with pytest.raises(httpx.ReadTimeout):
        client.get(ZIP, timeout=0.3)
    assert client.get(ZIP).status_code == 200


def test_a_drip_arrives_whole(exchange: Sandbox, client: httpx.Client) -> None:
    whole = client.get(ZIP).content
    exchange.add(Fault(path=r"\.zip$", kind="drip", piece=300, seconds=0.001, times=1))
    exchange.add(Fault(path=r"\.zip$", kind="latency", seconds=0.01, times=1))
    assert client.get(ZIP).content == whole


def test_a_wrong_checksum(exchange: Sandbox, client: httpx.Client) -> None:
    right = client.get(ZIP + ".CHECKSUM").text
    exchange.add(Fault(path="BTCUSDT-1h", kind="checksum", times=1))
    body = client.get(ZIP).content
    wrong = client.get(ZIP + ".CHECKSUM").text
    assert wrong != right
    assert (len(wrong), wrong[64:]) == (len(right), right[64:])
    assert hashlib.sha256(body).hexdigest() == right[:64]
    assert client.get(ZIP + ".CHECKSUM").text == right


def test_a_corrupted_zip_matches_its_checksum(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.add(Fault(path=r"\.zip$", kind="corrupt", times=1))
    checksum, body = client.get(ZIP + ".CHECKSUM").text, client.get(ZIP).content
    assert hashlib.sha256(body).hexdigest() == checksum[:64]
    with (
        zipfile.ZipFile(io.BytesIO(body)) as archive,
        pytest.raises(Exception, match=r"(?i)crc|decompress|invalid"),
    ):
        archive.read(archive.namelist()[0])
    assert zip_rows(client, ZIP)


def test_a_redirect(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.add(Fault(path="ping", kind="redirect", location="/elsewhere"))
    answer = client.get("/api/v3/ping")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/elsewhere")


def test_a_wrong_content_length_announces_less_than_is_sent(exchange: Sandbox) -> None:
    whole = httpx.get(exchange.url + ZIP).content
    exchange.add(Fault(path=r"\.zip$", kind="length", after=100, times=1))
    with socket.create_connection(("127.0.0.1", int(exchange.url.rpartition(":")[2])), timeout=20) as wire:
        wire.sendall(f"GET {ZIP} HTTP/1.1\r\nHost: sandbox\r\n\r\n".encode())
        sent = b"".join(iter(lambda: wire.recv(65536), b""))
    head, _, body = sent.partition(b"\r\n\r\n")
    assert b"Content-Length: 100\r\n" in head
    assert body == whole
    exchange.add(Fault(path=r"\.zip$", kind="length", after=100, times=1))
    assert httpx.get(exchange.url + ZIP).content == whole[:100]


def test_a_fault_ends_at_the_exchanges_time_that_it_names(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.add(Fault(path="ping", kind="status", until="2024-06-15T13:00"))
    assert client.get("/api/v3/ping").status_code == 503
    exchange.set_now("2024-06-15T13:00")
    assert client.get("/api/v3/ping").status_code == 200


# Anomalies.


def zip_members(client: httpx.Client, where: str) -> list[tuple[str, bytes]]:
    """What is in a zip, its checksum verified."""
    body, checksum = client.get(where), client.get(f"{where}.CHECKSUM")
    assert body.status_code == checksum.status_code == 200
    assert checksum.text.split("  ") == [hashlib.sha256(body.content).hexdigest(), where.rpartition("/")[2]]
    with zipfile.ZipFile(io.BytesIO(body.content)) as archive:
        return [(one.filename, archive.read(one)) for one in archive.infolist()]


@pytest.fixture(scope="module")
def clean(running_exchange: Sandbox) -> bytes:
    with zipfile.ZipFile(io.BytesIO(httpx.get(running_exchange.url + ZIP).content)) as archive:
        return archive.read(archive.namelist()[0])


@pytest.mark.parametrize("name", ANOMALIES)
def test_an_anomaly_is_published_under_its_own_checksum_while_rest_has_the_truth(
    exchange: Sandbox, client: httpx.Client, clean: bytes, name: str
) -> None:
    exchange.add(Fault(path=r"\.zip", kind="anomaly", name=name))
    spoiled, csv = zip_members(client, ZIP), ZIP.rpartition("/")[2].replace(".zip", ".csv")
    if name not in ("no header", "mixed units"):  # an hour of spot has no header, and is in milliseconds
        assert spoiled != [(csv, clean)]
    found = rest_rows(client, Market.SPOT, startTime=ms("2024-06-01"), endTime=ms("2024-06-02") - 1)
    assert found == expected_rows(Market.SPOT, "1h", "2024-06-01", "2024-06-02")
    exchange.clear_faults()
    assert zip_members(client, ZIP) == [(csv, clean)]


@pytest.mark.parametrize(
    ("name", "number", "times"),
    [
        ("off grid", 9, ("2024-06-01T09:58:14.789", "2024-06-01T10:58:14.788")),
        ("off grid", 23, ("2024-06-01T23:58:14.789", "2024-06-01T23:59:59.999")),
        ("off grid", 8, ("2024-06-01T08:00", "2024-06-01T08:59:59.999")),
        ("early close", 12, ("2024-06-01T12:00", "2024-06-01T12:39:41.646")),
        ("close before open", 14, ("2024-06-01T14:00", "2024-06-01T13:59:59.999")),
        ("missing bars", 13, ("2024-06-01T14:00", "2024-06-01T14:59:59.999")),
        ("duplicates", 7, ("2024-06-01T06:00", "2024-06-01T06:59:59.999")),
        ("ends at 07:36", -1, ("2024-06-01T07:00", "2024-06-01T07:59:59.999")),
        ("unsorted", 0, ("2024-06-01T23:00", "2024-06-01T23:59:59.999")),
        ("another day", 0, ("2024-06-02T00:00", "2024-06-02T00:59:59.999")),
    ],
)
def test_anomalies_of_rows_are_in_the_archive_and_if_asked_for_in_rest(
    exchange: Sandbox, client: httpx.Client, name: str, number: int, times: tuple[str, str]
) -> None:
    exchange.add(Fault(path=r"\.zip|/klines", kind="anomaly", name=name))
    (cells,) = (text.decode().splitlines() for _, text in zip_members(client, ZIP))
    row = cells[number].split(",")
    assert (int(row[0]), int(row[6])) == tuple(map(ms, times))
    if name not in ("another day", "unsorted"):
        day = {"startTime": ms("2024-06-01"), "endTime": ms("2024-06-02") - 1}
        assert rest_rows(client, Market.SPOT, **day) == [in_rest_shape(one.split(",")) for one in cells]
        part = rest_rows(client, Market.SPOT, startTime=ms(times[0]), endTime=ms(times[0]))
        assert in_rest_shape(row) in part


def test_anomalies_of_single_cells(exchange: Sandbox, client: httpx.Client, clean: bytes) -> None:
    lines = [line.split(b",") for line in clean.splitlines()]
    nothing, noon = b"0.00000000", lines[12]
    expected = {
        "zero trades": [noon[0], *[noon[1]] * 4, nothing, noon[6], nothing, b"0", nothing, nothing, b"0"],
        "field missing": noon[:11],
        "no number": [*noon[:4], b"n/a", *noon[5:]],
        "not finite": [*noon[:4], b"NaN", *noon[5:]],
        "no time": [b"0", *noon[1:]],
    }
    for name, row in expected.items():
        exchange.clear_faults()
        exchange.add(Fault(path=r"\.zip", kind="anomaly", name=name))
        ((_, text),) = zip_members(client, ZIP)
        assert [line.split(b",") for line in text.splitlines()] == [*lines[:12], row, *lines[13:]], name
    exchange.clear_faults()
    exchange.add(Fault(path=r"\.zip", kind="anomaly", name="conflicting duplicates"))
    cells = zip_rows(client, ZIP)
    assert (len(cells), cells[6][:8], int(cells[7][8])) == (26, cells[7][:8], int(cells[6][8]) + 1)


def test_anomalies_of_text(exchange: Sandbox, client: httpx.Client, clean: bytes) -> None:
    for name in TEXTS:
        exchange.clear_faults()
        exchange.add(Fault(path=r"\.zip", kind="anomaly", name=name))
        ((_, text),) = zip_members(client, ZIP)
        match name:
            case "header":
                assert text.startswith(b"open_time,open,")
                assert text.partition(b"\n")[2] == clean
            case "blank lines":
                assert (text.count(b"\n\n"), text.split()) == (24, clean.split())
            case "CRLF":
                assert text == clean.replace(b"\n", b"\r\n")
            case "no last line end":
                assert text + b"\n" == clean
            case _:
                assert text == clean


def test_anomalies_of_members(exchange: Sandbox, client: httpx.Client) -> None:
    expected = {
        "wrong file": ["NOTBTCUSDT-1h-2024-06-01.csv"],
        "two members": ["BTCUSDT-1h-2024-06-01.csv", "README.txt"],
        "same member twice": ["BTCUSDT-1h-2024-06-01.csv"] * 2,
        "member with a path": ["../../../../../../BTCUSDT-1h-2024-06-01.csv"],
        "member with a root": ["/tmp/BTCUSDT-1h-2024-06-01.csv"],  # noqa: S108 (never written)
        "member in a folder": ["data/BTCUSDT-1h-2024-06-01.csv"],
        "no member": [],
        "zip bomb": ["BTCUSDT-1h-2024-06-01.csv"],
    }
    assert expected.keys() == MEMBERS.keys()
    for name, names in expected.items():
        exchange.clear_faults()
        exchange.add(Fault(path=r"\.zip", kind="anomaly", name=name))
        found = zip_members(client, ZIP)
        assert [member for member, _ in found] == names
        if name == "zip bomb":
            assert len(found[0][1]) > 60_000_000 > 600 * len(client.get(ZIP).content)
    assert set(ANOMALIES) == {*ROWS, *TEXTS, *MEMBERS}


def test_milliseconds_stand_among_microseconds(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.set_now("2025-03-01")
    where = zip_path(Market.SPOT, "1h", date(2025, 1, 1))
    before = zip_rows(client, where)
    exchange.add(Fault(path=r"\.zip", kind="anomaly", name="mixed units"))
    after = zip_rows(client, where)
    assert [len(row[0]) for row in after[:4]] == [16, 13, 13, 16]
    assert [in_rest_shape(row) for row in after] == [in_rest_shape(row) for row in before]


def test_futures_can_lack_their_header(exchange: Sandbox, client: httpx.Client) -> None:
    where = zip_path(Market.UM, "1h", date(2024, 6, 1))
    with_header = zip_rows(client, where)
    exchange.add(Fault(path=r"\.zip", kind="anomaly", name="no header"))
    assert zip_rows(client, where) == with_header[1:]


def test_a_torn_file_is_replaced_when_its_time_has_come(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.add(Fault(path=r"\.zip", kind="anomaly", name="ends at 07:36", until="2024-06-20"))
    where = zip_path(Market.SPOT, "1m", date(2024, 6, 1))
    torn = zip_rows(client, where)
    assert (len(torn), int(torn[-1][0])) == (457, ms("2024-06-01T07:36"))
    exchange.set_now("2024-06-20")
    assert len(zip_rows(client, where)) == 1440


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "flood"},
        {"path": "("},
        {"times": 0},
        {"market": "moon"},
        {"seconds": -1},
        {"kind": "anomaly"},
        {"kind": "anomaly", "name": "sunspots"},
        {"until": "soon"},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(client: httpx.Client, wrong: dict[str, Any]) -> None:
    fields = {"path": "x", "kind": "html", **wrong}
    with pytest.raises(ValueError, match=r"."):
        Fault(**fields)
    assert client.post("/sandbox/faults", json=fields).status_code == 400


# Control from other processes, clock and lifecycle.


def test_control_over_http(exchange: Sandbox, client: httpx.Client) -> None:
    fault = {"path": "ping", "kind": "status", "status": 451, "times": 1}
    assert client.post("/sandbox/faults", json=fault).status_code == 201
    assert client.get("/sandbox/faults").json()[0]["status"] == 451
    assert [client.get("/api/v3/ping").status_code for _ in range(2)] == [451, 200]
    assert client.delete("/sandbox/faults").json() == []
    assert [one["status"] for one in client.get("/sandbox/requests").json()] == [451, 200]
    assert client.put("/sandbox/clock", json={"now": "2024-06-16"}).json()["now"] == "2024-06-16T00:00:00+00:00"
    assert exchange.now == at("2024-06-16")
    assert client.get("/sandbox/clock").json()["fixed"] is True
    assert client.put("/sandbox/clock", json={"now": "soon"}).status_code == 400
    assert client.post("/sandbox/faults", content=b"{").status_code == 400
    assert client.post("/sandbox/faults", json={"path": "x", "kind": "html", "colour": 1}).status_code == 400
    assert client.get("/sandbox/else").status_code == 404


def test_the_clock_is_in_every_answer(exchange: Sandbox, client: httpx.Client) -> None:
    assert client.get("/api/v3/ping").headers["Date"] == "Sat, 15 Jun 2024 12:00:30 GMT"
    assert client.get(ZIP).headers["Date"] == "Sat, 15 Jun 2024 12:00:30 GMT"
    assert exchange.settings == {
        **dict.fromkeys(("vision_url", "spot_url", "um_url", "cm_url"), exchange.url),
        "now": "2024-06-15T12:00:30+00:00",
    }


def test_without_a_fixed_clock_time_is_real() -> None:
    with Sandbox() as exchange:
        first = exchange.now
        assert "now" not in exchange.settings
        assert first > at("2024-01-01")
        assert exchange.now >= first


def test_a_sandbox_leaves_no_thread_and_frees_its_port() -> None:
    before = threading.active_count()
    with Sandbox(now=NOW) as exchange, httpx.Client(base_url=exchange.url) as client:
        exchange.add(Fault(path="ping", kind="latency", seconds=60))
        with pytest.raises(httpx.ReadTimeout):
            client.get("/api/v3/ping", timeout=0.2)
        port = int(exchange.url.rpartition(":")[2])
    assert threading.active_count() == before
    with Sandbox(now=NOW, port=port) as again:
        assert httpx.get(f"{again.url}/api/v3/ping").json() == {}
        with pytest.raises(OSError, match=r"in use"), Sandbox(port=port):
            pass
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_serving_in_the_foreground_ends_with_a_signal() -> None:
    answers: list[int] = []

    def ask(url: str) -> None:
        answers.append(httpx.get(f"{url}/api/v3/ping").status_code)
        os.kill(os.getpid(), signal.SIGTERM)

    threads: list[threading.Thread] = []

    def ready(url: str) -> None:
        threads.append(threading.Thread(target=ask, args=(url,)))
        threads[0].start()

    serve(now=NOW, on_ready=ready)
    threads[0].join()
    assert answers == [200]


def test_many_requests_at_once(exchange: Sandbox, client: httpx.Client) -> None:
    days = [zip_path(Market.SPOT, "1m", date(2024, 5, number)) for number in range(1, 13)]
    found: dict[str, bytes] = {}

    def ask(where: str) -> None:
        found[where] = client.get(where).content

    threads = [threading.Thread(target=ask, args=(where,)) for where in days]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*found.values()}) == len(days)
    assert len(exchange.requests) == len(days)


# Replay.


@pytest.fixture
def tree(client: httpx.Client, exchange: Sandbox, tmp_path: Path) -> Path:
    """An archive tree: a month of spot hours in µs and two days beside it, and a day of um."""
    exchange.set_now("2025-03-15")
    for where in (
        zip_path(Market.SPOT, "1h", Month(2025, 1)),
        zip_path(Market.SPOT, "1h", date(2025, 2, 1)),
        zip_path(Market.SPOT, "1h", date(2025, 2, 2)),
        zip_path(Market.UM, "1h", date(2025, 2, 1)),
    ):
        for name in (where, f"{where}.CHECKSUM"):
            file = tmp_path / name[1:]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(client.get(name).content)
    return tmp_path


def test_a_replay_serves_a_folder_untouched(tree: Path) -> None:
    files = [file for file in tree.rglob("*") if file.is_file()]
    assert len(files) == 8
    with Sandbox(now="2025-03-15", replay=tree) as exchange, httpx.Client(base_url=exchange.url) as client:
        for file in files:
            assert client.get("/" + file.relative_to(tree).as_posix()).content == file.read_bytes()
        assert client.get(ZIP).status_code == 404
        assert client.get("/data/%2e%2e/%2e%2e/etc/passwd").status_code == 404
        (tree / "secret").write_text("x")
        assert client.get("/data/..%2fsecret").status_code == 404


def test_a_replay_answers_rest_from_the_rows_of_its_zips(tree: Path) -> None:
    with Sandbox(now="2025-03-15", replay=tree) as exchange, httpx.Client(base_url=exchange.url) as client:
        start, end = ms("2025-01-31"), ms("2025-02-02") - 1
        assert rest_rows(client, Market.SPOT, startTime=start, endTime=end) == expected_rows(
            Market.SPOT, "1h", "2025-01-31", "2025-02-02"
        )
        assert rest_rows(client, Market.SPOT, limit=30) == expected_rows(
            Market.SPOT, "1h", "2025-02-01T18:00", "2025-02-03"
        )
        assert rest_rows(client, Market.UM) == expected_rows(Market.UM, "1h", "2025-02-01", "2025-02-02")
        assert rest_rows(client, Market.SPOT, interval="1d") == []
        assert klines(client, Market.SPOT, symbol="ETHUSDT").json()["code"] == -1121
        assert klines(client, Market.CM).json()["code"] == -1121
        symbols = client.get("/api/v3/exchangeInfo").json()["symbols"]
        assert [(one["symbol"], one["baseAsset"], one["quoteAsset"]) for one in symbols] == [("BTCUSDT", "BTC", "USDT")]


def test_a_folder_that_is_no_archive_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="archive tree"):
        Sandbox(replay=tmp_path)


def test_the_oracle_gives_closed_bars_only() -> None:
    one = series(Market.SPOT, "1h")
    bars = market_bars(one, at("2024-06-15"), at("2024-06-16"), at("2024-06-15T12:59:59"))
    assert len(bars) == 12
    assert len(market_bars(one, at("2024-06-15"), at("2024-06-16"), at("2024-06-15T13:00"))) == 13
    assert market_bars(one, at("2024-06-15") + MINUTE, at("2024-06-15") + HOUR, at(NOW)) == []
    assert market_bars(series(Market.SPOT, "1h", "NOSUCH"), 0, at(NOW), at(NOW)) == []
