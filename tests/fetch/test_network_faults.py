"""Hosts that cannot be reached or are slow, and how often a request is sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from ckvd_sql import (
    ProviderUnavailableError,
)
from ckvd_sql.sandbox import Fault, Sandbox
from tests.support.arrow import check_cached_days, table_bars, table_sources
from tests.support.faults import ARCHIVE, REST
from tests.support.stand_in import StandIn

if TYPE_CHECKING:
    from tests.conftest import MakeClient, Truth
SPAN = ("2024-05-01", "2024-05-03")


# Unreachable hosts.


@pytest.fixture(scope="module")
def closed_port() -> str:
    """A port of loopback that refuses connections."""
    with StandIn() as gone:
        return gone.url


@pytest.fixture(params=["refused", "no such name"])
def unreachable(request: pytest.FixtureRequest, closed_port: str) -> str:
    return closed_port if request.param == "refused" else "http://nowhere.invalid"


def test_when_the_archive_is_unreachable_the_rows_come_from_rest(
    make_client: MakeClient, truth: Truth, unreachable: str
) -> None:
    found = make_client(vision_url=unreachable).klines("BTCUSDT", *SPAN)
    assert (table_bars(found), table_sources(found)) == (truth("BTCUSDT", "1h", *SPAN), {"rest"})


def test_when_rest_is_unreachable_the_archive_is_used_and_missing_days_are_named(
    make_client: MakeClient, truth: Truth, unreachable: str
) -> None:
    client = make_client(spot_url=unreachable)
    found = client.klines("BTCUSDT", *SPAN)
    assert (table_bars(found), table_sources(found)) == (truth("BTCUSDT", "1h", *SPAN), {"vision"})
    with pytest.raises(ProviderUnavailableError) as failed:
        client.klines("BTCUSDT", "2024-05-01")
    assert [str(day) for day in failed.value.days] == ["2024-06-15"]


def test_when_no_host_is_reachable_the_cache_is_used_and_missing_days_are_named(
    make_client: MakeClient, truth: Truth, unreachable: str
) -> None:
    make_client().klines("BTCUSDT", *SPAN)
    client = make_client(vision_url=unreachable, spot_url=unreachable)
    assert table_bars(client.klines("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)
    with pytest.raises(ProviderUnavailableError) as failed:
        client.klines("BTCUSDT", "2024-05-02", "2024-05-05")
    assert [str(day) for day in failed.value.days] == ["2024-05-03", "2024-05-04"]
    check_cached_days(client, truth)


# Slow answers, retries.


@pytest.mark.parametrize("where", [ARCHIVE, REST])
def test_an_endless_slow_answer_times_out(exchange: Sandbox, make_client: MakeClient, truth: Truth, where: str) -> None:
    # A byte every tenth of a second, for minutes: no silence is as long as the timeout, but a whole request may take
    # only ten times the timeout.
    exchange.add(Fault(where, "drip", piece=1, seconds=0.1))
    if where == REST:
        exchange.add(Fault(ARCHIVE, "status", status=404))
    client = make_client(retries=0, timeout=0.15)
    try:
        assert table_bars(client.klines("BTCUSDT", "2024-05-01", "2024-05-02")) == truth(
            "BTCUSDT", "1h", "2024-05-01", "2024-05-02"
        )
        assert where == ARCHIVE
    except ProviderUnavailableError:
        assert not list(client.settings.cache_dir.rglob("*.arrow"))
    exchange.clear_faults()
    assert table_bars(make_client().klines("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)


def test_a_slow_answer_that_ends_in_time_is_used(exchange: Sandbox, make_client: MakeClient, truth: Truth) -> None:
    exchange.add(Fault(ARCHIVE, "drip", piece=200, seconds=0.01))
    found = make_client().klines("BTCUSDT", *SPAN)
    assert (table_bars(found), table_sources(found)) == (truth("BTCUSDT", "1h", *SPAN), {"vision"})


@pytest.mark.parametrize("retries", [0, 2])
def test_a_failing_request_is_retried_as_often_as_the_settings_say(
    exchange: Sandbox, make_client: MakeClient, retries: int
) -> None:
    exchange.add(Fault(".", "status", status=503))
    with pytest.raises(ProviderUnavailableError):
        make_client(retries=retries).klines("BTCUSDT", "2024-05-01", "2024-05-02")
    requested = [f"{request.path}?{request.query}" for request in exchange.requests]
    assert {requested.count(one) for one in requested} == {retries + 1}
    assert sum(".zip" in one for one in requested) == retries + 1


def test_archive_and_rest_each_get_that_many_attempts_for_a_day(exchange: Sandbox, make_client: MakeClient) -> None:
    exchange.add(Fault(".", "status", status=503))
    with pytest.raises(ProviderUnavailableError):
        make_client(retries=1).klines("BTCUSDT", "2024-05-01", "2024-05-02")
    assert len(exchange.requests) <= 2 * (1 + 1)


def test_an_archive_that_fails_three_times_in_a_row_is_skipped(
    exchange: Sandbox, make_client: MakeClient, truth: Truth
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=503))
    found = make_client(retries=0, concurrency=1).klines("BTCUSDT", "2024-05-02", "2024-05-30")
    assert table_bars(found) == truth("BTCUSDT", "1h", "2024-05-02", "2024-05-30")
    requested = {request.path for request in exchange.requests if re.search(ARCHIVE, request.path)}
    assert len(requested) <= 8  # three, and what was already in flight
