"""Settings: the cache folder, the sources' URLs, timeouts and limits, converted and validated.

A setting comes from an argument, else from the environment (`CKVD_` and its name in capitals), else from the
default here. Knows neither cache nor sources.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import environ

from ckvd_sql.disk.files import Shared
from ckvd_sql.errors import SettingsError
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.series import Market

if TYPE_CHECKING:
    from collections.abc import Callable

_BOOLEANS = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "": False,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


# A host's name without a scheme, which would be taken for a folder.
_HOST = re.compile(r"[\w-]+(\.[\w-]+)+(:\d+)?(/.*)?")

#: The value of `proxy` for no proxy at all.
DIRECT = "direct"
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h", "socks4", "socks4a")
PROXY_RULE = "a proxy is 'http://host:port', https://, socks5:// (socks5h://, socks4://), or 'direct' for none"

_BUCKET = re.compile(r"[^\s/?#\x00-\x20\x7f]+(/[^\s?#\x00-\x20\x7f]*)?")
_PASSWORD = re.compile(r"//[^/@\s]+@")

# No query, fragment, blank or control character: paths are appended to the URL.
_WEB_URL = re.compile(r"https?://[^\s?#\x00-\x20\x7f]+")


def _without_password(value: Any) -> Any:
    return _PASSWORD.sub("//***@", value) if isinstance(value, str) else value


def _boolean(value: Any) -> bool:
    return _BOOLEANS[str(value).strip().lower()]


_CACHE_RULE = "a folder of this machine; setting lake_url is for buckets, in place of or beside it"
_LAKE_SCHEMES = ("s3", "gs", "az")
LAKE_RULE = "a folder, file:///folder, s3://bucket/folder, gs://bucket/folder or az://container/folder"


def _folder(value: Any) -> Path:
    if "://" in str(value):
        raise SettingsError("cache_dir", _without_password(value), _CACHE_RULE)
    if not str(value).strip() or "\0" in str(value):
        raise ValueError(value)
    return Path(value).expanduser().absolute()


def _lake_url(value: Any) -> str | None:
    """A lake's URL without a slash at the end; a folder as a `file://` URL."""
    if value is None or not str(value).strip():
        return None
    scheme, separator, rest = str(value).partition("://")
    if separator and scheme != "file":
        if scheme not in _LAKE_SCHEMES or not _BUCKET.fullmatch(rest):
            raise ValueError(value)
        return f"{scheme}://{rest.rstrip('/')}"
    folder = url2pathname(urlsplit(str(value)).path) if separator else str(value)
    if separator and urlsplit(str(value)).netloc not in ("", "localhost"):
        raise ValueError(value)
    return _folder(folder).as_uri()


def _web_url(value: Any) -> str:
    parts = urlsplit(str(value))
    if not _WEB_URL.fullmatch(str(value)) or not parts.hostname or parts.port == 0:
        raise ValueError(value)
    return str(value).rstrip("/")


def _proxy(value: Any) -> str | None:
    if value is None or not str(value).strip():
        return None
    url = str(value).strip()
    parts = urlsplit(url)
    if url != DIRECT and (parts.scheme not in PROXY_SCHEMES or not parts.hostname or parts.port == 0):
        raise ValueError(value)
    return url


def _any_url(value: Any) -> str:
    url = str(value)
    scheme, separator, rest = url.partition("://")
    if scheme in {"http", "https"}:
        return _web_url(url)
    if separator:
        from fsspec.registry import known_implementations  # noqa: PLC0415 (slow, and needed for other schemes alone)

        if scheme not in known_implementations or not rest:
            raise ValueError(value)
    if not url.strip() or "\0" in url or (_HOST.fullmatch(url) and not Path(url).exists()):
        raise ValueError(value)
    return url.rstrip("/") or "/"


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not 0 < seconds <= 3600:  # noqa: PLR2004 (an hour)
        raise ValueError(value)
    return seconds


def _count(low: int, high: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        count = int(str(value))
        if not low <= count <= high:
            raise ValueError(value)
        return count

    return convert


def _one_of(*choices: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if value not in choices:
            raise ValueError(value)
        return str(value)

    return convert


def _instant(value: Any) -> int | None:
    return None if value is None or value == "" else parse_time(value, "now")


def _setting(name: str, default: Any, convert: Callable[[Any], Any], allowed: str) -> Any:
    """An attribute of `Settings`, whose error names the setting and the values that are allowed."""

    def converter(value: Any) -> Any:
        try:
            return convert(value)
        except SettingsError:
            raise
        except (ValueError, TypeError, KeyError, RuntimeError, OverflowError):
            raise SettingsError(name, _without_password(value), allowed) from None

    return environ.var(default=default, converter=converter)


@environ.config(prefix="CKVD", frozen=True)
class Settings:
    """All settings, converted and validated.

    Use `Settings.load`. The class itself converts its arguments too, but does not read the environment.

    Attributes:
        cache_dir: The folder of the day files.
        cache_shared: Who else may write into it, whatever the umask: `off`, the folder's `group`, or `all`, as `group`
            with everybody else reading.
        lake_url: The lake, Parquet files beside the cache that machines and other programs may share: a folder, or a
            `file://`, `s3://`, `gs://` or `az://` URL; None for none.
        lake_write: Whether periods that the lake lacks are written to it once the cache has them whole.
        sources: Where days that neither cache nor lake have come from: `all`, or the `archive` alone, for many
            machines behind one address, whose REST budget they would share.
        vision_url: The archive: an fsspec URL (https, a folder, s3://...) that contains `data/`.
        spot_url: The REST host of the spot market. The default is Binance's host for market data, without API keys.
        um_url: The REST host of USDT-margined futures.
        cm_url: The REST host of coin-margined futures.
        checksum: What to do with an archive file whose published checksum is wrong for good and whose days REST can't
            serve: `strict` raises `ChecksumError`, `warn` uses it and records that in the metadata of its days. With
            `warn` it is also used for a day of more bars than a REST call gives, if one call finds a sample equal.
        offline: Whether to use the cache alone, without network access.
        mmap: Whether day files are mapped; else they are read into memory, which is slower and survives that another
            program truncates a file of the cache while it is used.
        concurrency: The most concurrent requests of a query, 1 to 64.
        timeout: Seconds that a connection may stay silent, above 0 and at most 3600; a whole request may take ten
            times as long. Another process that holds a lock may stay silent as long, and at least 3 s.
        retries: How often a failed request is retried, 0 to 10.
        proxy: The URL of the proxy for archive and REST, or `direct` for none; None for that of the environment
            (`https_proxy`, `all_proxy`). `no_proxy` holds for all. SOCKS needs the extra `socks`.
        progress: Whether a query that fetches for longer than a second shows its progress.
        now: A fixed time (µs since the epoch) for replays and tests; None for the real time.
    """

    cache_dir: Path = _setting("cache_dir", "~/.cache/ckvd", _folder, "a folder")
    cache_shared: Shared = _setting("cache_shared", "off", Shared, "'off', 'group' or 'all'")
    lake_url: str | None = _setting("lake_url", None, _lake_url, LAKE_RULE)
    lake_write: bool = _setting("lake_write", "0", _boolean, "1 or 0")
    sources: str = _setting("sources", "all", _one_of("all", "archive"), "'all' or 'archive'")
    vision_url: str = _setting(
        "vision_url",
        "https://data.binance.vision",
        _any_url,
        "an https URL such as https://data.binance.vision, a folder or another fsspec URL",
    )
    spot_url: str = _setting("spot_url", "https://data-api.binance.vision", _web_url, "an http or https URL")
    um_url: str = _setting("um_url", "https://fapi.binance.com", _web_url, "an http or https URL")
    cm_url: str = _setting("cm_url", "https://dapi.binance.com", _web_url, "an http or https URL")
    checksum: str = _setting("checksum", "strict", _one_of("strict", "warn"), "'strict' or 'warn'")
    offline: bool = _setting("offline", "0", _boolean, "1 or 0")
    mmap: bool = _setting("mmap", "1", _boolean, "1 or 0")
    concurrency: int = _setting("concurrency", 8, _count(1, 64), "a whole number from 1 to 64")
    timeout: float = _setting("timeout", 30.0, _seconds, "seconds, above 0 and at most 3600")
    retries: int = _setting("retries", 3, _count(0, 10), "a whole number from 0 to 10")
    proxy: str | None = _setting("proxy", None, _proxy, PROXY_RULE)
    progress: bool = _setting("progress", "1", _boolean, "1 or 0")
    now: int | None = _setting("now", None, _instant, "a time in UTC such as 2024-06-01 or 2024-06-01T12:00:00")

    @classmethod
    def load(cls, **arguments: Any) -> Settings:
        """Settings from arguments, else the environment, else the defaults.

        Args:
            **arguments: The attributes by name, as text or as values of their types; None is as if not given.

        Raises:
            SettingsError: A setting does not exist, or its value is not valid.
        """
        names = [field.name for field in cls.__attrs_attrs__]  # type: ignore[attr-defined]
        for name, value in arguments.items():
            if name not in names:
                raise SettingsError(name, value, f"there are only {', '.join(names)}")
        given = {f"CKVD_{name.upper()}": value for name, value in arguments.items() if value is not None}
        return environ.to_config(cls, {**os.environ, **given})

    @property
    def patience(self) -> float:
        """The seconds that one request may take as a whole, even while it still receives data."""
        return 10 * self.timeout

    def clock(self) -> int:
        """The current or fixed time, µs since the epoch."""
        return time.time_ns() // 1000 if self.now is None else self.now

    def rest_url(self, market: Market) -> str:
        """The URL of a market's REST host, without a slash at the end."""
        return {Market.SPOT: self.spot_url, Market.UM: self.um_url, Market.CM: self.cm_url}[market]
