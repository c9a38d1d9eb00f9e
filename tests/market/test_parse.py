"""Symbols, markets, intervals, times and ranges as users write them."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckvd_sql.errors import InvalidIntervalError, InvalidMarketError, InvalidSymbolError, InvalidTimeError
from ckvd_sql.market.parse import parse_interval, parse_market, parse_span, parse_symbol, parse_time
from ckvd_sql.market.periods import day_start
from ckvd_sql.market.series import INTERVALS, Market


@pytest.mark.parametrize(
    "symbol",
    ["BTCUSDT", "1000SHIBUSDT", "0GUSDT", "BTCUSDT_240927", "BTCUSD_PERP", "CVCUSDTSETTLED", "币安人生USDT", "A"],
)
def test_symbols_of_every_kind_are_accepted_as_they_are(symbol: str) -> None:
    assert parse_symbol(symbol) == symbol


@pytest.mark.parametrize(
    "symbol",
    [
        *(
            "",
            " ",
            "BTCUSDT\n",
            "\nBTCUSDT",
            "BTC USDT",
            "../x",
            "..",
            "A/B",
            "A\\B",
            "A.B",
            "A\0B",
            "BTC-USDT",
            "A%2FB",
        ),
        *("btcusdt", "BTCusdt", "A" * 65, "CAFE\u0301", None, 5, b"BTCUSDT", ["BTCUSDT"]),
    ],
)
def test_an_invalid_symbol_is_refused(symbol: object) -> None:
    with pytest.raises(InvalidSymbolError) as refused:
        parse_symbol(symbol)
    assert (refused.value.argument, refused.value.value) == ("symbol", symbol)


def test_the_error_for_a_lower_case_symbol_suggests_upper_case() -> None:
    with pytest.raises(InvalidSymbolError, match="did you mean 'ETHUSDT'"):
        parse_symbol("ethusdt")


@given(st.text(max_size=70))
def test_an_accepted_symbol_is_one_folder_name_and_one_url_segment(text: str) -> None:
    try:
        symbol = parse_symbol(text)
    except InvalidSymbolError:
        return
    assert not set(symbol) & set("/\\.:?#%&\0\n\r ")
    assert symbol == symbol.upper() == text


@pytest.mark.parametrize("market", ["spot", "um", "cm", Market.UM])
def test_there_are_three_markets(market: object) -> None:
    assert parse_market(market).value == str(market)


@pytest.mark.parametrize("market", ["SPOT", "", "usdm", None, 1])
def test_an_invalid_market_is_refused(market: object) -> None:
    with pytest.raises(InvalidMarketError, match="'spot', 'um'"):
        parse_market(market)


@pytest.mark.parametrize("name", INTERVALS)
def test_every_interval_is_parsed_from_its_name(name: str) -> None:
    assert parse_interval(name, Market.SPOT).name == name


def test_a_month_interval_may_be_written_as_in_rest() -> None:
    assert parse_interval("1M", Market.CM) == INTERVALS["1mo"]
    assert INTERVALS["1mo"].rest_name == "1M"
    assert parse_interval("1m", Market.CM).rest_name == "1m"


@pytest.mark.parametrize("interval", ["", "1H", "2m", "60m", "1mo ", "1", None, 60, "1W", "1D"])
def test_an_invalid_interval_is_refused(interval: object) -> None:
    with pytest.raises(InvalidIntervalError, match="1mo"):
        parse_interval(interval, Market.SPOT)


@pytest.mark.parametrize("market", [Market.UM, Market.CM])
def test_futures_have_no_seconds(market: Market) -> None:
    with pytest.raises(InvalidIntervalError, match=f"on {market} an interval is one of 1m"):
        parse_interval("1s", market)


@pytest.mark.parametrize(
    "value",
    [
        "2024-03-05",
        " 2024-03-05 ",
        "2024-03-05T00:00:00",
        "2024-03-05 00:00:00+00",
        "2024-03-05T05:45:00+05:45",
        "2024-03-05T00:00:00Z",
        date(2024, 3, 5),
        datetime(2024, 3, 5),  # noqa: DTZ001 (without a zone, that is the point)
        datetime(2024, 3, 5, 2, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_a_time_may_be_written_in_many_ways_and_is_utc_without_a_zone(value: object) -> None:
    assert parse_time(value, "start") == day_start(date(2024, 3, 5))


@pytest.mark.parametrize("value", ["", "now", "infinity", "yesterday", "2024-13-01", 20240305, 1.5, None, "12:00"])
def test_the_error_for_an_invalid_time_names_the_argument(value: object) -> None:
    with pytest.raises(InvalidTimeError, match=r"^end ") as refused:
        parse_time(value, "end")
    assert refused.value.argument == "end"


def test_a_range_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(InvalidTimeError, match="start must not be after end"):
        parse_span("2024-01-02", "2024-01-01", 0)


def test_an_end_of_now_is_now_and_a_start_beyond_it_makes_the_range_empty() -> None:
    now = parse_time("2024-06-15", "now")
    assert parse_span("2024-06-01", "now", now).end == now
    assert parse_span("2025-01-01", "now", now).until(now).empty
