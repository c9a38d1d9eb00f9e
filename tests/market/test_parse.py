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
    ("written", "market", "symbol"),
    [
        ("btcusdt", "spot", "BTCUSDT"),
        ("BTC/USDT", "spot", "BTCUSDT"),
        ("btc-usdt", "um", "BTCUSDT"),
        ("btcusd_perp", "cm", "BTCUSD_PERP"),
    ],
)
def test_a_symbol_is_accepted_in_the_spellings_that_have_one_meaning(written: str, market: str, symbol: str) -> None:
    assert parse_symbol(written, Market(market)) == symbol


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
            "A\\B",
            "A.B",
            "A\0B",
            "A%2FB",
            "A/B/C",
            "A/../B",
        ),
        *("/BTC", "BTC/", "-", "A" * 65, "CAFE\u0301", "caf\u00e9", None, 5, b"BTCUSDT", ["BTCUSDT"]),
    ],
)
def test_an_invalid_symbol_is_refused(symbol: object) -> None:
    with pytest.raises(InvalidSymbolError) as refused:
        parse_symbol(symbol)
    assert (refused.value.argument, refused.value.value) == ("symbol", symbol)


@pytest.mark.parametrize(
    ("written", "market", "hint"),
    [("BTC/USD", "cm", "'BTCUSD_PERP'"), ("BTC/USDT:USDT", "um", "'BTCUSDT'")],
)
def test_a_pair_that_names_no_symbol_is_refused_with_the_likely_one(written: str, market: str, hint: str) -> None:
    with pytest.raises(InvalidSymbolError, match=f"did you mean {hint}"):
        parse_symbol(written, Market(market))


@given(st.text(max_size=70))
def test_an_accepted_symbol_is_one_folder_name_and_one_url_segment(text: str) -> None:
    try:
        symbol = parse_symbol(text)
    except InvalidSymbolError:
        return
    assert not set(symbol) & set("/\\.:?#%&\0\n\r ")
    assert symbol == symbol.upper()
    assert set(symbol) <= set(text.upper())


@pytest.mark.parametrize("market", ["spot", "um", "cm", Market.UM, "UM", " Spot "])
def test_there_are_three_markets(market: str) -> None:
    assert parse_market(market).value == market.strip().lower()


@pytest.mark.parametrize("market", ["", "margin", None, 1])
def test_an_invalid_market_is_refused(market: object) -> None:
    with pytest.raises(InvalidMarketError, match="'spot', 'um'"):
        parse_market(market)


@pytest.mark.parametrize(
    ("market", "meant"), [("futures", "um"), ("USDM", "um"), ("coin-m", "cm"), ("delivery", "cm"), ("sport", "spot")]
)
def test_the_error_for_a_market_says_which_one_was_likely_meant(market: str, meant: str) -> None:
    with pytest.raises(InvalidMarketError, match=f"did you mean '{meant}'"):
        parse_market(market)


@pytest.mark.parametrize("name", INTERVALS)
def test_every_interval_is_parsed_from_its_name(name: str) -> None:
    assert parse_interval(name, Market.SPOT).name == name


def test_a_month_interval_may_be_written_as_in_rest() -> None:
    assert parse_interval("1M", Market.CM) == INTERVALS["1mo"]
    assert INTERVALS["1mo"].rest_name == "1M"
    assert parse_interval("1m", Market.CM).rest_name == "1m"


@pytest.mark.parametrize(
    ("written", "name"),
    [
        *(("1H", "1h"), ("60m", "1h"), ("60 min", "1h"), ("1 hour", "1h"), ("h", "1h"), ("24h", "1d"), ("1D", "1d")),
        *(
            ("7d", "1w"),
            ("1W", "1w"),
            ("1M", "1mo"),
            ("1 month", "1mo"),
            ("1Mo", "1mo"),
            ("60s", "1m"),
            ("1mo ", "1mo"),
        ),
    ],
)
def test_an_interval_is_accepted_by_its_length(written: str, name: str) -> None:
    assert parse_interval(written, Market.SPOT) == INTERVALS[name]


@pytest.mark.parametrize("interval", ["", "2m", "1", "0m", "2M", "12mo", "5", "1x", "٣m", "-1h", None, 60])
def test_an_invalid_interval_is_refused(interval: object) -> None:
    with pytest.raises(InvalidIntervalError, match="1mo"):
        parse_interval(interval, Market.SPOT)


def test_the_error_for_an_interval_says_which_one_is_close() -> None:
    with pytest.raises(InvalidIntervalError, match=r"did you mean .*'15m'"):
        parse_interval("14m", Market.SPOT)


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


@pytest.mark.parametrize("value", [1709596800, 1709596800_000, "1709596800000", 1709596800_000_000, 1709596800 * 10**9])
def test_a_time_since_the_epoch_is_told_by_its_number_of_digits(value: object) -> None:
    assert parse_time(value, "start") == day_start(date(2024, 3, 5))


@pytest.mark.parametrize(
    ("value", "day"),
    [("2024", date(2024, 1, 1)), ("2024-05", date(2024, 5, 1)), ("2024-W22", date(2024, 5, 27)),
     ("2024-w22-3", date(2024, 5, 29))],
)  # fmt: skip
def test_a_year_a_month_and_a_week_are_their_first_instant(value: str, day: date) -> None:
    assert parse_time(value, "start") == day_start(day)


@pytest.mark.parametrize(
    ("value", "time"),
    [
        *(("now", "2024-03-31T12:34:56"), ("today", "2024-03-31"), ("Yesterday", "2024-03-30")),
        *(("tomorrow", "2024-04-01"), ("-7d", "2024-03-24T12:34:56"), ("-12h", "2024-03-31T00:34:56")),
        *(("-30m", "2024-03-31T12:04:56"), ("-2w", "2024-03-17T12:34:56"), ("-1mo", "2024-02-29T12:34:56")),
        *(("-13mo", "2023-02-28T12:34:56"), ("-1y", "2023-03-31T12:34:56"), ("-90s", "2024-03-31T12:33:26")),
    ],
)
def test_a_word_counts_from_now(value: str, time: str) -> None:
    assert parse_time(value, "start", parse_time("2024-03-31T12:34:56", "now")) == parse_time(time, "time")


def test_the_error_for_a_misspelled_word_says_which_one_is_close() -> None:
    with pytest.raises(InvalidTimeError, match="did you mean 'yesterday'"):
        parse_time("yesterdy", "start", 0)


@pytest.mark.parametrize(
    "value", ["", "now", "infinity", "yesterday", "-7d", "2024-13-01", "2024-13", 20240305, 1.5, None, "12:00", True]
)
def test_the_error_for_an_invalid_time_names_the_argument(value: object) -> None:
    with pytest.raises(InvalidTimeError, match=r"^end ") as refused:
        parse_time(value, "end")
    assert refused.value.argument == "end"


def test_a_range_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(InvalidTimeError, match="start must not be after end"):
        parse_span("2024-01-02", "2024-01-01", 0)


@pytest.mark.parametrize("value", ["-9999999d", "-300000y", "-1x", "--1d", "-d", "2024-W99", "+7d", 10**17])
def test_a_time_out_of_range_is_refused(value: object) -> None:
    with pytest.raises(InvalidTimeError):
        parse_time(value, "start", parse_time("2024-06-15", "now"))


def test_an_end_of_now_is_now_and_a_start_beyond_it_makes_the_range_empty() -> None:
    now = parse_time("2024-06-15", "now")
    assert parse_span("2024-06-01", "now", now).end == parse_span("2024-06-01", None, now).end == now
    assert parse_span("2025-01-01", "now", now).until(now).empty
