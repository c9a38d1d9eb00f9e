"""An empty result says why in one log line, where the user could not have meant it to be empty."""

from __future__ import annotations

import logging
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

import ckvd_sql
from ckvd_sql import CryptoKlineVisionData
from ckvd_sql.cache.store import DayStore
from ckvd_sql.sandbox import Fault
from tests.support.bars import series
from tests.support.connections import raises_in_sql
from tests.support.days import write_days
from tests.support.logs import warnings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from ckvd_sql.sandbox import Sandbox


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ckvd_sql")


def rows(con: DuckDBPyConnection, arguments: str, rest: str = "", name: str = "ckvd_klines") -> int:
    return len(con.sql(f"SELECT * FROM {name}({arguments}) {rest}").fetchall())


@pytest.mark.parametrize("interval", ["1m", "1h", "3d", "1w", "1mo"])
def test_a_start_in_the_future_is_said_and_nothing_is_requested(
    con: DuckDBPyConnection, exchange: Sandbox, caplog: pytest.LogCaptureFixture, interval: str
) -> None:
    assert rows(con, f"'BTCUSDT', '{interval}', '2030-01-01', '2031-01-01'") == 0
    assert warnings(caplog) == [
        f"BTCUSDT {interval} (spot): no bars, for the range begins in the future, at 2030-01-01"
    ]
    assert not exchange.requests


def test_a_start_in_the_future_without_an_end_is_said_too(
    con: DuckDBPyConnection, caplog: pytest.LogCaptureFixture
) -> None:
    assert rows(con, "['BTCUSDT', 'ETHUSDT'], '1h', '2024-06-15 18:30'", "WHERE close > 0") == 0
    assert warnings(caplog) == [
        "2 of 2 symbols (1h, spot) have no bars, for the range begins in the future, at 2024-06-15 18:30:00"
    ]


@pytest.mark.parametrize("where", ["", "WHERE volume > 0"])
def test_a_range_before_the_listing_is_said_with_the_first_bar_s_time(
    con: DuckDBPyConnection, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    for _ in range(2):  # by REST, then from the cache
        caplog.clear()
        assert rows(con, "'SOLUSDT', '1h', '2020-06-01', '2020-08-01'", where) == 0
        assert warnings(caplog) == [
            "SOLUSDT 1h (spot): no bars in 2020-06-01..2020-08-01; its first bar opens at 2020-08-11 06:00:00"
        ]


def test_a_range_after_the_last_bar_is_said_with_that_bar_s_day(
    con: DuckDBPyConnection, caplog: pytest.LogCaptureFixture
) -> None:
    rows(con, "'LUNAUSDT', '1h', '2022-05-10', '2022-05-16'")
    assert warnings(caplog) == []
    assert rows(con, "'LUNAUSDT', '1h', '2022-07-01', '2022-08-01'") == 0
    assert warnings(caplog) == [
        "LUNAUSDT 1h (spot): no bars in 2022-07-01..2022-08-01; its last bar known here is of 2022-05-13"
    ]


def test_the_last_month_in_the_archive_is_said_where_that_is_all_that_is_known(
    exchange: Sandbox, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    exchange.set_now("2025-03-01")
    exchange.add(Fault(r"/klines\?", "status", status=400, body='{"code":-1121,"msg":"Invalid symbol."}'))
    client = CryptoKlineVisionData(**settings | exchange.settings)
    assert client.get_data("BTCUSDT_240628", "2024-09-01", "2024-10-01", market="um").height == 0
    assert warnings(caplog) == [
        "BTCUSDT_240628 1h (um): no bars in 2024-09-01..2024-10-01; its last bar known here is of 2024-06"
    ]


def test_of_many_symbols_some_are_named_in_one_line(con: DuckDBPyConnection, caplog: pytest.LogCaptureFixture) -> None:
    symbols = "['BTCUSDT', 'SOLUSDT', 'AVAXUSDT', 'LUNAUSDT', '1000SATSUSDT', 'ETHUSDT']"
    assert rows(con, f"{symbols}, '1d', '2020-06-01', '2020-06-11'") == 20
    assert warnings(caplog) == [
        (
            "4 of 6 symbols (1d, spot) have no bars in 2020-06-01..2020-06-11: SOLUSDT (its first bar opens at "
            "2020-08-11), AVAXUSDT (its first bar opens at 2020-09-22), LUNAUSDT (its first bar opens at 2020-08-21) "
            "and 1 more"
        )
    ]


@pytest.mark.parametrize(
    ("arguments", "rest"),
    [
        ("'BTCUSDT', '1h', '2024-06-01', '2024-06-03'", "WHERE close < 0"),
        ("'BTCUSDT', '1h', '2024-06-01', '2024-06-03'", "WHERE open_time > '2025-01-01'"),
        ("'BTCUSDT', '1h', '2024-06-01', '2024-06-03'", "WHERE symbol = 'ETHUSDT'"),
        ("['BTCUSDT', 'SOLUSDT'], '1d', '2020-06-01', '2020-06-03'", "WHERE symbol = 'BTCUSDT'"),
        ("'SOLUSDT', '1h', '2020-06-01', '2020-06-03'", "LIMIT 0"),
        ("'BTCUSDT', '1h', '2030-06-01', '2030-06-03'", "LIMIT 0"),
        ("'BTCUSDT', '1h', '2024-06-01', '2024-06-01'", ""),  # an empty range
        ("'BTCUSDT', '1h', '2024-06-15 12:00'", ""),  # its only bar is still forming
        ("'BTCUSDT', '1d', '2024-06-15'", ""),
        ("'BTCUSDT', '1mo', '2024-06-01'", ""),
        ("'BTCUSDT', '1h', '2024-06-01 12:10', '2024-06-01 12:50'", ""),  # no bar opens in it
        ("'BTCUSDT', '1h', '2024-06-01', '2024-06-03'", "LIMIT 1"),
    ],
)
def test_nothing_is_said_where_the_statement_left_no_bar_to_give(
    con: DuckDBPyConnection, caplog: pytest.LogCaptureFixture, arguments: str, rest: str
) -> None:
    assert rows(con, arguments, rest) in (0, 1, 2)
    assert [one.getMessage() for one in caplog.records if one.name == "ckvd_sql"] == []


@pytest.mark.parametrize("name", ["ckvd_plan", "ckvd_gaps"])
@pytest.mark.parametrize("span", ["'2020-06-01', '2020-06-11'", "'2030-06-01', '2030-06-11'"])
def test_reports_say_nothing(con: DuckDBPyConnection, caplog: pytest.LogCaptureFixture, name: str, span: str) -> None:
    rows(con, f"'SOLUSDT', '1h', {span}", name=name)
    assert warnings(caplog) == []


def test_an_error_offline_says_nothing_and_cached_emptiness_does(
    con: DuckDBPyConnection, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    rows(con, "'LUNAUSDT', '1h', '2022-07-01', '2022-07-02'")
    caplog.clear()
    with ckvd_sql.connect(**settings, offline=True) as offline:
        with raises_in_sql("OfflineError"):
            rows(offline, "'LUNAUSDT', '1h', '2022-07-01', '2022-07-03'")
        assert warnings(caplog) == []
        assert rows(offline, "'LUNAUSDT', '1h', '2022-07-01', '2022-07-02'") == 0
    assert warnings(caplog) == ["LUNAUSDT 1h (spot): no bars in 2022-07-01..2022-07-02"]


def test_a_bar_that_is_known_after_the_range_is_not_called_the_last(
    con: DuckDBPyConnection, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    luna = series("spot", "LUNAUSDT", "1h")
    write_days(DayStore(settings["cache_dir"]), luna, [date(2022, 5, 1), date(2022, 9, 1)])
    rows(con, "'LUNAUSDT', '1h', '2022-07-01', '2022-07-03'")
    assert warnings(caplog) == ["LUNAUSDT 1h (spot): no bars in 2022-07-01..2022-07-03"]
