"""The archive client: what it delivers is verified, what the archive does not have is None, the rest are errors."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from datetime import date
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from ckvd_sql.errors import ChecksumError, MalformedDataError, ProviderUnavailableError, SettingsError
from ckvd_sql.market.periods import Month
from ckvd_sql.sandbox import Fault, Sandbox
from ckvd_sql.settings import Settings
from ckvd_sql.sources.concurrency import WorkerThreads
from ckvd_sql.sources.http import HttpClient
from ckvd_sql.sources.vision import Archive, VisionClient
from tests.support.bars import csv_text, series, zipped
from tests.support.days import day_bars, day_rows, publish_days
from tests.support.stand_in import StandIn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

HOURS = series("spot", "BTCUSDT", "1h")
DAY_1, DAY_2, DAY_3 = date(2024, 6, 1), date(2024, 6, 2), date(2024, 6, 3)
NOW = "2024-06-15T12:00:30"


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as running:
        publish_days(running, HOURS, DAY_1, [DAY_1])
        yield running


@pytest.fixture
def exchange() -> Iterator[Sandbox]:
    with Sandbox(now=NOW) as running:
        yield running


def ask(server: StandIn | Sandbox | str, work: Callable[[VisionClient], Awaitable[T]], retries: int = 0) -> T:
    """What a client of its own answers, of an archive on a server or at a URL."""
    url = server if isinstance(server, str) else server.url
    settings = Settings.load(vision_url=url, retries=retries, timeout=5)

    async def run() -> T:
        async with HttpClient(settings) as http:
            return await work(VisionClient(settings, http, asyncio.Semaphore(8), WorkerThreads()))

    return asyncio.run(run())


def fetch(server: StandIn | Sandbox | str, day: date = DAY_1, **options: Any) -> Archive | None:
    return ask(server, lambda client: client.fetch(HOURS, day, **options))


def paths(exchange: Sandbox) -> list[str]:
    return [request.path for request in exchange.requests]


def test_an_archive_has_its_bars_by_day_and_says_that_they_are_verified(stand_in: StandIn) -> None:
    archive = fetch(stand_in)
    assert archive is not None
    path = f"/{HOURS.archive_path(DAY_1)}"
    assert list(archive.days) == [DAY_1]
    assert archive.days[DAY_1].equals(day_bars(HOURS, DAY_1))
    assert archive.sha256 == hashlib.sha256(stand_in.files[path]).hexdigest()
    assert archive.url == f"{stand_in.url}{path}"
    assert archive.verified


def test_the_days_of_a_month_without_a_bar_are_not_in_it(stand_in: StandIn) -> None:
    month = Month(2024, 6)
    publish_days(stand_in, HOURS, month, [DAY_1, DAY_3])
    archive = ask(stand_in, lambda client: client.fetch(HOURS, month))
    assert archive is not None
    assert list(archive.days) == [DAY_1, DAY_3]


def test_another_checksum_is_an_error_that_states_both(stand_in: StandIn) -> None:
    stand_in.publish(HOURS, DAY_2, csv_text(day_rows(HOURS, DAY_2)), checksum="0" * 64)
    with pytest.raises(ChecksumError) as raised:
        fetch(stand_in, DAY_2)
    body = stand_in.files[f"/{HOURS.archive_path(DAY_2)}"]
    assert (raised.value.expected, raised.value.actual) == ("0" * 64, hashlib.sha256(body).hexdigest())


def test_another_checksum_passes_only_where_the_caller_says_so_and_is_not_verified(stand_in: StandIn) -> None:
    stand_in.publish(HOURS, DAY_2, csv_text(day_rows(HOURS, DAY_2)), checksum="0" * 64)
    archive = fetch(stand_in, DAY_2, verify=False)
    assert archive is not None
    assert not archive.verified
    assert archive.days[DAY_2].equals(day_bars(HOURS, DAY_2))


def test_a_checksum_may_be_in_capitals_or_marked_as_binary(stand_in: StandIn) -> None:
    path = f"/{HOURS.archive_path(DAY_1)}.CHECKSUM"
    digest, name = stand_in.files[path].split()
    for text in (digest.upper() + b"  " + name, digest + b" *" + name + b"\r\n"):
        stand_in.files[path] = text
        archive = fetch(stand_in)
        assert archive is not None
        assert archive.verified


@pytest.mark.parametrize(
    "stated",
    [
        f"{'0' * 64}  BTCUSDT-1h-2024-06-02.zip",
        f"{'0' * 64}  btcusdt-1h-2024-06-01.zip",
        f"{'0' * 63}  BTCUSDT-1h-2024-06-01.zip",
        f"{'0' * 64}",
        "<html>",
        "",
    ],
)
@pytest.mark.parametrize("verify", [True, False])
def test_what_is_no_checksum_of_this_zip_is_refused_always(stand_in: StandIn, stated: str, verify: bool) -> None:
    stand_in.files[f"/{HOURS.archive_path(DAY_1)}.CHECKSUM"] = stated.encode()
    with pytest.raises(MalformedDataError, match="does not state a SHA-256"):
        fetch(stand_in, verify=verify)


def test_a_zip_of_another_day_is_refused_although_its_checksum_matches(stand_in: StandIn) -> None:
    stand_in.publish_zip(HOURS, DAY_2, zipped("BTCUSDT-1h-2024-06-02.csv", csv_text(day_rows(HOURS, DAY_1))))
    with pytest.raises(MalformedDataError, match="2024-06-01, which is not in 2024-06-02"):
        fetch(stand_in, DAY_2)


@pytest.mark.parametrize("status", [403, 404])
def test_what_the_archive_does_not_have_is_none_at_the_first_request(exchange: Sandbox, status: int) -> None:
    exchange.add(Fault(r"\.zip", "status", status=status))
    assert ask(exchange, lambda client: client.fetch(HOURS, DAY_1), retries=3) is None
    assert ask(exchange, lambda client: client.published_checksum(HOURS, DAY_1), retries=3) is None
    assert len(exchange.requests) == 2


def test_a_checksum_without_a_zip_is_none(stand_in: StandIn) -> None:
    del stand_in.files[f"/{HOURS.archive_path(DAY_1)}"]
    assert fetch(stand_in) is None


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_error_is_no_absence(exchange: Sandbox, status: int) -> None:
    exchange.add(Fault(r"\.zip", "status", status=status))
    with pytest.raises(ProviderUnavailableError, match=f"HTTP {status}") as raised:
        fetch(exchange)
    assert raised.value.status == status
    assert raised.value.url.endswith(f"{HOURS.archive_path(DAY_1)}.CHECKSUM")


@pytest.mark.parametrize("kind", ["status", "checksum", "corrupt", "torn"])
def test_a_failure_that_passes_is_tried_again(exchange: Sandbox, kind: str) -> None:
    exchange.add(Fault(r"2024-06-01\.zip", kind, times=1))
    archive = ask(exchange, lambda client: client.fetch(HOURS, DAY_1), retries=1)
    assert archive is not None
    assert archive.verified


def test_after_three_failures_in_a_row_the_archive_is_down_and_not_asked(exchange: Sandbox) -> None:
    async def work(client: VisionClient) -> list[bool]:
        down = []
        for _ in range(3):
            down.append(client.down)
            with pytest.raises(ProviderUnavailableError, match="503"):
                await client.fetch(HOURS, DAY_1)
        exchange.clear_faults()
        exchange.forget()
        with pytest.raises(ProviderUnavailableError, match="not asked again"):
            await client.fetch(HOURS, DAY_1)
        with pytest.raises(ProviderUnavailableError, match="not asked again"):
            await client.published_checksum(HOURS, DAY_1)
        return [*down, client.down]

    exchange.add(Fault(r"\.zip", "status", status=503))
    assert ask(exchange, work) == [False, False, False, True]
    assert not exchange.requests


def test_an_archive_that_is_down_is_still_asked_for_a_file_whose_checksum_may_be_wrong(exchange: Sandbox) -> None:
    async def work(client: VisionClient) -> Archive | None:
        for _ in range(3):
            with pytest.raises(ProviderUnavailableError):
                await client.fetch(HOURS, DAY_1)
        exchange.clear_faults()
        return await client.fetch(HOURS, DAY_1, verify=False)

    exchange.add(Fault(r"\.zip", "status", status=503))
    assert ask(exchange, work) is not None


def test_the_next_scan_asks_an_archive_that_was_down_again(exchange: Sandbox) -> None:
    exchange.add(Fault(r"\.zip", "status", status=503, times=3))
    for _ in range(3):
        with pytest.raises(ProviderUnavailableError):
            fetch(exchange)
    assert fetch(exchange) is not None


def test_an_answer_between_failures_keeps_the_archive_up(exchange: Sandbox) -> None:
    async def work(client: VisionClient) -> bool:
        for _ in range(2):
            for _ in range(2):
                with pytest.raises(ProviderUnavailableError):
                    await client.fetch(HOURS, DAY_1)
            assert await client.fetch(HOURS, date(2010, 1, 1)) is None  # None is an answer too
        return client.down

    exchange.add(Fault(r"2024-06-01\.zip", "status", status=503))
    assert not ask(exchange, work)


def test_wrong_content_does_not_make_the_archive_down(exchange: Sandbox) -> None:
    async def work(client: VisionClient) -> bool:
        for _ in range(4):
            with pytest.raises(ChecksumError):
                await client.fetch(HOURS, DAY_1)
        return client.down

    exchange.add(Fault(r"\.zip", "checksum"))
    assert not ask(exchange, work)


def test_a_redirect_to_another_host_is_refused_before_that_host_is_asked(exchange: Sandbox, stand_in: StandIn) -> None:
    path = f"/{HOURS.archive_path(DAY_1)}"
    exchange.add(Fault(r"\.zip", "redirect", location=f"{stand_in.url}{path}"))
    with pytest.raises(ProviderUnavailableError, match="redirects to another host"):
        fetch(exchange)
    assert not stand_in.requests


def test_a_redirect_on_the_same_host_is_followed(exchange: Sandbox) -> None:
    path = f"/{HOURS.archive_path(DAY_1)}.CHECKSUM"
    exchange.add(Fault(r"CHECKSUM$", "redirect", location=f"{path}?again"))
    assert fetch(exchange) is not None
    assert paths(exchange).count(path) == 2


def test_the_published_checksum_is_known_without_the_zip(stand_in: StandIn) -> None:
    body = stand_in.files[f"/{HOURS.archive_path(DAY_1)}"]
    found = ask(stand_in, lambda client: client.published_checksum(HOURS, DAY_1))
    assert found == hashlib.sha256(body).hexdigest()
    assert len(stand_in.requests) == 1


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_folder_can_be_the_archive(stand_in: StandIn, tmp_path: Path, scheme: str) -> None:
    for name, body in stand_in.files.items():
        path = tmp_path / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    archive = fetch(f"{scheme}{tmp_path}")
    assert archive is not None
    assert archive.verified
    assert archive.days[DAY_1].equals(day_bars(HOURS, DAY_1))
    assert fetch(f"{scheme}{tmp_path}", DAY_2) is None


def test_a_folder_that_is_not_there_has_nothing_and_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="ckvd_sql"):
        assert fetch(str(tmp_path / "nowhere")) is None
    assert "there is no such folder" in caplog.text


def test_a_url_whose_file_system_is_not_installed_names_the_setting() -> None:
    with pytest.raises(SettingsError, match="vision_url"):
        fetch("gs://bucket/archive")
