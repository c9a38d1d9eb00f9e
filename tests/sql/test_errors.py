"""Errors of SQL statements: what the text says, and the typed error behind it."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import ckvd_sql
from ckvd_sql import (
    CkvdError,
    InvalidIntervalError,
    InvalidSymbolError,
    OfflineError,
    ProviderUnavailableError,
    RateLimitError,
    errors,
)
from ckvd_sql.sandbox import Fault

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from ckvd_sql.sandbox import Sandbox


def error_of(con: DuckDBPyConnection, statement: str) -> tuple[str, CkvdError | None]:
    """The text of a statement's exception and the typed error behind it."""
    with pytest.raises(duckdb.Error) as caught:
        con.sql(statement).fetchall()
    return str(caught.value), errors.of(caught.value)


def test_an_argument_s_error_is_the_first_thing_that_its_text_says(con: DuckDBPyConnection) -> None:
    text, error = error_of(con, "FROM ckvd_klines('BTCUSDT', '7m', '2024-06-01')")
    assert isinstance(error, InvalidIntervalError)
    assert (error.argument, error.value) == ("interval", "7m")
    assert text == f"Invalid Input Error: {error.sentence}"


def test_an_argument_s_error_is_raised_while_binding(con: DuckDBPyConnection) -> None:
    statement = "FROM ckvd_klines('it''s', '1h', '2024-06-01')"
    for one in (statement, f"CREATE VIEW v AS {statement}", f"EXPLAIN {statement}", f"DESCRIBE {statement}"):
        with pytest.raises(duckdb.Error, match=r"^Invalid Input Error: InvalidSymbolError: "):
            con.execute(one)


def test_an_error_of_the_first_rows_keeps_its_type(con: DuckDBPyConnection) -> None:
    text, error = error_of(con, "FROM ckvd_klines('NOSUCHUSDT', '1h', '2024-06-01', '2024-06-02')")
    assert isinstance(error, InvalidSymbolError)
    assert text.count(error.sentence) == 1


def test_an_error_of_later_rows_says_its_sentence_once_and_keeps_its_fields(
    con: DuckDBPyConnection, settings: dict[str, Any]
) -> None:
    con.sql("SELECT count(*) FROM ckvd_klines('BTCUSDT', '1h', '2024-06-01', '2024-06-03')").fetchall()
    with ckvd_sql.connect(**settings, offline=True) as offline:
        text, error = error_of(offline, "FROM ckvd_klines(['BTCUSDT', 'ETHUSDT'], '1h', '2024-06-01', '2024-06-03')")
    assert isinstance(error, OfflineError)
    assert error.days == (date(2024, 6, 1), date(2024, 6, 2))
    assert text.count(error.sentence) == 1
    assert "Traceback" not in text


def test_a_ban_is_found_with_the_time_to_wait(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    exchange.add(Fault("/api/v3/klines", "status", status=429, headers={"Retry-After": "7"}))
    _, error = error_of(con, "FROM ckvd_klines('BTCUSDT', '1h', '2024-06-14')")
    assert isinstance(error, RateLimitError)
    assert 0 < error.retry_after <= 7


def test_the_error_behind_an_exception_that_another_library_raised_from_it_is_found(con: DuckDBPyConnection) -> None:
    def as_another_library() -> None:
        try:
            con.execute("FROM ckvd_klines('BTCUSDT', '7m', '2024-06-01')")
        except duckdb.Error as error:
            raise RuntimeError("query failed") from error

    with pytest.raises(RuntimeError) as caught:
        as_another_library()
    assert isinstance(errors.of(caught.value), InvalidIntervalError)


def test_other_exceptions_have_no_error_of_ours_behind_them(con: DuckDBPyConnection) -> None:
    assert error_of(con, "FROM no_such_table")[1] is None
    assert errors.of(ValueError("no")) is None
    ours = CkvdError("yes")
    assert errors.of(ours) is ours


def test_an_unreachable_network_says_what_to_try(settings: dict[str, Any]) -> None:
    nowhere = "http://127.0.0.1:9"
    with ckvd_sql.connect(**{**settings, "vision_url": nowhere, "spot_url": nowhere, "retries": 0}) as con:
        text, error = error_of(con, "FROM ckvd_klines('BTCUSDT', '1h', '2024-06-01', '2024-06-02')")
    assert isinstance(error, ProviderUnavailableError)
    assert error.days == (date(2024, 6, 1),)
    for advice in ("CKVD_OFFLINE=1", "`ckvd sandbox`", "CKVD_PROXY", "CKVD_VISION_URL"):
        assert advice in text


def test_a_ban_says_until_when_also_to_later_queries(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    exchange.add(Fault("/api/v3/klines", "status", status=418, headers={"Retry-After": "300"}, times=1))
    for text in ("has banned this address until 20", "has banned this address, or asked it to wait, until 20"):
        said, error = error_of(con, "FROM ckvd_klines('BTCUSDT', '1h', '2024-06-15')")
        assert isinstance(error, RateLimitError)
        assert text in said
