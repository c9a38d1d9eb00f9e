"""A REST answer other than 200 as the exception it means, with a message that says what to do. Pure.

Source of the codes: Binance's API documents, "Error codes" and "Limits".
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ckvd_sql.errors import InvalidSymbolError, ProviderError, ProviderUnavailableError, RateLimitError
from ckvd_sql.market.periods import moment_of
from ckvd_sql.sources.weight import LONGEST_BAN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ckvd_sql.errors import CkvdError
    from ckvd_sql.market.series import Market

_FORBIDDEN, _TOO_MANY_REQUESTS, _BANNED, _RESTRICTED_LOCATION = 403, 429, 418, 451
_REDIRECTS = 3  # hundreds; a REST host that redirects is not the exchange
_SERVER_ERROR = 500

_INVALID_SYMBOL = -1121
_INVALID_SYMBOL_STATUS = -1122

#: Seconds to wait where a 429 or 418 does not say; bans last from 2 minutes to 3 days.
_WAIT_UNSTATED = {_TOO_MANY_REQUESTS: 60.0, _BANNED: 120.0}

#: What a status says; while a wait goes on it is no longer known which one began it.
_ACTIONS = {_BANNED: "has banned this address", _TOO_MANY_REQUESTS: "asks this address to wait"}

_SPOT_HOST = "https://data-api.binance.vision"


class DelistedError(ProviderError):
    """The exchange knows the symbol and no longer serves it. Never leaves the failover."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer with a status other than 200.

    Attributes:
        market: The market whose host answered.
        symbol: The symbol that was asked for; None where none was.
        url: What was asked.
        status: The HTTP status.
        reason: The HTTP reason phrase.
        headers: The headers, whose names ignore case.
        body: The body.
    """

    market: Market
    symbol: str | None
    url: str
    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def wait(self) -> float | None:
        """Seconds for which nothing may be requested from this host (429, 418); None where the exchange allows it."""
        if self.status not in _WAIT_UNSTATED:
            return None
        try:
            seconds = float(self.headers["Retry-After"])
        except (KeyError, ValueError):
            return _WAIT_UNSTATED[self.status]
        return min(max(seconds, 1.0), LONGEST_BAN) if math.isfinite(seconds) else _WAIT_UNSTATED[self.status]

    def error(self, now: float) -> CkvdError:
        """The exception; `now` is in seconds since the epoch."""
        if self.wait is not None:
            return rate_limit_error(self.url, self.status, now + self.wait, now)
        code, text = self._code_and_message()
        market = self.market.value
        if self.symbol is not None and code == _INVALID_SYMBOL:
            rule = f"the exchange has no such symbol on {market}; ckvd_symbols('{market}') lists those it has"
            return InvalidSymbolError("symbol", self.symbol, rule)
        if self.symbol is not None and code == _INVALID_SYMBOL_STATUS:
            return DelistedError(f"{self.symbol} is no longer served on {market}", url=self.url, status=self.status)
        setting, host = f"CKVD_{market.upper()}_URL", urlsplit(self.url).hostname
        if self.status == _RESTRICTED_LOCATION:
            message = (
                f"Binance does not serve this location from {host} (HTTP 451); set {setting} to a host that "
                f"serves yours, for spot market data {_SPOT_HOST}"
            )
        elif self.status == _FORBIDDEN:
            message = (
                f"the firewall of {host} refuses this address (HTTP 403); wait some minutes, or set "
                f"{setting} to another host, for spot market data {_SPOT_HOST}"
            )
        else:
            message = f"{self.url} answered HTTP {self.status}: {text}"
            if self.status < _SERVER_ERROR and self.status // 100 != _REDIRECTS:
                return ProviderError(message, url=self.url, status=self.status)
        return ProviderUnavailableError(message, url=self.url, status=self.status)

    def _code_and_message(self) -> tuple[int | None, str]:
        """Binance's error code and message, where the body is one of its errors; else the reason phrase."""
        try:
            body = json.loads(self.body)
            return int(body["code"]), str(body["msg"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None, self.reason


def rate_limit_error(url: str, status: int | None, until: float, now: float) -> RateLimitError:
    """The error for a host of which nothing may be requested before `until`, in seconds since the epoch."""
    moment = moment_of(int(until * 1_000_000))
    seconds = max(0.0, until - now)
    action = _ACTIONS.get(status or 0, "has banned this address, or asked it to wait,")
    return RateLimitError(
        f"Binance {action} until {moment:%Y-%m-%d %H:%M:%S} UTC, {seconds:.0f} s from now; the days fetched so far are "
        "cached, so the same query goes on from there",
        retry_after=seconds,
        until=moment,
        url=url,
        status=status,
    )
