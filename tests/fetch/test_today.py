"""Today's closed bars are remembered by the process: a poll asks for what is new, and for nothing when nothing is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import duckdb
import pytest

import ckvd_sql
from ckvd_sql.sandbox import Fault
from tests.support.bars import read

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import Truth
    from tests.support.bars import Bar

TODAY = "2024-06-15"


class Poll:
    """Queries of today's bars at chosen times, each on a connection of its own, all of one process and cache."""

    def __init__(self, exchange: Sandbox, settings: dict[str, Any]) -> None:
        self._exchange = exchange
        self._settings = settings
        self.requests: list[dict[str, str]] = []

    def __call__(self, now: str, symbol: str = "BTCUSDT", interval: str = "1m", more: str = "") -> list[Bar]:
        """The bars at a time; `requests` has the parameters of what was requested for them."""
        self._exchange.set_now(now)
        self._exchange.forget()
        with ckvd_sql.connect(**{**self._settings, "now": now}) as con:
            found = read(con, f"ckvd_klines('{symbol}', '{interval}', '{TODAY}'{more})")
        asked = [request for request in self._exchange.requests if request.path == "/api/v3/klines"]
        self.requests = [dict(parse_qsl(request.query)) for request in asked]
        return found


@pytest.fixture
def poll(exchange: Sandbox, settings: dict[str, Any]) -> Poll:
    return Poll(exchange, settings)


def test_a_poll_asks_for_the_bars_since_the_last_one(poll: Poll, truth: Truth) -> None:
    assert poll("2024-06-15T12:00:30") == truth("BTCUSDT", "1m", TODAY, "2024-06-15T12:00:30")
    assert len(poll.requests) == 1
    assert poll("2024-06-15T12:03:10") == truth("BTCUSDT", "1m", TODAY, "2024-06-15T12:03:10")
    (asked,) = poll.requests
    assert int(asked["limit"]) <= 6


def test_a_poll_asks_for_nothing_while_no_bar_has_closed(poll: Poll, truth: Truth) -> None:
    expected = truth("BTCUSDT", "1h", TODAY, "2024-06-15T12:00:30")
    assert poll("2024-06-15T12:00:30", interval="1h") == expected
    for minute in range(5, 56, 10):
        assert poll(f"2024-06-15T12:{minute:02}:00", interval="1h") == expected
        assert poll.requests == []


def test_the_forming_bar_is_asked_for_each_time(poll: Poll, truth: Truth) -> None:
    for now in ("2024-06-15T12:00:30", "2024-06-15T12:20:00"):
        *closed, forming = poll(now, interval="1h", more=", include_open := true")
        assert closed == truth("BTCUSDT", "1h", TODAY, now)
        assert len(poll.requests) == 1
        assert forming[0] == closed[-1][0] + 3_600_000_000
    assert int(poll.requests[0]["limit"]) <= 3


def test_a_bar_is_asked_for_again_until_it_has_been_closed_for_some_seconds(poll: Poll) -> None:
    for now, requests in (("12:00:02", 1), ("12:00:04", 1), ("12:00:10", 1), ("12:00:20", 0)):
        poll(f"2024-06-15T{now}", interval="1h")
        assert len(poll.requests) == requests


def test_bars_after_a_hole_are_asked_for_again(poll: Poll, exchange: Sandbox, truth: Truth) -> None:
    exchange.add(Fault("/klines", "anomaly", name="missing in places", times=1))
    short = poll("2024-06-15T12:00:30", interval="1h")
    expected = truth("BTCUSDT", "1h", TODAY, "2024-06-15T12:00:30")
    assert len(short) < len(expected)
    assert poll("2024-06-15T12:01:00", interval="1h") == expected


def test_an_error_leaves_what_is_remembered_as_it_is(poll: Poll, exchange: Sandbox, truth: Truth) -> None:
    poll("2024-06-15T12:00:30")
    exchange.add(Fault("/klines", "status", status=451, times=1))
    with pytest.raises(duckdb.Error, match="ProviderUnavailableError"):
        poll("2024-06-15T12:02:30")
    assert poll("2024-06-15T12:02:40") == truth("BTCUSDT", "1m", TODAY, "2024-06-15T12:02:40")


def test_nothing_of_it_is_on_disk_or_used_after_the_day(
    poll: Poll, settings: dict[str, Any], tmp_path: Path, truth: Truth
) -> None:
    poll("2024-06-15T23:59:58")
    assert list(tmp_path.rglob("*.arrow")) == []
    assert poll("2024-06-16T12:00:00", more=", '2024-06-16'") == truth("BTCUSDT", "1m", TODAY, "2024-06-16")
    assert poll.requests == []  # the archive has the day
    assert [path.stem for path in tmp_path.rglob("*.arrow")] == [TODAY]
    with ckvd_sql.connect(**{**settings, "cache_dir": tmp_path / "other", "now": "2024-06-15T12:00:00"}) as other:
        assert len(read(other, f"ckvd_klines('BTCUSDT', '1h', '{TODAY}')")) == 12


def test_a_clock_that_is_set_back_recalls_nothing(poll: Poll, truth: Truth) -> None:
    poll("2024-06-15T12:00:30")
    assert poll("2024-06-15T11:00:30") == truth("BTCUSDT", "1m", TODAY, "2024-06-15T11:00:30")
