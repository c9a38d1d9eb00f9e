"""Settings: where things are, and how hard to try.

A setting comes from an argument, else from the environment (`CKVD_` and its name in capitals), else from the
default here. This module knows no client and no cache; it only says where they are.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import environ

from ckvd_sql.errors import SettingsError
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.series import Market

if TYPE_CHECKING:
    from collections.abc import Callable

_TRUTH = {
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


# No query, fragment, blank or control character: what follows the host is a path.
_WEB_URL = re.compile(r"https?://[^\s?#\x00-\x20\x7f]+")


def _truth(value: Any) -> bool:
    return _TRUTH[str(value).strip().lower()]


def _folder(value: Any) -> Path:
    if not str(value).strip() or "\0" in str(value):
        raise ValueError(value)
    return Path(value).expanduser().absolute()


def _web_url(value: Any) -> str:
    parts = urlsplit(str(value))
    if not _WEB_URL.fullmatch(str(value)) or not parts.hostname or parts.port == 0:
        raise ValueError(value)
    return str(value).rstrip("/")


def _any_url(value: Any) -> str:
    url = str(value)
    scheme, mark, rest = url.partition("://")
    if scheme in {"http", "https"}:
        return _web_url(url)
    if mark:
        from fsspec.registry import known_implementations  # noqa: PLC0415 (a mirror or a bucket; rare, and not free)

        if scheme not in known_implementations or not rest:
            raise ValueError(value)
    if not url.strip() or "\0" in url:
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


def _one_of(*words: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if value not in words:
            raise ValueError(value)
        return str(value)

    return convert


def _instant(value: Any) -> int | None:
    return None if value is None or value == "" else parse_time(value, "now")


def _setting(name: str, default: Any, convert: Callable[[Any], Any], allowed: str) -> Any:
    """An attribute of `Settings` whose refusal names the setting and says what is allowed."""

    def converter(value: Any) -> Any:
        try:
            return convert(value)
        except (ValueError, TypeError, KeyError, RuntimeError, OverflowError):
            raise SettingsError(name, value, allowed) from None

    return environ.var(default=default, converter=converter)


@environ.config(prefix="CKVD", frozen=True)
class Settings:
    """All settings, checked and converted.

    `Settings.load` makes one; called by its name the class takes what it is given, and looks at no environment.

    Attributes:
        cache_dir: The folder of the day files.
        vision_url: The archive: any fsspec URL (https, a folder, s3://...) below which `data/` begins.
        spot_url: REST host of the spot market. The default is Binance's keyless host for market data.
        um_url: REST host of USDT-margined futures.
        cm_url: REST host of coin-margined futures.
        checksum: What to do with an archive whose published checksum is wrong and whose days REST can't serve:
            `strict` raises `ChecksumError`, `warn` uses them and says so in the day's metadata.
        offline: Ask nothing of the network, whatever the query.
        concurrency: Requests under way at once, per query.
        timeout: Seconds that a connection may stay silent; a whole request may take ten times as long.
        retries: How often a failed request is tried again.
        now: A fixed clock (microseconds since the epoch) for replays and tests; None is the real one.
    """

    cache_dir: Path = _setting("cache_dir", "~/.cache/ckvd", _folder, "a folder")
    vision_url: str = _setting(
        "vision_url", "https://data.binance.vision", _any_url, "an https URL, a folder or another fsspec URL"
    )
    spot_url: str = _setting("spot_url", "https://data-api.binance.vision", _web_url, "an http or https URL")
    um_url: str = _setting("um_url", "https://fapi.binance.com", _web_url, "an http or https URL")
    cm_url: str = _setting("cm_url", "https://dapi.binance.com", _web_url, "an http or https URL")
    checksum: str = _setting("checksum", "strict", _one_of("strict", "warn"), "'strict' or 'warn'")
    offline: bool = _setting("offline", "0", _truth, "1 or 0")
    concurrency: int = _setting("concurrency", 8, _count(1, 64), "a whole number from 1 to 64")
    timeout: float = _setting("timeout", 30.0, _seconds, "seconds, above 0 and at most 3600")
    retries: int = _setting("retries", 3, _count(0, 10), "a whole number from 0 to 10")
    now: int | None = _setting("now", None, _instant, "a time in UTC such as 2024-06-01 or 2024-06-01T12:00:00")

    @classmethod
    def load(cls, **arguments: Any) -> Settings:
        """Settings from arguments, then the environment, then the defaults. Raises `SettingsError`.

        An argument of None counts as not given.
        """
        names = [field.name for field in cls.__attrs_attrs__]  # type: ignore[attr-defined]
        for name, value in arguments.items():
            if name not in names:
                raise SettingsError(name, value, f"there are only {', '.join(names)}")
        given = {f"CKVD_{name.upper()}": value for name, value in arguments.items() if value is not None}
        return environ.to_config(cls, {**os.environ, **given})

    @property
    def patience(self) -> float:
        """Seconds that one request may take in all, however much it drips."""
        return 10 * self.timeout

    def clock(self) -> int:
        """Now, in microseconds since the epoch."""
        return time.time_ns() // 1000 if self.now is None else self.now

    def rest_url(self, market: Market) -> str:
        """The REST host of a market."""
        return {Market.SPOT: self.spot_url, Market.UM: self.um_url, Market.CM: self.cm_url}[market]
