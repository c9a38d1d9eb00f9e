"""Patterns of symbols, the list that they are resolved against, and suggestions for unknown symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import ckvd_sql
from ckvd_sql import CryptoKlineVisionData
from ckvd_sql.market.series import Market
from ckvd_sql.sandbox import Fault, Sandbox
from ckvd_sql.sandbox.symbols import SYMBOLS
from tests.support.bars import read

if TYPE_CHECKING:
    from pathlib import Path

    from duckdb import DuckDBPyConnection

    from tests.conftest import Truth

SPAN = "'1d', '2024-06-01', '2024-06-03'"
LISTS = ("/api/v3/exchangeInfo", "/")


def symbols(con: DuckDBPyConnection, call: str) -> list[str]:
    """The symbols that have bars, in the order of the rows."""
    return list(dict.fromkeys(name for (name,) in con.sql(f"SELECT symbol FROM {call}").fetchall()))


def listed(suffix: str = "", prefix: str = "") -> list[str]:
    """The spot symbols of the sandbox that traded in June 2024."""
    june = 1_717_200_000_000_000
    trading = [one for one in SYMBOLS[Market.SPOT] if one.listed < june < (one.delisted or 2 * june)]
    names = [one.symbol for one in trading]
    return sorted(name for name in names if name.endswith(suffix) and name.startswith(prefix))


def test_a_pattern_is_every_symbol_that_matches_in_order(con: DuckDBPyConnection) -> None:
    assert symbols(con, f"ckvd_klines('*USDT', {SPAN})") == listed("USDT")
    assert symbols(con, f"ckvd_klines('b?cusdt', {SPAN})") == ["BTCUSDT"]


def test_a_list_holds_patterns_and_symbols_each_symbol_once(con: DuckDBPyConnection) -> None:
    expected = ["SOLUSDT", *(name for name in listed("", "BTC") if name != "SOLUSDT")]
    assert symbols(con, f"ckvd_klines(['SOLUSDT', 'BTC*', 'BTCUSDT'], {SPAN})") == expected


def test_quote_restricts_patterns_to_a_quote_asset(con: DuckDBPyConnection) -> None:
    assert symbols(con, f"ckvd_klines('*', {SPAN}, quote := 'usdt')") == listed("USDT")


def test_the_bars_of_a_pattern_are_those_of_its_symbols(con: DuckDBPyConnection, truth: Truth) -> None:
    found = read(con, f"ckvd_klines('ETHUSDT*', {SPAN})")
    assert found == truth("ETHUSDT", "1d", "2024-06-01", "2024-06-03")


@pytest.mark.parametrize("name", ["ckvd_plan", "ckvd_gaps", "ckvd_audit"])
def test_the_other_names_take_patterns_too(con: DuckDBPyConnection, name: str) -> None:
    con.sql(f"SELECT count(*) FROM ckvd_klines(['BTCUSDT', 'ETHUSDT'], {SPAN})").fetchall()
    found = symbols(con, f"{name}(['BTCUSDT*', 'ETHUSDT*'], {SPAN})")
    assert found == (["BTCUSDT", "ETHUSDT"] if name == "ckvd_plan" else [])


def test_ckvd_latest_takes_patterns(con: DuckDBPyConnection) -> None:
    assert symbols(con, "ckvd_latest('*', '1d', quote := 'USDT') WHERE symbol < 'C'") == [
        name for name in listed("USDT") if name < "C"
    ]


def test_delisted_symbols_match(con: DuckDBPyConnection) -> None:
    assert "LUNAUSDT" in symbols(con, "ckvd_klines('*USDT', '1d', '2022-05-01', '2022-05-02')")


def test_a_symbol_that_only_the_archive_has_matches(settings: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "mirror" / "data" / "spot" / "monthly" / "klines" / "OLDCOINUSDT" / "1d"
    folder.mkdir(parents=True)
    with ckvd_sql.connect(**{**settings, "vision_url": str(tmp_path / "mirror")}) as con:
        found = con.sql("SELECT status FROM ckvd_symbols() WHERE symbol = 'OLDCOINUSDT'").fetchall()
        assert found == [(None,)]
        assert symbols(con, f"ckvd_plan('OLD*', {SPAN})") == ["OLDCOINUSDT"]


def test_offline_a_pattern_is_what_the_cache_has(
    con: DuckDBPyConnection, settings: dict[str, Any], exchange: Sandbox
) -> None:
    con.sql(f"SELECT count(*) FROM ckvd_klines(['BTCUSDT', 'SOLUSDT'], {SPAN})").fetchall()
    exchange.forget()
    with ckvd_sql.connect(**settings, offline=True) as offline:
        assert symbols(offline, f"ckvd_klines('*', {SPAN}, quote := 'USDT')") == ["BTCUSDT", "SOLUSDT"]
    assert exchange.requests == ()


def test_the_lists_are_asked_for_once_in_some_minutes(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    for _ in range(3):
        symbols(con, f"ckvd_plan('*USDT', {SPAN})")
    assert sorted(request.path for request in exchange.requests if request.path in LISTS) == sorted(LISTS)


def test_a_source_without_a_list_is_left_out_with_a_warning(
    con: DuckDBPyConnection, exchange: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    exchange.add(Fault("exchangeInfo", "status", status=451))
    assert symbols(con, f"ckvd_klines('BTCUSDT*', {SPAN})") == ["BTCUSDT"]
    assert any("the symbols of spot are not complete" in message for message in caplog.messages)


def test_without_any_list_the_error_is_the_exchange_s(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    exchange.add(Fault("exchangeInfo", "status", status=451))
    exchange.add(Fault(r"^/\?", "status", status=403))
    with pytest.raises(duckdb.Error, match="HTTP 451"):
        symbols(con, f"ckvd_klines('BTC*', {SPAN})")


def test_binding_a_pattern_sends_no_request(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    con.execute(f"CREATE VIEW pairs AS FROM ckvd_klines('*USDT', {SPAN})")
    con.sql(f"EXPLAIN FROM ckvd_klines('*USDT', {SPAN})").fetchall()
    assert exchange.requests == ()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("'NOSUCH*'", "InvalidSymbolError: symbol 'NOSUCH.*no symbol of spot matches it"),
        ("'*', quote := 'NOSUCH'", "no symbol of spot with the quote asset NOSUCH matches it"),
        ("'BTCUSDT', quote := 'USDT'", "InvalidArgumentError: quote 'USDT'.*restricts patterns"),
        ("'*', quote := 'US/DT'", "InvalidArgumentError: quote"),
        ("'BTC*/x'", "InvalidSymbolError"),
        ("'BTCUDST'", "no such symbol on spot.*did you mean .*'BTCUSDT'"),
    ],
)
def test_what_matches_nothing_is_an_error(con: DuckDBPyConnection, arguments: str, text: str) -> None:
    symbol, _, more = arguments.partition(",")
    call = f"ckvd_klines({symbol}, {SPAN}{',' if more else ''}{more})"
    with pytest.raises(duckdb.Error, match=text):
        con.sql(f"FROM {call}").fetchall()


def test_ckvd_symbols_says_what_the_cache_knows_of_first_and_last_bars(con: DuckDBPyConnection) -> None:
    con.sql("SELECT count(*) FROM ckvd_klines('LUNAUSDT', '1h', '2020-08-01', '2022-06-01')").fetchall()
    found = con.sql("""
        SELECT status, first_open::VARCHAR, last_open::VARCHAR FROM ckvd_symbols() WHERE symbol = 'LUNAUSDT'
    """).fetchall()
    assert found == [("BREAK", "2020-08-21 10:00:00+00", "2022-05-13 00:00:00+00")]
    assert con.sql("SELECT last_open FROM ckvd_symbols() WHERE symbol = 'BTCUSDT'").fetchall() == [(None,)]


def test_the_client_takes_patterns(settings: dict[str, Any]) -> None:
    found = CryptoKlineVisionData(**settings).klines("ETHUSDT*", "2024-06-01", "2024-06-02", "1d")
    assert found.column("symbol").to_pylist() == ["ETHUSDT"]
