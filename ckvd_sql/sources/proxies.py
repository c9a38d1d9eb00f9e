"""Which proxy a request goes through: that of the setting, else of the environment, by the same `no_proxy` rules.

The environment is read as by other programs: `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy`, in lower or upper
case. This machine itself (localhost, 127.0.0.0/8, ::1) is always reached directly, as no proxy could.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from ckvd_sql.errors import SettingsError
from ckvd_sql.settings import DIRECT, PROXY_RULE, PROXY_SCHEMES

if TYPE_CHECKING:
    from yarl import URL

_SOCKS = "socks"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.

    Attributes:
        url: Its URL, with user and password.
        named_by: The setting or environment variable that names it.
    """

    url: str
    named_by: str

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS, for which the HTTP client needs another connector."""
        return self.url.startswith(_SOCKS)

    @property
    def shown(self) -> str:
        """The URL without user and password."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def proxy_for(url: URL, setting: str | None) -> Proxy | None:
    """The proxy for a URL, or None where it is reached directly. Raises `SettingsError` for one that can't be used.

    Args:
        url: What is to be requested.
        setting: The setting `proxy`.
    """
    host = url.host or ""
    if setting == DIRECT or _is_this_machine(host):
        return None
    if setting is not None:
        return None if proxy_bypass(f"{host}:{url.port}") else Proxy(setting, "CKVD_PROXY")
    found = getproxies()
    for scheme in (url.scheme, "all"):
        if given := found.get(scheme):
            return None if proxy_bypass(f"{host}:{url.port}") else _checked(given, _variable(scheme))
    return None


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _variable(scheme: str) -> str:
    """The environment variable that names the proxy of a scheme."""
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    return next((name for name in names if os.environ.get(name)), names[1])


def _checked(given: str, variable: str) -> Proxy:
    """A proxy of the environment, where `host:port` stands for `http://host:port`."""
    url = given if "://" in given else f"http://{given}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError("proxy", Proxy(url, variable).shown, PROXY_RULE, variable=variable)
    return Proxy(url, variable)


@dataclass(frozen=True, slots=True)
class Socks:
    """A SOCKS proxy in the terms of `aiohttp_socks`.

    Attributes:
        version: 4 or 5.
        host: Its host.
        port: Its port.
        username: The user's name, if one is given.
        password: The password, if one is given.
        remote_names: Whether the proxy resolves host names, as with `socks5h`; else this machine does.
    """

    version: int
    host: str
    port: int
    username: str | None
    password: str | None
    remote_names: bool

    @classmethod
    def of(cls, proxy: Proxy) -> Socks:
        """The parts of a SOCKS proxy's URL."""
        parts = urlsplit(proxy.url)
        return cls(
            version=int(parts.scheme[len(_SOCKS)]),
            host=parts.hostname or "",
            port=parts.port or 1080,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            remote_names=parts.scheme in ("socks5h", "socks4a"),
        )
