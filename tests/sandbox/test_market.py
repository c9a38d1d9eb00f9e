"""The synthetic market: consistent bars that add up across intervals and are the same in every run."""

from __future__ import annotations

import random
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.market.periods import DAY, HOUR, MINUTE, day_start
from ckvd_sql.market.series import INTERVALS, Market
from ckvd_sql.sandbox import OUTAGES, SYMBOLS, market_bars
from ckvd_sql.sandbox.history import closed_bars
from ckvd_sql.sandbox.symbols import Listing, listing_of
from ckvd_sql.sandbox.synthetic import minutes, refine
from tests.support.exchange import (
    added_up,
    as_decimals,
    expected_rows,
    ms,
    rest_rows,
    series,
    zip_path,
    zip_rows,
)
from tests.support.truth import NOW, at

if TYPE_CHECKING:
    import httpx
LISTINGS = [one for listings in SYMBOLS.values() for one in listings]


@pytest.mark.parametrize("market", Market)
def test_every_interval_adds_up_to_longer_ones(market: Market) -> None:
    # From a Monday, over whole weeks; spot has an outage within. 3d bars count from each symbol's first day, so the
    # shorter bars reach over both ends.
    span, around = ("2023-03-13", "2023-04-03"), ("2023-03-10", "2023-04-06")
    names = [name for name in INTERVALS if name not in ("1s", "1mo")]
    bars = {name: expected_rows(market, name, *span) for name in names}
    parts = {"3m": "1m", "5m": "1m", "15m": "5m", "30m": "15m", "1h": "30m", "2h": "1h", "4h": "2h"}
    parts |= {"6h": "2h", "8h": "4h", "12h": "6h", "1d": "12h", "3d": "1d", "1w": "1d"}
    for longer, shorter in parts.items():
        first, last = bars[longer][0][0], bars[longer][-1][6]
        inside = [row for row in expected_rows(market, shorter, *around) if first <= row[0] <= last]
        assert as_decimals(bars[longer]) == added_up(inside, longer), longer


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
def test_bars_are_consistent(listing: Listing) -> None:
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


def test_bars_do_not_depend_on_earlier_requests() -> None:
    listing, hour = listing_of(Market.SPOT, "ETHUSDT"), INTERVALS["1h"]
    assert listing is not None
    days = [day_start(date(2024, 2, 1)) + number * DAY for number in range(20)]

    def requested(order: list[int]) -> dict[int, bytes]:
        minutes.cache_clear()
        return {one: closed_bars(listing, hour, one, one + DAY, at(NOW)).values.tobytes() for one in order}

    shuffled = random.Random(7).sample(days, len(days))  # noqa: S311 (no secret)
    whole = closed_bars(listing, hour, days[0], days[-1] + DAY, at(NOW))
    separate = requested(shuffled)
    assert requested(days) == separate
    assert all(whole.between(one, one + DAY).values.tobytes() == separate[one] for one in days)


def test_futures_follow_spot() -> None:
    spot, um, cm = (expected_rows(market, "1d", "2024-01-01", "2024-02-01") for market in Market)
    for one, two, three in zip(spot, um, cm, strict=True):
        assert abs(float(two[4]) / float(one[4]) - 1) < 0.005
        assert abs(float(three[4]) / float(one[4]) - 1) < 0.005
        assert float(three[7]) < float(three[5])  # volume in coins, and in contracts


def test_the_first_day_is_partial_and_its_daily_bar_opens_at_midnight(
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


def test_market_bars_gives_closed_bars_only() -> None:
    one = series(Market.SPOT, "1h")
    bars = market_bars(one, at("2024-06-15"), at("2024-06-16"), at("2024-06-15T12:59:59"))
    assert len(bars) == 12
    assert len(market_bars(one, at("2024-06-15"), at("2024-06-16"), at("2024-06-15T13:00"))) == 13
    assert market_bars(one, at("2024-06-15") + MINUTE, at("2024-06-15") + HOUR, at(NOW)) == []
    assert market_bars(series(Market.SPOT, "1h", "NOSUCH"), 0, at(NOW), at(NOW)) == []
