"""Archives whose published checksum does not match."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ckvd_sql.sandbox import Fault, Sandbox
from tests.support.bars import Bar, read
from tests.support.connections import cached_days, connect, raises_in_sql
from tests.support.requests import rest_queries
from tests.support.truth import true_bars

if TYPE_CHECKING:
    from pathlib import Path

REST = "/v[13]/klines"
DAY = "ckvd_klines('BTCUSDT', '1h', '2024-05-01', '2024-05-02')"


def break_archive_and_rest(case: str, exchange: Sandbox) -> str:
    """Make the archive's checksums wrong, and give a call that REST cannot serve either."""
    exchange.add(Fault(r"\.zip", "checksum"))
    match case:
        case "gone":
            exchange.set_now("2024-07-15")
            return "ckvd_klines('BTCUSDT_240628', '1h', '2024-06-26', '2024-06-27', market := 'um')"
        case "refused":
            exchange.add(Fault(REST, "status", status=451))
        case "down":
            exchange.add(Fault(REST, "status", status=503))
    return DAY


def bars_of(case: str) -> list[Bar]:
    if case == "gone":
        return true_bars("BTCUSDT_240628", "1h", "2024-06-26", "2024-06-27", market="um")
    return true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-02")


def test_a_day_whose_published_checksum_never_matches_comes_from_rest(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"\.zip", "checksum"))
    for policy in ("strict", "warn"):
        with connect(exchange, tmp_path / policy, checksum=policy) as con:
            assert read(con, DAY) == true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
            assert cached_days(con) == [("rest", None, None)]


@pytest.mark.parametrize("case", ["gone", "refused", "down"])
def test_a_wrong_checksum_is_an_error_if_rest_cannot_serve_the_day(
    exchange: Sandbox, tmp_path: Path, case: str
) -> None:
    call = break_archive_and_rest(case, exchange)
    with connect(exchange, tmp_path) as con:
        with raises_in_sql("ChecksumError"):
            read(con, call)
        assert cached_days(con) == []
        exchange.clear_faults()
        assert read(con, call) == bars_of(case)
        assert cached_days(con) == [("vision", "verified", None)]


@pytest.mark.parametrize("case", ["gone", "refused", "down"])
def test_with_checksum_warn_the_day_is_used_and_marked_unverified(
    exchange: Sandbox, tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    call = break_archive_and_rest(case, exchange)
    with connect(exchange, tmp_path, checksum="warn") as con:
        assert read(con, call) == bars_of(case)
        assert cached_days(con, "source, checksum") == [("vision", "unverified")]
        assert "checksum" in caplog.text
        exchange.forget()
        assert read(con, call) == bars_of(case)
    assert exchange.requests == ()


def test_an_unverified_complete_day_has_no_gaps(exchange: Sandbox, tmp_path: Path) -> None:
    call = break_archive_and_rest("down", exchange)
    with connect(exchange, tmp_path, checksum="warn") as con:
        assert len(read(con, call)) == 24
        assert cached_days(con) == [("vision", "unverified", None)]


def test_a_month_whose_checksum_never_matches_is_fetched_by_days(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"monthly/.*\.zip", "checksum"))
    with connect(exchange, tmp_path) as con:
        found = read(con, "ckvd_klines('BTCUSDT', '1h', '2024-04-01', '2024-05-01')")
        assert found == true_bars("BTCUSDT", "1h", "2024-04-01", "2024-05-01")
        assert set(cached_days(con)) == {("vision", "verified", None)}
    beyond_the_listing_date = [query for query in rest_queries(exchange) if "limit=1" not in query.split("&")]
    assert beyond_the_listing_date == []


def test_a_checksum_that_fails_once_is_retried(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"\.zip", "checksum", times=1))
    with connect(exchange, tmp_path, retries=1) as con:
        assert read(con, DAY) == true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
        assert cached_days(con) == [("vision", "verified", None)]
