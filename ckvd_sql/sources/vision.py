"""The archive ("Vision"): Binance's daily and monthly zips from any fsspec URL, verified before a byte is parsed.

The client lives as long as one scan, on that scan's event loop. What the archive does not have is None; what it has
but can't deliver intact is a `ProviderError`. It knows no cache, but for a `ChecksumMemory`, and no REST.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from ckvd_sql.errors import ChecksumError, MalformedDataError, ProviderUnavailableError, SettingsError
from ckvd_sql.market.provenance import WrongChecksum
from ckvd_sql.sources.answers import CHECKSUM_BYTES, archive_bytes, check_length
from ckvd_sql.sources.bucket import PAGE_BYTES, bucket_of, parameters_of, parse_page
from ckvd_sql.sources.concurrency import retrying
from ckvd_sql.sources.parse import read_archive

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.market.periods import Period
    from ckvd_sql.market.series import Market, Series
    from ckvd_sql.settings import Settings
    from ckvd_sql.sources.concurrency import WorkerThreads
    from ckvd_sql.sources.http import HttpClient

log = logging.getLogger("ckvd_sql")

# `<64 hex><two spaces><name>`, with or without a newline at the end.
_CHECKSUM = re.compile(rb"([0-9a-fA-F]{64}) [ *](\S+)\s*")

#: After this many failures in a row the archive is not asked again in the same scan.
_MOST_FAILURES = 3

#: Pages of 1,000 symbols each.
_MOST_PAGES = 20

_NOT_FOUND = (404, 403)  # the bucket answers both for what it does not have


@dataclass(frozen=True, slots=True)
class Archive:
    """A daily or monthly archive.

    Attributes:
        period: The day or month that it covers.
        days: Its bars by UTC day; days without a bar are not among them.
        sha256: The SHA-256 of the zip in hex.
        url: Its URL.
        mismatch: That the published checksum is another one, where the user lets that pass; else None.
        conflicting: The days with different rows for one open time, of which the last one is among the bars.
    """

    period: Period
    days: Mapping[date, pa.RecordBatch]
    sha256: str
    url: str
    mismatch: ChecksumError | None = None
    conflicting: frozenset[date] = frozenset()

    @property
    def verified(self) -> bool:
        """Whether its SHA-256 is the published one."""
        return self.mismatch is None


class ChecksumMemory(Protocol):
    """Remembers the archives whose published checksum is wrong for good, by their URLs."""

    def recall(self, series: Series, url: str) -> WrongChecksum | None:
        """What is remembered of a series' archive."""

    def remember(self, series: Series, url: str, wrong: WrongChecksum) -> None:
        """Remember a series' archive."""


@dataclass(slots=True)
class _Attempts:
    """What the attempts at one archive have found.

    Attributes:
        known: What is remembered of it.
        wrong: The checksums of the last attempt, where they differ.
        data: The zip of that attempt, where it may be wanted all the same.
        malformed: The published checksum of a verified zip that is no archive of the period, and why it is none.
        settled: Whether another attempt can find nothing else.
    """

    known: WrongChecksum | None
    wrong: WrongChecksum | None = None
    data: bytes = b""
    malformed: tuple[str, MalformedDataError] | None = None
    settled: bool = False

    def may_help(self, error: BaseException) -> bool:
        """Whether another attempt may be better than one that ended with this error."""
        return _is_transient(error) and not self.settled


class VisionClient:
    """The archive below `settings.vision_url`, for one scan.

    Args:
        settings: The archive's URL, timeouts and retries.
        http: The client for an archive on http or https.
        slots: Bounds the concurrent requests, together with the scan's REST client.
        threads: Verify, unpack and parse.
        memory: Where archives with a wrong checksum are remembered, if anywhere.
    """

    def __init__(
        self,
        settings: Settings,
        http: HttpClient,
        slots: asyncio.Semaphore,
        threads: WorkerThreads,
        memory: ChecksumMemory | None = None,
    ) -> None:
        self._settings = settings
        self._http = http
        self._slots = slots
        self._threads = threads
        self._memory = memory
        self._fs: Any = None  # fsspec's file system; None on http and https
        self._failures = 0  # in a row
        self._open_root()

    def _open_root(self) -> None:
        url = self._settings.vision_url
        if url.startswith(("http://", "https://")):
            self._root = url
            return
        try:
            self._fs, self._root = url_to_fs(url, asynchronous=True)
        except (ImportError, ValueError, TypeError) as error:
            raise SettingsError("vision_url", url, f"fsspec says: {error}") from error
        if self.is_folder and not self._fs.isdir(self._root):
            log.warning("the archive is set to %s, and there is no such folder", url)

    async def fetch(self, series: Series, period: Period, *, verify: bool = True) -> Archive | None:
        """A day's or a month's archive; None where there is none. `verify` is off only where the user said so.

        A checksum that is as wrong in a second download is wrong for good, and remembered.

        Raises:
            ProviderUnavailableError: The archive can't be reached, or failed too often before.
            ChecksumError: The zip's SHA-256 is not the published one, and `verify` is on.
            MalformedDataError: The zip or its text is not this period's bars.
        """
        if verify:  # else the user wants what has been found to be there
            self.require_up()
        url = self._url(series, period)
        attempts = _Attempts(self._memory.recall(series, url) if self._memory else None)
        try:
            async for attempt in retrying(self._settings.retries, attempts.may_help):
                with attempt:
                    archive = await self._fetch(series, period, attempts, verify=verify)
        except ProviderUnavailableError:
            self._failures += 1
            raise
        except ChecksumError as error:
            if self._memory and attempts.settled and attempts.wrong and attempts.wrong != attempts.known:
                await self._threads.run(self._memory.remember, series, url, attempts.wrong)
            if verify:
                raise
            archive = await self._threads.run(_parsed, attempts.data, error.actual, series, period, url, error)
        self._failures = 0
        return archive

    @property
    def down(self) -> bool:
        """Whether the archive failed so often in a row that it is not asked again in this scan."""
        return self._failures >= _MOST_FAILURES

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of this machine, which has what somebody copied into it."""
        return isinstance(self._fs, LocalFileSystem)

    def require_up(self) -> None:
        """Raise `ProviderUnavailableError` where the archive is down."""
        if self.down:
            raise ProviderUnavailableError("the archive failed too often and is not asked again")

    async def published_checksum(self, series: Series, period: Period) -> str | None:
        """The SHA-256 in hex that the archive publishes for a period; None where it has no file. Raises as `fetch`."""
        self.require_up()
        path = series.archive_path(period)
        async for attempt in retrying(self._settings.retries, _is_transient):
            with attempt:
                stated = await self._read(f"{path}.CHECKSUM", CHECKSUM_BYTES)
        return None if stated is None else _expected(stated, path.rpartition("/")[2], self._url(series, period))

    async def symbols(self, market: Market) -> list[str]:
        """The symbols that have monthly archives on a market, delisted ones too.

        Raises:
            ProviderUnavailableError: The archive can't be reached, or does not list its folders.
            MalformedDataError: Its answer is no listing.
        """
        folder = f"data/{market.archive_path}/monthly/klines/"
        if self._fs is not None:
            return await self._folders(f"{self._root}/{folder}")
        url, names, marker = bucket_of(self._settings.vision_url), list[str](), ""
        for _ in range(_MOST_PAGES):
            async with self._slots:
                answer = await self._http.get(f"{url}/", PAGE_BYTES, parameters=parameters_of(folder, marker))
            if answer.status != HTTPStatus.OK:
                message = f"the archive does not list its symbols: HTTP {answer.status} from {url}"
                raise ProviderUnavailableError(message, url=url, status=answer.status)
            try:
                page, marker = parse_page(folder, answer.body)
            except ValueError as error:
                raise MalformedDataError(f"{url} does not list the archive's symbols: {error}", url=url) from error
            names += page
            if not marker:
                break
        return names

    async def _folders(self, path: str) -> list[str]:
        """The names of the folders in a folder, a bucket or whatever else fsspec knows."""
        try:
            entries: list[dict[str, Any]] = (
                await self._fs._ls(path, detail=True)  # noqa: SLF001 (fsspec's public async protocol)
                if self._fs.async_impl
                else await asyncio.to_thread(self._fs.ls, path, detail=True)
            )
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise ProviderUnavailableError(f"the archive does not list {path}: {error}", url=path) from error
        return [entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "directory"]

    def _url(self, series: Series, period: Period) -> str:
        return f"{self._settings.vision_url}/{series.archive_path(period)}"

    async def _fetch(self, series: Series, period: Period, attempts: _Attempts, *, verify: bool) -> Archive | None:
        """One attempt. The checksum alone is read where that settles it."""
        path, url = series.archive_path(period), self._url(series, period)
        stated = await self._read(f"{path}.CHECKSUM", CHECKSUM_BYTES)
        if stated is None:
            return None
        published = _expected(stated, path.rpartition("/")[2], url)
        if attempts.malformed and attempts.malformed[0] == published:
            attempts.settled = True
            raise attempts.malformed[1]
        if verify and attempts.known and attempts.known.published == published:
            attempts.settled = True
            raise _mismatch(url, attempts.known)
        data = await self._read(path, archive_bytes(series, period))
        if data is None:
            return None
        try:
            return await self._threads.run(_read_verified, data, published, series, period, url)
        except ChecksumError as error:
            wrong = WrongChecksum(published, error.actual)
            attempts.settled = wrong in (attempts.wrong, attempts.known)
            attempts.wrong, attempts.data = wrong, b"" if verify else data
            raise
        except MalformedDataError as error:
            attempts.malformed = published, error
            raise

    async def _read(self, path: str, limit: int) -> bytes | None:
        """The content of a file below the root, of at most so many bytes; None where there is none."""
        url = f"{self._root}/{path}"
        async with self._slots:
            return await (self._get(url, limit) if self._fs is None else self._open(url, limit))

    async def _get(self, url: str, limit: int) -> bytes | None:
        """The same over HTTP."""
        answer = await self._http.get(url, limit, redirects=True)
        if answer.status in _NOT_FOUND:
            return None
        if answer.status != HTTPStatus.OK:
            raise ProviderUnavailableError(
                f"the archive answered HTTP {answer.status} to {url}", url=url, status=answer.status
            )
        return answer.body

    async def _open(self, url: str, limit: int) -> bytes | None:
        """The same from a folder, a bucket or whatever else fsspec knows."""
        end = limit + 1  # one byte more tells a longer file
        try:
            data: bytes = (
                await self._fs._cat_file(url, start=0, end=end)  # noqa: SLF001 (fsspec's public async protocol)
                if self._fs.async_impl
                else await asyncio.to_thread(self._fs.cat_file, url, start=0, end=end)
            )
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:  # a symbol that no URL can have: UnicodeError
            reason = str(error) or type(error).__name__
            raise ProviderUnavailableError(f"the archive did not answer to {url}: {reason}", url=url) from error
        self._http.traffic.add(data)
        return check_length(url, data, limit)


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, ProviderUnavailableError | ChecksumError | MalformedDataError)


def _expected(stated: bytes, name: str, url: str) -> str:
    """The SHA-256 that a `.CHECKSUM` file states for the zip of this name."""
    match = _CHECKSUM.fullmatch(stated)
    if match is None or match[2].decode(errors="replace") != name:
        raise MalformedDataError(f"{url}.CHECKSUM does not state a SHA-256 of {name}", url=url)
    return match[1].decode().lower()


def _mismatch(url: str, wrong: WrongChecksum) -> ChecksumError:
    return ChecksumError(
        f"{url} has SHA-256 {wrong.actual[:12]}…, published is {wrong.published[:12]}…",
        url=url,
        expected=wrong.published,
        actual=wrong.actual,
    )


def _read_verified(data: bytes, published: str, series: Series, period: Period, url: str) -> Archive:
    actual = hashlib.sha256(data).hexdigest()
    if actual != published:
        raise _mismatch(url, WrongChecksum(published, actual))
    return _parsed(data, actual, series, period, url)


def _parsed(
    data: bytes, sha256: str, series: Series, period: Period, url: str, mismatch: ChecksumError | None = None
) -> Archive:
    conflicting: set[date] = set()
    days = read_archive(data, series, period, url, conflicting)
    return Archive(period, days, sha256, url, mismatch, frozenset(conflicting))
