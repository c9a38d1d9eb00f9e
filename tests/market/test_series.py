"""The market's rules: symbols, intervals and their grids, time ranges and UTC days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckvd_sql.errors import InvalidIntervalError, InvalidMarketError, InvalidSymbolError, InvalidTimeError
from ckvd_sql.market.series import (
    DAY,
    HOUR,
    INTERVALS,
    Market,
    Month,
    Series,
    Span,
    consecutive,
    day_of,
    day_start,
    instant_of,
    moment_of,
    parse_interval,
    parse_market,
    parse_span,
    parse_symbol,
    parse_time,
    spell_days,
)

INSTANTS = st.integers(day_start(date(2009, 1, 1)), day_start(date(2099, 1, 1)))


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
def test_what_is_no_symbol_is_refused(symbol: object) -> None:
    with pytest.raises(InvalidSymbolError) as refused:
        parse_symbol(symbol)
    assert (refused.value.argument, refused.value.value) == ("symbol", symbol)


def test_a_lower_case_symbol_is_told_its_upper_case() -> None:
    with pytest.raises(InvalidSymbolError, match="did you mean 'ETHUSDT'"):
        parse_symbol("ethusdt")


@given(st.text(max_size=70))
def test_an_accepted_symbol_stays_within_one_folder_and_one_url_segment(text: str) -> None:
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
def test_what_is_no_market_is_refused(market: object) -> None:
    with pytest.raises(InvalidMarketError, match="'spot', 'um'"):
        parse_market(market)


@pytest.mark.parametrize("name", INTERVALS)
def test_every_interval_has_its_name(name: str) -> None:
    assert parse_interval(name, Market.SPOT).name == name


def test_a_month_may_be_written_as_rest_writes_it() -> None:
    assert parse_interval("1M", Market.CM) == INTERVALS["1mo"]
    assert INTERVALS["1mo"].rest_name == "1M"
    assert parse_interval("1m", Market.CM).rest_name == "1m"


@pytest.mark.parametrize("interval", ["", "1H", "2m", "60m", "1mo ", "1", None, 60, "1W", "1D"])
def test_what_is_no_interval_is_refused(interval: object) -> None:
    with pytest.raises(InvalidIntervalError, match="1mo"):
        parse_interval(interval, Market.SPOT)


@pytest.mark.parametrize("market", [Market.UM, Market.CM])
def test_futures_have_no_seconds(market: Market) -> None:
    with pytest.raises(InvalidIntervalError, match=f"on {market} an interval is one of 1m"):
        parse_interval("1s", market)


@given(INSTANTS, st.sampled_from(list(INTERVALS)))
def test_every_instant_lies_in_one_slot_of_the_grid(instant: int, name: str) -> None:
    interval = INTERVALS[name]
    slot = interval.slot(instant)
    assert interval.opens(slot) <= instant < interval.opens(slot + 1)


@given(INSTANTS, st.integers(0, 40 * DAY), st.sampled_from([name for name in INTERVALS if name != "1s"]))
def test_slots_are_those_that_open_in_the_half_open_range(start: int, length: int, name: str) -> None:
    interval, end = INTERVALS[name], start + length
    slots = interval.slots(start, end)
    assert all(start <= interval.opens(slot) < end for slot in (*slots[:1], *slots[-1:]))
    assert interval.opens(slots.start - 1) < start
    assert interval.opens(slots.stop) >= end


def test_weeks_open_on_monday_months_on_the_first_and_three_days_in_their_phase() -> None:
    first, last = date(2023, 11, 1), date(2024, 12, 31)
    assert {day.weekday() for day in INTERVALS["1w"].open_days(first, last)} == {0}
    assert {day.day for day in INTERVALS["1mo"].open_days(first, last)} == {1}
    assert {(day - date(1970, 1, 1)).days % 3 for day in INTERVALS["3d"].open_days(first, last)} == {1}


@pytest.mark.parametrize(
    ("name", "day", "closed"),
    [
        ("1m", "2024-02-28", "2024-02-29"),
        ("1d", "2024-02-29", "2024-03-01"),
        ("1w", "2024-02-26", "2024-03-04"),
        ("1w", "2024-02-27", "2024-02-28"),
        ("1mo", "2024-02-01", "2024-03-01"),
        ("1mo", "2023-12-01", "2024-01-01"),
    ],
)
def test_a_day_is_closed_when_its_last_bar_is(name: str, day: str, closed: str) -> None:
    assert INTERVALS[name].closed_at(date.fromisoformat(day)) == parse_time(closed, "time")


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.sampled_from(list(INTERVALS)))
def test_no_day_is_closed_before_it_is_over(day: date, name: str) -> None:
    assert INTERVALS[name].closed_at(day) >= day_start(day) + DAY


@given(st.dates(date(1, 1, 1), date(9999, 12, 31)))
def test_a_day_begins_where_it_is_found(day: date) -> None:
    assert day_of(day_start(day)) == day_of(day_start(day) + DAY - 1) == day


@given(st.datetimes(timezones=st.just(UTC)))
def test_an_instant_loses_nothing(moment: datetime) -> None:
    assert moment_of(instant_of(moment)) == moment


def test_a_month_knows_its_days_and_its_next() -> None:
    assert (Month(2024, 2).first, Month(2024, 2).last) == (date(2024, 2, 1), date(2024, 2, 29))
    assert Month(2023, 12).next == Month(2024, 1)
    assert str(Month(2024, 3)) == "2024-03"


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
def test_what_is_no_time_is_refused_by_the_argument_s_name(value: object) -> None:
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


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        ("2024-06-01", "2024-06-01", 0),
        ("2024-06-01", "2024-06-02", 1),
        ("2024-06-01", "2024-06-02T00:00:00.000001", 2),
        ("2024-06-01T23:59:59.999999", "2024-06-02", 1),
    ],
)
def test_a_range_touches_the_days_it_holds_an_instant_of(start: str, end: str, days: int) -> None:
    span = Span(parse_time(start, "start"), parse_time(end, "end"))
    assert len(list(span.days(INTERVALS["1h"]))) == days


@pytest.mark.parametrize(
    ("market", "symbol", "interval", "period", "path"),
    [
        (Market.SPOT, "BTCUSDT", "1h", date(2024, 1, 31), "spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01-31"),
        (Market.UM, "BTCUSDT", "1mo", Month(2024, 1), "futures/um/monthly/klines/BTCUSDT/1mo/BTCUSDT-1mo-2024-01"),
        (Market.CM, "A_PERP", "1d", Month(999, 9), "futures/cm/monthly/klines/A_PERP/1d/A_PERP-1d-0999-09"),
    ],
)
def test_archives_lie_where_binance_puts_them(
    market: Market, symbol: str, interval: str, period: Any, path: str
) -> None:
    assert Series(market, symbol, INTERVALS[interval]).archive_path(period) == f"data/{path}.zip"


def test_no_two_series_share_a_key_even_where_file_names_ignore_case() -> None:
    keys = [Series(market, "BTCUSDT", interval).key.lower() for market in Market for interval in INTERVALS.values()]
    assert len(set(keys)) == len(keys)


def test_days_are_spelt_in_runs() -> None:
    days = [date(2024, 1, 1) + timedelta(days=n) for n in (4, 0, 1, 2, 6)]
    assert consecutive(days)[0] == (date(2024, 1, 1), date(2024, 1, 3))
    assert spell_days(days) == "2024-01-01 to 2024-01-03, 2024-01-05, 2024-01-07"


def test_twelve_hours_divide_the_day() -> None:
    opens = [INTERVALS["12h"].opens(slot) for slot in INTERVALS["12h"].slots(0, DAY)]
    assert opens == [0, 12 * HOUR]
