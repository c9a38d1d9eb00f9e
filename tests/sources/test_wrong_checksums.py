"""A wrong checksum or a malformed zip at the archive: how often it is downloaded, and what is remembered of it."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import date
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.cache.store import DayStore
from ckvd_sql.errors import ChecksumError, MalformedDataError
from ckvd_sql.sandbox import Fault, Sandbox
from ckvd_sql.settings import Settings
from ckvd_sql.sources.concurrency import WorkerThreads
from ckvd_sql.sources.http import HttpClient
from ckvd_sql.sources.vision import Archive, VisionClient
from tests.support.bars import csv_text, series
from tests.support.days import day_bars, day_rows
from tests.support.stand_in import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOURS = series("spot", "BTCUSDT", "1h")
DATE = date(2024, 6, 1)
ZIP = f"/{HOURS.archive_path(DATE)}"
WRONG = "0" * 64


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as running:
        publish(running, WRONG)
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def publish(stand_in: StandIn, checksum: str | None = None) -> None:
    stand_in.publish(HOURS, DATE, csv_text(day_rows(HOURS, DATE)), checksum=checksum)


def fetch(
    server: StandIn | Sandbox, retries: int = 3, cache: Path | None = None, *, verify: bool = True
) -> Archive | None:
    settings = Settings.load(vision_url=server.url, retries=retries, timeout=5)
    wrong = DayStore(cache).wrong_checksums if cache else None

    async def run() -> Archive | None:
        async with HttpClient(settings) as http:
            client = VisionClient(settings, http, asyncio.Semaphore(8), WorkerThreads(), wrong)
            return await client.fetch(HOURS, DATE, verify=verify)

    return asyncio.run(run())


def refused(server: StandIn | Sandbox, retries: int = 3, cache: Path | None = None) -> ChecksumError:
    with pytest.raises(ChecksumError) as raised:
        fetch(server, retries, cache)
    return raised.value


def downloads(server: StandIn | Sandbox) -> tuple[int, int]:
    """How often the zip and its checksum have been requested."""
    paths = server.requests if isinstance(server, StandIn) else [request.path for request in server.requests]
    return paths.count(ZIP), paths.count(f"{ZIP}.CHECKSUM")


def test_a_wrong_checksum_is_downloaded_once_more_whatever_the_retries(stand_in: StandIn) -> None:
    refused(stand_in, retries=5)
    assert downloads(stand_in) == (2, 2)


def test_without_retries_there_is_no_second_download(stand_in: StandIn, cache: Path) -> None:
    refused(stand_in, 0, cache)
    assert downloads(stand_in) == (1, 1)
    refused(stand_in, 0, cache)
    assert downloads(stand_in) == (2, 2)  # one reading proves nothing, so nothing is remembered


def test_different_bytes_are_a_torn_transfer_and_the_retries_go_on(stand_in: StandIn) -> None:
    publish(stand_in)
    whole, read = stand_in.files[ZIP], []

    class Torn(dict[str, bytes]):
        def get(self, path: str, default: bytes | None = None) -> bytes | None:  # type: ignore[override] # as it is used
            if path != ZIP:
                return super().get(path, default)
            read.append(path)
            return whole[: -len(whole) // (1 + len(read))] if len(read) < 4 else whole

    stand_in.files = Torn(stand_in.files)
    archive = fetch(stand_in, retries=3)
    assert archive is not None
    assert archive.verified
    assert len(read) == 4


def test_a_stale_checksum_is_read_again_with_its_zip(stand_in: StandIn) -> None:
    publish(stand_in)
    with Sandbox(now="2024-06-15") as exchange:
        exchange.add(Fault(r"\.CHECKSUM", "checksum", times=1))
        archive = fetch(exchange, retries=1)
        assert archive is not None
        assert archive.verified
        assert downloads(exchange) == (2, 2)


def test_a_verified_zip_that_is_malformed_is_not_downloaded_again(stand_in: StandIn) -> None:
    stand_in.publish_zip(HOURS, DATE, b"no zip")
    with pytest.raises(MalformedDataError):
        fetch(stand_in, retries=3)
    assert downloads(stand_in) == (1, 2)


def test_a_malformed_zip_that_is_replaced_meanwhile_is_downloaded_again() -> None:
    with Sandbox(now="2024-06-15") as exchange:
        exchange.add(Fault(r"\.zip", "corrupt", times=1))
        assert fetch(exchange, retries=1) is not None
        assert downloads(exchange) == (2, 2)


def test_a_checksum_that_is_wrong_for_good_is_remembered(stand_in: StandIn, cache: Path) -> None:
    first = refused(stand_in, 1, cache)
    before = downloads(stand_in)
    later = refused(stand_in, 3, cache)  # a new store on the same folder, as another process has it
    assert (later.expected, later.actual, later.url) == (first.expected, first.actual, first.url)
    assert downloads(stand_in) == (before[0], before[1] + 1)


def test_another_published_checksum_is_downloaded_anew(stand_in: StandIn, cache: Path) -> None:
    refused(stand_in, 1, cache)
    publish(stand_in)
    archive = fetch(stand_in, 1, cache)
    assert archive is not None
    assert archive.verified
    publish(stand_in, "1" * 64)
    refused(stand_in, 1, cache)
    before = downloads(stand_in)
    refused(stand_in, 1, cache)
    assert downloads(stand_in) == (before[0], before[1] + 1)


def test_where_it_is_allowed_an_archive_that_is_wrong_for_good_is_given_with_its_mismatch(
    stand_in: StandIn, cache: Path
) -> None:
    for zips in (2, 3):  # what is remembered needs no second download
        archive = fetch(stand_in, 3, cache, verify=False)
        assert archive is not None
        assert not archive.verified
        assert archive.mismatch is not None
        assert archive.mismatch.expected == WRONG
        assert archive.mismatch.actual == archive.sha256 == hashlib.sha256(stand_in.files[ZIP]).hexdigest()
        assert archive.days[DATE].equals(day_bars(HOURS, DATE))
        assert downloads(stand_in) == (zips, zips)


def test_where_it_is_allowed_a_stale_checksum_is_read_again_all_the_same() -> None:
    with Sandbox(now="2024-06-15") as exchange:
        exchange.add(Fault(r"\.CHECKSUM", "checksum", times=1))
        archive = fetch(exchange, retries=1, verify=False)
        assert archive is not None
        assert archive.verified
