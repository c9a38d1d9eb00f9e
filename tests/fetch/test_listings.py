"""What one scan learns about when its series were listed, and whether an unknown symbol was ever traded."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from ckvd_sql.cache.store import DayStore
from ckvd_sql.errors import InvalidSymbolError, MalformedDataError, ProviderUnavailableError
from ckvd_sql.fetch.archive_search import ArchiveSearch
from ckvd_sql.fetch.listings import Listings
from ckvd_sql.market.periods import DAY, HOUR, Month, day_start
from ckvd_sql.sandbox import Fault, Sandbox
from ckvd_sql.settings import Settings
from ckvd_sql.sources.concurrency import WorkerThreads
from ckvd_sql.sources.http import HttpClient
from ckvd_sql.sources.rest import RestClient
from ckvd_sql.sources.vision import VisionClient
from tests.support.bars import series
from tests.support.days import publish_days, rest_rows, write_days
from tests.support.stand_in import StandIn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

HOURS = series("spot", "BTCUSDT", "1h")
GONE = series("spot", "GONEUSDT", "1h")
LISTED = day_start(date(2024, 5, 3)) + 5 * HOUR
MAY = Month(2024, 5)
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def store(tmp_path: Path) -> DayStore:
    return DayStore(tmp_path)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as running:
        running.rows[HOURS] = rest_rows(HOURS, LISTED, LISTED + DAY)
        yield running


def learn(store: DayStore, server: StandIn | Sandbox, work: Callable[[Listings], Awaitable[T]], **changes: Any) -> T:
    """What the listings of a scan answer."""
    fixed = {"now": "2024-06-15", "retries": 0, "timeout": 5, "cache_dir": store.root}
    settings = Settings.load(**{**server.settings, **fixed, **changes})

    async def run() -> T:
        slots = asyncio.Semaphore(8)
        async with HttpClient(settings) as http:
            vision, rest = VisionClient(settings, http, slots, WorkerThreads()), RestClient(settings, http, slots)
            return await work(Listings(store, ArchiveSearch(settings, vision), rest))

    return asyncio.run(run())


def first_open(store: DayStore, server: StandIn | Sandbox, **changes: Any) -> int | None:
    return learn(store, server, lambda listings: listings.first_open(HOURS), **changes)


async def first_open_of_gone(listings: Listings) -> int | None:
    return await listings.first_open(GONE)


def test_the_first_bar_is_asked_for_once_however_many_want_it(store: DayStore, stand_in: StandIn) -> None:
    async def ask(listings: Listings) -> list[int | None]:
        assert listings.known_first_open(HOURS) is None
        return await asyncio.gather(*(listings.first_open(HOURS) for _ in range(5)))

    assert learn(store, stand_in, ask) == [LISTED] * 5
    assert len(stand_in.requests) == 1


def test_the_next_scan_knows_it_from_the_cache(store: DayStore, stand_in: StandIn) -> None:
    assert first_open(store, stand_in) == LISTED
    assert first_open(store, stand_in) == LISTED
    assert store.first_open(HOURS) == LISTED
    assert len(stand_in.requests) == 1


def test_a_symbol_without_a_bar_yet_has_no_first_one_and_nothing_is_stored(store: DayStore, stand_in: StandIn) -> None:
    stand_in.rows[HOURS] = []
    assert first_open(store, stand_in) is None
    assert store.first_open(HOURS) is None


def test_an_exchange_that_can_t_be_reached_is_no_answer_and_is_noted(store: DayStore, stand_in: StandIn) -> None:
    async def ask(listings: Listings) -> tuple[int | None, ProviderUnavailableError | None]:
        assert listings.rest_failure is None
        return await listings.first_open(HOURS), listings.rest_failure

    found, failure = learn(store, stand_in, ask, spot_url=NOWHERE)
    assert found is None
    assert isinstance(failure, ProviderUnavailableError)


def test_an_answer_that_makes_no_sense_is_no_answer_and_no_outage(store: DayStore, stand_in: StandIn) -> None:
    async def ask(listings: Listings) -> tuple[int | None, ProviderUnavailableError | None]:
        return await listings.first_open(HOURS), listings.rest_failure

    stand_in.files["/api/v3/klines"] = b"<html>"
    assert learn(store, stand_in, ask) == (None, None)


def test_a_symbol_that_no_source_has_is_an_error_that_is_found_once(store: DayStore, stand_in: StandIn) -> None:
    async def ask(listings: Listings) -> list[int]:
        sent = []
        for _ in range(2):
            with pytest.raises(InvalidSymbolError, match="GONEUSDT"):
                await listings.first_open(GONE)
            sent.append(len(stand_in.requests))
        return sent

    first, then = learn(store, stand_in, ask)
    assert first == then
    assert len(stand_in.asked_rest()) == 1
    months = stand_in.asked("GONEUSDT-1h-")  # a checksum for every month since the market opened, each once
    assert len(set(months)) == len(months) == first - 1 == 6 + 6 * 12 + 5


def test_a_symbol_that_rest_does_not_know_and_the_archive_has_was_traded(store: DayStore, stand_in: StandIn) -> None:
    publish_days(stand_in, GONE, MAY, [date(2024, 5, 1)])
    assert learn(store, stand_in, first_open_of_gone) is None
    assert not [request for request in stand_in.requests if request.endswith(".zip")]


def test_a_symbol_of_which_the_cache_has_rows_was_traded_and_the_archive_is_not_asked(
    store: DayStore, stand_in: StandIn
) -> None:
    write_days(store, GONE, [date(2023, 1, 1)])
    assert learn(store, stand_in, first_open_of_gone) is None
    assert not stand_in.asked(".CHECKSUM")


def test_what_a_job_has_seen_of_the_archive_is_used_instead_of_asking_it(store: DayStore, stand_in: StandIn) -> None:
    async def ask(listings: Listings) -> int | None:
        listings.note_traded(GONE)
        return await listings.first_open(GONE)

    assert learn(store, stand_in, ask) is None
    assert not stand_in.asked(".CHECKSUM")


def test_an_archive_that_fails_is_never_no_such_symbol(store: DayStore) -> None:
    with Sandbox(now="2024-06-15") as exchange:
        exchange.add(Fault(r"\.CHECKSUM", "status", status=503))
        with pytest.raises(ProviderUnavailableError, match="503") as raised:
            learn(store, exchange, first_open_of_gone)
        assert isinstance(raised.value.__cause__, InvalidSymbolError)


def test_the_failure_that_a_job_has_met_is_the_one_that_is_raised(store: DayStore, stand_in: StandIn) -> None:
    met, later = MalformedDataError("a torn zip"), MalformedDataError("another one")

    async def ask(listings: Listings) -> None:
        listings.note_archive_failure(GONE, met)
        listings.note_archive_failure(GONE, later)
        await listings.first_open(GONE)

    with pytest.raises(MalformedDataError) as raised:
        learn(store, stand_in, ask)
    assert raised.value is met


def test_rest_s_own_error_is_raised_where_no_source_has_the_symbol(store: DayStore, stand_in: StandIn) -> None:
    unknown = InvalidSymbolError("symbol", "GONEUSDT", "as REST says")
    with pytest.raises(InvalidSymbolError) as raised:
        learn(store, stand_in, lambda listings: listings.require_traded(GONE, unknown))
    assert raised.value is unknown


def test_series_are_learnt_about_each_for_itself(store: DayStore, stand_in: StandIn) -> None:
    async def ask(listings: Listings) -> int | None:
        with pytest.raises(InvalidSymbolError):
            await listings.first_open(GONE)
        return await listings.first_open(HOURS)

    assert learn(store, stand_in, ask) == LISTED
