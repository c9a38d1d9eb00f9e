"""The archive client: Binance's daily and monthly zips from any fsspec URL, verified before a byte is parsed.

It lives as long as one scan, on that scan's event loop. What the archive does not have is None; what it has but
can't deliver soundly is a `ProviderError`. It knows no cache and no REST.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.request import getproxies

import aiohttp
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from yarl import URL

from ckvd_sql.errors import ChecksumError, MalformedDataError, ProviderUnavailableError, SettingsError
from ckvd_sql.sources.concurrency import retrying
from ckvd_sql.sources.parse import read_archive

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from types import SimpleNamespace, TracebackType

    import pyarrow as pa

    from ckvd_sql.market.periods import Period
    from ckvd_sql.market.series import Series
    from ckvd_sql.settings import Settings
    from ckvd_sql.sources.concurrency import Hands

log = logging.getLogger("ckvd_sql")

# `<64 hex><two spaces><name>`, with or without a newline at the end.
_CHECKSUM = re.compile(rb"([0-9a-fA-F]{64}) [ *](\S+)\s*")

_ENOUGH_FAILURES = 3

_GONE = (404, 403)  # the bucket answers both for what it does not have


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive: its bars by UTC day, its SHA-256, where it came from, and whether its checksum was `verified`."""

    days: Mapping[date, pa.RecordBatch]
    sha256: str
    url: str
    checksum: str


class Vision:
    """The archive below `settings.vision_url`, for one scan.

    Args:
        settings: Where the archive is, and how hard to try.
        slots: Bounds the requests under way, together with the scan's other client.
        hands: Verify, unpack and parse.
    """

    def __init__(self, settings: Settings, slots: asyncio.Semaphore, hands: Hands) -> None:
        self._settings = settings
        self._slots = slots
        self._hands = hands
        self._stack = AsyncExitStack()
        self._failures = 0  # in a row

    async def __aenter__(self) -> Self:
        # The options reach the HTTP file system alone; mirrors and buckets have their own.
        options: dict[str, Any] = {}
        if self._settings.vision_url.startswith(("http://", "https://")):
            # What fsspec is configured to do for others, such as not to verify TLS, is not for here.
            options = {"get_client": self._session, "skip_instance_cache": True, "ssl": True}
        try:
            self._fs, self._root = url_to_fs(self._settings.vision_url, asynchronous=True, **options)
        except (ImportError, ValueError, TypeError) as error:
            raise SettingsError("vision_url", self._settings.vision_url, f"fsspec says: {error}") from error
        if isinstance(self._fs, LocalFileSystem) and not self._fs.isdir(self._root):
            log.warning("the archive is set to %s, and there is no such folder", self._settings.vision_url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def fetch(self, series: Series, period: Period, *, verify: bool = True) -> Archive | None:
        """A day's or a month's archive; None where there is none. `verify` is off only where the user said so.

        Raises:
            ProviderUnavailableError: The archive can't be reached. After three times it is not asked any more.
            ChecksumError: What arrived is not what the archive says it published.
            MalformedDataError: The zip or its text is not this period's bars.
        """
        try:
            async for attempt in retrying(self._settings.retries, _worth_another_try):
                with attempt:
                    archive = await self._fetch(series, period, verify=verify)
        except ProviderUnavailableError:
            self._failures += 1
            raise
        self._failures = 0
        return archive

    @property
    def down(self) -> bool:
        """Whether the archive failed so often in a row that it is left alone for the rest of the scan."""
        return self._failures >= _ENOUGH_FAILURES

    async def published(self, series: Series, period: Period) -> str | None:
        """The SHA-256 that the archive states for a period now; None where it has no file. Raises as `fetch`."""
        path = series.archive_path(period)
        async for attempt in retrying(self._settings.retries, _worth_another_try):
            with attempt:
                said = await self._read(f"{path}.CHECKSUM")
        return None if said is None else _expected(said, path.rpartition("/")[2], f"{self._settings.vision_url}/{path}")

    async def _fetch(self, series: Series, period: Period, *, verify: bool) -> Archive | None:
        path = series.archive_path(period)
        url = f"{self._settings.vision_url}/{path}"
        said = await self._read(f"{path}.CHECKSUM")
        data = None if said is None else await self._read(path)
        if said is None or data is None:
            return None
        expected = _expected(said, path.rpartition("/")[2], url)
        return await self._hands.do(_read_verified, data, expected, series, period, url, verify=verify)

    async def _read(self, path: str) -> bytes | None:
        """A file below the root; None where it is not there."""
        url = f"{self._root}/{path}"
        async with self._slots:
            try:
                data: bytes = (
                    await self._fs._cat_file(url)  # noqa: SLF001 (fsspec's public async protocol)
                    if self._fs.async_impl
                    else await asyncio.to_thread(self._fs.cat_file, url)
                )
            except (FileNotFoundError, PermissionError, NotADirectoryError):
                return None
            except aiohttp.ClientResponseError as error:
                if error.status in _GONE:
                    return None
                raise ProviderUnavailableError(
                    f"the archive answered HTTP {error.status} to {url}", url=url, status=error.status
                ) from error
            except (aiohttp.ClientError, OSError, ValueError) as error:  # of a name that can't be one: UnicodeError
                reason = str(error) or type(error).__name__
                raise ProviderUnavailableError(f"the archive did not answer to {url}: {reason}", url=url) from error
        return data

    async def _session(self, **_: Any) -> aiohttp.ClientSession:
        """The HTTP session: silence is bounded, and a redirect stays on its host."""
        redirects = aiohttp.TraceConfig()
        redirects.on_request_redirect.append(_stay_on_host)
        timeout = self._settings.timeout
        return await self._stack.enter_async_context(
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._settings.patience, sock_connect=timeout, sock_read=timeout),
                connector=aiohttp.TCPConnector(limit=self._settings.concurrency),
                trust_env=bool(getproxies()),  # looking for a proxy costs more than a request on loopback
                trace_configs=[redirects],
            )
        )


async def _stay_on_host(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, params: aiohttp.TraceRequestRedirectParams
) -> None:
    headers = params.response.headers
    target = params.url.join(URL(headers.get("Location") or headers.get("URI") or ""))
    if target.origin() != params.url.origin():
        raise aiohttp.ClientPayloadError(f"{params.url} redirects to another host, {target.origin()}")


def _worth_another_try(error: BaseException) -> bool:
    return isinstance(error, ProviderUnavailableError | ChecksumError | MalformedDataError)


def _expected(said: bytes, name: str, url: str) -> str:
    """The SHA-256 that a `.CHECKSUM` file states for this zip and no other."""
    match = _CHECKSUM.fullmatch(said)
    if match is None or match[2].decode(errors="replace") != name:
        raise MalformedDataError(f"{url}.CHECKSUM does not state a SHA-256 of {name}", url=url)
    return match[1].decode().lower()


def _read_verified(data: bytes, expected: str, series: Series, period: Period, url: str, *, verify: bool) -> Archive:
    actual = hashlib.sha256(data).hexdigest()
    if verify and actual != expected:
        raise ChecksumError(
            f"{url} has SHA-256 {actual[:12]}…, published is {expected[:12]}…",
            url=url,
            expected=expected,
            actual=actual,
        )
    checksum = "verified" if actual == expected else "unverified"
    return Archive(read_archive(data, series, period, url), actual, url, checksum)
