"""The Python client: bars, plan, fetch with its report, and typed errors."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest

import ckvd_sql
from ckvd_sql import (
    CkvdError,
    CryptoKlineVisionData,
    DayReport,
    InvalidArgumentError,
    InvalidIntervalError,
    InvalidMarketError,
    InvalidSymbolError,
    InvalidTimeError,
    ProviderUnavailableError,
    RateLimitError,
    Settings,
)
from ckvd_sql.sandbox import Fault
from tests.support.bars import Bar, read
from tests.support.requests import asked

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import Truth

SPAN = ("2024-06-03", "2024-06-05")


def bars_of(con: DuckDBPyConnection, frame: pl.DataFrame | pa.Table) -> list[Bar]:
    table = frame.to_arrow() if isinstance(frame, pl.DataFrame) else frame
    con.register("bars_of_frame", table)
    return read(con, "bars_of_frame")


def test_get_data_and_klines_return_the_bars_of_a_range(
    con: DuckDBPyConnection, client: CryptoKlineVisionData, truth: Truth
) -> None:
    assert bars_of(con, client.get_data("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)
    assert bars_of(con, client.klines("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (date(2024, 6, 3), date(2024, 6, 5)),
        (datetime(2024, 6, 3), datetime(2024, 6, 5)),  # noqa: DTZ001 (without a time zone, on purpose)
        (datetime(2024, 6, 3, 2, tzinfo=timezone(timedelta(hours=2))), datetime(2024, 6, 5, tzinfo=UTC)),
        ("2024-06-03T00:00:00Z", "2024-06-05 05:45+05:45"),
    ],
)
def test_times_may_be_dates_datetimes_or_text(
    con: DuckDBPyConnection, client: CryptoKlineVisionData, truth: Truth, start: Any, end: Any
) -> None:
    assert bars_of(con, client.get_data("BTCUSDT", start, end)) == truth("BTCUSDT", "1h", *SPAN)


def test_the_columns_are_the_same_as_in_sql(con: DuckDBPyConnection, client: CryptoKlineVisionData) -> None:
    frame = client.get_data("BTCUSDT", *SPAN)
    names = [row[0] for row in con.sql("DESCRIBE FROM ckvd_klines('BTCUSDT', '1h', '2024-06-03')").fetchall()]
    assert frame.columns == client.klines("BTCUSDT", *SPAN).column_names == names
    assert frame.schema["open_time"] == pl.Datetime("us", "UTC")
    assert frame.schema["symbol"] == frame.schema["source"] == pl.String
    assert frame.schema["trades"] == pl.Int64


@pytest.mark.parametrize("interval", ["1h", "1w"])
def test_a_range_without_bars_has_the_same_columns(client: CryptoKlineVisionData, interval: str) -> None:
    full, empty = (client.get_data("BTCUSDT", start, "2024-06-05", interval) for start in ("2024-05-27", "2024-06-05"))
    assert full.height
    assert empty.height == 0
    assert empty.schema == full.schema


def test_a_missing_end_means_now(con: DuckDBPyConnection, client: CryptoKlineVisionData, truth: Truth) -> None:
    assert bars_of(con, client.get_data("BTCUSDT", "2024-06-14")) == truth(
        "BTCUSDT", "1h", "2024-06-14", "2024-06-15T12:00:30"
    )


def test_include_open_adds_the_forming_bar(client: CryptoKlineVisionData) -> None:
    closed, with_open = (
        client.get_data("BTCUSDT", "2024-06-15", include_open=include_open).height for include_open in (False, True)
    )
    assert with_open == closed + 1


def test_several_symbols_of_another_market_are_returned_in_turn(client: CryptoKlineVisionData, truth: Truth) -> None:
    frame = client.get_data(["ETHUSDT", "BTCUSDT"], *SPAN, "4h", "um")
    assert frame["symbol"].unique(maintain_order=True).to_list() == ["ETHUSDT", "BTCUSDT"]
    assert frame.height == 2 * len(truth("BTCUSDT", "4h", *SPAN, "um"))


def test_python_and_sql_share_the_cache(
    con: DuckDBPyConnection, client: CryptoKlineVisionData, exchange: Sandbox, truth: Truth
) -> None:
    client.fetch("BTCUSDT", *SPAN)
    exchange.forget()
    assert read(con, f"ckvd_klines('BTCUSDT', '1h', '{SPAN[0]}', '{SPAN[1]}')") == truth("BTCUSDT", "1h", *SPAN)
    assert not exchange.requests


def test_cached_bars_are_mapped_not_copied(client: CryptoKlineVisionData) -> None:
    client.fetch("BTCUSDT", *SPAN, "1m")
    before = pa.total_allocated_bytes()
    table = client.klines("BTCUSDT", *SPAN, "1m")
    assert table.num_rows == 2880
    assert pa.total_allocated_bytes() - before < table.nbytes / 2


@pytest.mark.parametrize("method", ["get_data", "klines", "plan", "audit", "fetch"])
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("BTC USDT", *SPAN), InvalidSymbolError),
        (([], *SPAN), InvalidSymbolError),
        (("BTCUSDT", *SPAN, "7h"), InvalidIntervalError),
        (("BTCUSDT", *SPAN, "1s", "um"), InvalidIntervalError),
        (("BTCUSDT", *SPAN, "1h", "margin"), InvalidMarketError),
        (("BTCUSDT", "soon", "later"), InvalidTimeError),
        (("BTCUSDT", *SPAN[::-1]), InvalidTimeError),
        (("BTCUSDT", None, None), InvalidTimeError),
    ],
)
def test_an_argument_that_is_refused_is_a_typed_error_and_a_value_error(
    client: CryptoKlineVisionData, exchange: Sandbox, method: str, arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    with pytest.raises(error) as refused:
        getattr(client, method)(*arguments)
    assert isinstance(refused.value, InvalidArgumentError)
    assert isinstance(refused.value, CkvdError)
    assert isinstance(refused.value, ValueError)
    assert not exchange.requests


def test_the_audit_sends_no_request_and_equals_the_audit_in_sql(
    con: DuckDBPyConnection, client: CryptoKlineVisionData, exchange: Sandbox
) -> None:
    client.fetch("BTCUSDT", "2023-03-24", "2023-03-25")
    exchange.forget()
    table = client.audit("BTCUSDT", "2023-03-24", "2023-03-25")
    assert table.column("check").to_pylist() == ["gap"]
    call = "ckvd_audit('BTCUSDT', '1h', '2023-03-24', '2023-03-25')"
    assert con.sql(f"FROM {call}").to_arrow_table().cast(table.schema) == table
    assert not exchange.requests
    assert client.audit("BTCUSDT", "2023-03-24", "2023-03-25", remote=True) == table
    assert exchange.requests


def test_the_plan_sends_no_request_and_equals_the_plan_in_sql(
    con: DuckDBPyConnection, client: CryptoKlineVisionData, exchange: Sandbox
) -> None:
    client.fetch("BTCUSDT", "2024-06-13", "2024-06-14")
    exchange.forget()
    plan = client.plan("BTCUSDT", "2024-06-12")
    assert plan.column("source").to_pylist() == ["vision", "cache", "vision", "rest"]
    assert not exchange.requests
    rows = con.sql("FROM ckvd_plan('BTCUSDT', '1h', '2024-06-12')").fetchall()
    assert [tuple(row.values()) for row in plan.to_pylist()] == rows


def test_the_plan_has_a_forming_bar_only_on_request(client: CryptoKlineVisionData) -> None:
    assert client.plan("BTCUSDT", "2024-06-10", interval="1w").num_rows == 0
    assert client.plan("BTCUSDT", "2024-06-10", interval="1w", include_open=True).num_rows == 1


# fetch.


def test_a_fetch_reports_every_day_in_order_and_the_next_one_reports_it_as_cached(
    client: CryptoKlineVisionData, exchange: Sandbox
) -> None:
    report = client.fetch("BTCUSDT", "2024-06-12", "2024-06-15T12:00")
    assert [str(day.date) for day in report.days] == [f"2024-06-{day}" for day in (12, 13, 14, 15)]
    assert report.counts == {"cached": 0, "vision": 3, "rest": 1, "empty": 0, "failed": 0}
    assert [day.rows for day in report.days] == [24, 24, 24, 12]
    exchange.forget()
    assert client.fetch("BTCUSDT", "2024-06-12", "2024-06-15").counts["cached"] == 3
    assert not exchange.requests


def test_a_fetch_reports_each_day_as_progress(client: CryptoKlineVisionData) -> None:
    reported: list[DayReport] = []
    report = client.fetch(["BTCUSDT", "ETHUSDT"], "2024-06-01", "2024-06-08", progress=reported.append)
    assert tuple(reported) == report.days
    assert len(reported) == 14


def test_a_fetch_reports_a_failed_day_and_continues(client: CryptoKlineVisionData, exchange: Sandbox) -> None:
    exchange.add(Fault(r"2024-06-06\.zip", "status", status=404))
    exchange.add(Fault(r"/klines\?", "status", status=500))
    report = client.fetch("BTCUSDT", "2024-06-01", "2024-06-13")
    failed = {str(day.date): day.error for day in report.failed}
    assert "2024-06-06" in failed
    assert {type(error) for error in failed.values()} == {ProviderUnavailableError}
    assert set(failed) <= {"2024-06-05", "2024-06-06", "2024-06-07", "2024-06-08"}
    assert len(report.days) == sum(report.counts.values()) == 12
    exchange.clear_faults()
    again = client.fetch("BTCUSDT", "2024-06-01", "2024-06-13")
    assert again.counts["failed"] == 0
    assert again.counts["cached"] >= report.counts["vision"]


def test_a_fetch_continues_with_the_next_symbol(client: CryptoKlineVisionData) -> None:
    report = client.fetch(["NOPEUSDT", "BTCUSDT"], *SPAN)
    assert {day.symbol for day in report.failed} == {"NOPEUSDT"}
    assert all(isinstance(day.error, InvalidSymbolError) for day in report.failed)
    assert report.counts["vision"] == 2


def test_an_interrupted_fetch_continues_from_the_cached_days(client: CryptoKlineVisionData, exchange: Sandbox) -> None:
    def interrupt(day: DayReport) -> None:
        if str(day.date) == "2024-06-05":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.fetch("BTCUSDT", "2024-06-01", "2024-06-13", progress=interrupt)
    exchange.forget()
    report = client.fetch("BTCUSDT", "2024-06-01", "2024-06-13")
    assert report.counts["cached"] >= 5
    assert not asked(exchange, "2024-06-01")
    assert len(report.days) == 12


def test_a_fetch_under_a_rate_limit_reports_it_for_each_day_and_sends_one_request(
    client: CryptoKlineVisionData, exchange: Sandbox
) -> None:
    exchange.add(Fault(r"\.zip", "status", status=404))
    exchange.add(Fault(r"/klines\?", "status", status=429, headers={"Retry-After": "77"}))
    report = client.fetch("BTCUSDT", "2024-06-01", "2024-06-13")
    assert {type(day.error) for day in report.days} == {RateLimitError}
    assert len(asked(exchange, "/api/")) == 1


@pytest.mark.parametrize("interval", ["3d", "1w", "1mo"])
def test_a_fetch_reports_no_day_outside_its_range(client: CryptoKlineVisionData, interval: str) -> None:
    report = client.fetch("BTCUSDT", "2024-04-10", "2024-05-14", interval)
    assert report.days
    assert all("2024-04-10" <= str(day.date) < "2024-05-14" for day in report.days)
    assert report.counts["empty"] == 0


def test_a_day_whose_bars_lie_outside_the_range_is_not_reported_as_empty(client: CryptoKlineVisionData) -> None:
    report = client.fetch("BTCUSDT", "2024-06-01T12:00", "2024-06-03", "1d")
    assert report.counts["empty"] == 0


def test_a_fetch_distinguishes_days_without_bars_from_failed_days(client: CryptoKlineVisionData) -> None:
    report = client.fetch("1000SATSUSDT", "2023-12-08", "2023-12-14")
    outcomes = {str(day.date): day.outcome for day in report.days}
    assert [day for day, outcome in outcomes.items() if outcome == "empty"] == [
        f"2023-12-{n:02d}" for n in range(8, 12)
    ]
    assert report.counts["failed"] == 0


# The package.


def test_public_names_exist_and_are_documented() -> None:
    for name in ckvd_sql.__all__:
        assert getattr(ckvd_sql, name).__doc__, name
    assert sorted(ckvd_sql.__all__) == ckvd_sql.__all__


def test_every_public_error_is_a_ckvd_error() -> None:
    errors = [getattr(ckvd_sql, name) for name in ckvd_sql.__all__ if name.endswith("Error")]
    assert all(issubclass(error, CkvdError) for error in errors)


def test_a_client_may_be_given_settings(settings: dict[str, Any], truth: Truth) -> None:
    client = CryptoKlineVisionData(Settings.load(**settings))
    assert client.get_data("BTCUSDT", *SPAN).height == len(truth("BTCUSDT", "1h", *SPAN))
