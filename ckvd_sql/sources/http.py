"""The HTTP client of both sources, archive and REST, for one scan: connections, proxies, certificates, timeouts.

aiohttp was chosen because fsspec, which reads archives that are not on HTTP, is built on it too, and it is the fastest
of the asynchronous clients. Certificates are verified with those that the system trusts (truststore), so that those of
an organization's proxy count. What an answer means is not known here.
"""

from __future__ import annotations

import os
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

import aiohttp
from yarl import URL

from ckvd_sql.errors import ProviderUnavailableError, SettingsError
from ckvd_sql.sources.answers import PLAIN, REFUSAL_BYTES, Traffic, read_bounded, read_start
from ckvd_sql.sources.proxies import Proxy, Socks, proxy_for

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import SimpleNamespace, TracebackType

    from ckvd_sql.settings import Settings


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with any status.

    Attributes:
        url: What was requested, with parameters.
        status: The HTTP status.
        reason: The HTTP reason phrase.
        headers: The headers, whose names ignore case.
        body: The body; only the beginning where the status is not 200.
    """

    url: str
    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """GET requests. Use it as an async context manager on the scan's event loop.

    Args:
        settings: The proxy, timeouts and the number of connections.
        traffic: Counts what is received.
    """

    def __init__(self, settings: Settings, traffic: Traffic | None = None) -> None:
        self.traffic = traffic or Traffic()
        self._settings = settings
        self._stack = AsyncExitStack()
        self._sessions: dict[Proxy | None, aiohttp.ClientSession] = {}  # one without SOCKS, and one a SOCKS proxy
        self._routes: dict[URL, Proxy | None] = {}
        self._errors: tuple[type[Exception], ...] = (aiohttp.ClientError, OSError, ValueError)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def get(
        self, url: str, limit: int, *, parameters: Mapping[str, Any] | None = None, redirects: bool = False
    ) -> Answer:
        """An answer, whose body has at most so many bytes.

        Args:
            url: The URL.
            limit: The most bytes of an answer with status 200.
            parameters: Added to the URL.
            redirects: Whether redirects within the host are followed; else they are answers like any other.

        Raises:
            ProviderUnavailableError: There is no answer.
            MalformedDataError: It is longer than the limit, or packed.
            SettingsError: The proxy or the certificates can't be used.
        """
        try:
            target = URL(url).update_query(parameters or {})
            proxy = self._proxy(target)
            more: dict[str, Any] = {"ssl": _certificates(*_certificate_variables())} if target.scheme == "https" else {}
            if proxy and not proxy.is_socks:
                more["proxy"] = proxy.url
            session = await self._session(proxy if proxy and proxy.is_socks else None)
            async with session.get(target, allow_redirects=redirects, **more) as answer:
                if answer.status == HTTPStatus.OK:
                    encodings = answer.headers.getall("Content-Encoding", [])
                    length = answer.headers.get("Content-Length")
                    body = await read_bounded(str(target), answer.content.iter_any(), encodings, length, limit)
                    self.traffic.add(body)
                else:
                    body = await read_start(answer.content.iter_any(), REFUSAL_BYTES)
                return Answer(str(target), answer.status, answer.reason or "", answer.headers, body)
        except SettingsError:
            raise
        except self._errors as error:
            raise _no_answer(url, error) from error

    def _proxy(self, url: URL) -> Proxy | None:
        origin = url.origin()
        if origin not in self._routes:
            self._routes[origin] = proxy_for(url, self._settings.proxy)
        return self._routes[origin]

    async def _session(self, socks: Proxy | None) -> aiohttp.ClientSession:
        if socks not in self._sessions:
            redirects = aiohttp.TraceConfig()
            redirects.on_request_redirect.append(_stay_on_host)
            seconds = self._settings.timeout
            self._sessions[socks] = await self._stack.enter_async_context(
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(
                        total=self._settings.patience, connect=seconds, sock_connect=seconds, sock_read=seconds
                    ),
                    connector=self._connector(socks),
                    trace_configs=[redirects],
                    headers=PLAIN,
                    auto_decompress=False,
                )
            )
        return self._sessions[socks]

    def _connector(self, socks: Proxy | None) -> aiohttp.TCPConnector:
        connections = self._settings.concurrency
        if socks is None:
            return aiohttp.TCPConnector(limit=connections)
        try:
            import aiohttp_socks  # noqa: PLC0415 (an extra)
        except ImportError as error:
            rule = "a SOCKS proxy needs the extra: pip install 'ckvd-sql[socks]'"
            raise SettingsError("proxy", socks.shown, rule, variable=socks.named_by) from error
        self._errors = (
            *self._errors,
            aiohttp_socks.ProxyError,
            aiohttp_socks.ProxyConnectionError,
            aiohttp_socks.ProxyTimeoutError,
        )
        parts = Socks.of(socks)
        return aiohttp_socks.ProxyConnector(
            parts.host,
            parts.port,
            aiohttp_socks.ProxyType.SOCKS5 if parts.version == 5 else aiohttp_socks.ProxyType.SOCKS4,  # noqa: PLR2004
            parts.username,
            parts.password,
            rdns=parts.remote_names,
            limit=connections,
        )


def _no_answer(url: str, error: Exception) -> ProviderUnavailableError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = f"{reason}; where an organization's own certificates are in use, name their file in SSL_CERT_FILE"
    return ProviderUnavailableError(f"no answer from {url}: {reason}", url=url)


async def _stay_on_host(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, params: aiohttp.TraceRequestRedirectParams
) -> None:
    headers = params.response.headers
    target = params.url.join(URL(headers.get("Location") or headers.get("URI") or ""))
    if target.origin() != params.url.origin():
        raise aiohttp.ClientPayloadError(f"{params.url} redirects to another host, {target.origin()}")


def _certificate_variables() -> tuple[str, str]:
    return os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", "")


@lru_cache(maxsize=8)
def _certificates(file: str, folder: str) -> ssl.SSLContext:
    """Verification with the certificates of these variables of OpenSSL, else with those that the system trusts."""
    if file or folder:
        try:
            return ssl.create_default_context(cafile=file or None, capath=folder or None)
        except (OSError, ssl.SSLError) as error:
            name, rule = "SSL_CERT_FILE" if file else "SSL_CERT_DIR", f"its certificates can't be read: {error}"
            raise SettingsError(name, file or folder, rule, variable=name) from error
    import truststore  # noqa: PLC0415 (only https needs it)

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
