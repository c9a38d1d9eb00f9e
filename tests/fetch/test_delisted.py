"""Ranges after a delisting: a symbol that REST has forgotten is known by the cache or by any month of the archive."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from ckvd_sql import CryptoKlineVisionData, InvalidSymbolError, ProviderUnavailableError
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.periods import Month
from ckvd_sql.sandbox import Fault
from tests.support.bars import series
from tests.support.clients import client_for, copied
from tests.support.days import publish_days, write_days
from tests.support.requests import asked

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox
    from tests.support.stand_in import StandIn

CONTRACT = "BTCUSDT_240628"  # traded from 2023-12-29 to 2024-06-28
AFTER = ("2025-01-01", "2025-02-01")
FORGOTTEN = Fault(rf"/v\d/klines.*{CONTRACT}", "status", status=400, body='{"code":-1121,"msg":"Invalid symbol."}')

#: More than this many requests are never sent to find out that the archive has no month of a symbol.
MOST_PROBES = 120


#: Months after the delivery.
NOW = "2025-06-01T12:00:30"


@pytest.fixture(scope="module")
def clock() -> str:
    return NOW


def client(exchange: Sandbox, tmp_path: Path) -> CryptoKlineVisionData:
    return client_for(exchange, tmp_path / "cache", now=NOW)


@pytest.mark.parametrize("span", [AFTER, ("2025-03-03", "2025-03-06")])
@pytest.mark.parametrize("interval", ["1h", "1d", "1w"])
def test_have_no_bars_where_the_archive_has_the_symbol_in_other_months(
    exchange: Sandbox, tmp_path: Path, span: tuple[str, str], interval: str
) -> None:
    exchange.add(FORGOTTEN)
    assert client(exchange, tmp_path).get_data(CONTRACT, *span, interval, "um").height == 0


def test_are_cached_as_empty_and_not_asked_for_again(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(FORGOTTEN)
    client(exchange, tmp_path).get_data(CONTRACT, *AFTER, "1h", "um")
    assert len(DayStore(tmp_path / "cache").days(series("um", CONTRACT, "1h"))) == 31
    exchange.forget()
    assert client(exchange, tmp_path).get_data(CONTRACT, *AFTER, "1h", "um").height == 0
    assert not exchange.requests


def test_that_ended_days_ago_are_not_cached(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(FORGOTTEN)
    assert client(exchange, tmp_path).get_data(CONTRACT, "2025-05-20", "2025-05-23", "1h", "um").height == 0
    assert DayStore(tmp_path / "cache").days(series("um", CONTRACT, "1h")) == frozenset()


def test_what_was_found_of_the_archive_is_remembered_in_the_process(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(FORGOTTEN)
    client(exchange, tmp_path).get_data(CONTRACT, "2025-02-01", "2025-02-03", "1h", "um")
    exchange.forget()
    client(exchange, tmp_path).get_data(CONTRACT, "2025-04-01", "2025-04-03", "1h", "um")
    assert not [path for path in asked(exchange, "/monthly/") if "2025-04" not in path]


@pytest.mark.parametrize("other", ["1m", "1d"])
def test_a_cached_day_of_any_interval_shows_that_the_symbol_was_traded(
    stand_in: StandIn, tmp_path: Path, other: str
) -> None:
    write_days(DayStore(tmp_path), series("spot", "GONEUSDT", other), [date(2023, 1, 1)])
    gone = client_for(stand_in, tmp_path)
    assert gone.get_data("GONEUSDT", "2024-05-01", "2024-05-03", "1h").height == 0
    assert all("-2024-05.zip" in path for path in stand_in.asked("/monthly/"))


@pytest.mark.parametrize("month", [Month(2017, 8), Month(2019, 11), Month(2024, 4)])
def test_a_symbol_that_was_traded_in_one_month_alone_is_known(stand_in: StandIn, tmp_path: Path, month: Month) -> None:
    publish_days(stand_in, series("spot", "GONEUSDT", "1h"), month, [month.first])
    gone = client_for(stand_in, tmp_path)
    assert gone.get_data("GONEUSDT", "2024-05-01", "2024-05-03", "1h").height == 0
    assert len(stand_in.asked("/monthly/")) <= MOST_PROBES


def test_a_symbol_that_no_source_has_is_still_an_error_and_searched_for_once(exchange: Sandbox, tmp_path: Path) -> None:
    for asking_again in (False, True):
        exchange.forget()
        with pytest.raises(InvalidSymbolError, match="no such symbol"):
            client(exchange, tmp_path).get_data("BTCUSDTT", "2025-01-01", "2025-01-03", "1h")
        assert len(asked(exchange, "/monthly/")) <= (0 if asking_again else MOST_PROBES)
        assert len(exchange.requests) <= (5 if asking_again else MOST_PROBES)


def test_an_archive_that_fails_while_it_is_searched_is_never_no_such_symbol(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"/monthly/.*BTCUSDTT", "status", status=503))
    with pytest.raises(ProviderUnavailableError, match="503"):
        client(exchange, tmp_path).get_data("BTCUSDTT", "2025-01-01", "2025-01-03", "1h")
    exchange.clear_faults()
    with pytest.raises(InvalidSymbolError):
        client(exchange, tmp_path).get_data("BTCUSDTT", "2025-01-01", "2025-01-03", "1h")


def test_a_mirror_folder_is_searched_too(stand_in: StandIn, tmp_path: Path) -> None:
    publish_days(stand_in, series("spot", "GONEUSDT", "1h"), Month(2021, 5), [date(2021, 5, 3)])
    mirror = copied(stand_in, tmp_path / "mirror")
    gone = client_for(stand_in, tmp_path / "cache", vision_url=str(mirror))
    assert gone.get_data("GONEUSDT", "2024-05-01", "2024-05-03", "1h").height == 0
    with pytest.raises(InvalidSymbolError):
        gone.get_data("GONEUSDTT", "2024-05-01", "2024-05-03", "1h")
