"""Request weights as Binance counts them: per market, client address and minute, with 429 and then 418 answers.

Takes the real time as an argument and does not know the sandbox's clock: clients wait in real seconds. The rules are
those of Binance's API documents, section "Limits".
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http import HTTPStatus

from ckvd_sql.market.series import Market
from ckvd_sql.sandbox.answer import Answer, error_answer

#: The weight that a client may use in a minute.
BUDGETS: dict[Market, int] = {Market.SPOT: 6000, Market.UM: 2400, Market.CM: 2400}

BAN_SECONDS = 120  # the shortest ban that Binance documents
_REFUSALS_BEFORE_BAN = 10
_MINUTE = 60


@dataclass(slots=True)
class _Account:
    minute: int = 0
    used: int = 0
    refused: int = 0
    banned_until: float = 0.0


class Meter:
    """Counts the weight that each client has used. Safe to use from several threads."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[Market, str], _Account] = {}
        self._lock = threading.Lock()

    def charge(self, market: Market, client: str, weight: int, seconds: float) -> tuple[int, Answer | None]:
        """Charge a call, unless that would exceed the budget.

        Args:
            market: The market whose budget is charged.
            client: The client's address.
            weight: The call's weight.
            seconds: The real time, seconds since the epoch.

        Returns:
            The used weight of this minute, and a 429 or 418 answer if the call is refused.
        """
        with self._lock:
            account = self._account(market, client, seconds)
            if seconds < account.banned_until:
                return account.used, _refusal(HTTPStatus.IM_A_TEAPOT, account.banned_until - seconds)
            if account.used + weight <= BUDGETS[market]:
                account.used += weight
                account.refused = 0
                return account.used, None
            account.refused += 1
            if account.refused > _REFUSALS_BEFORE_BAN:
                account.banned_until = seconds + BAN_SECONDS
                return account.used, _refusal(HTTPStatus.IM_A_TEAPOT, BAN_SECONDS)
            return account.used, _refusal(HTTPStatus.TOO_MANY_REQUESTS, _MINUTE - seconds % _MINUTE)

    def use_up(self, market: Market, client: str, weight: int, seconds: float) -> None:
        """Set the used weight of this minute; arguments as for `charge`."""
        with self._lock:
            self._account(market, client, seconds).used = weight

    def reset(self) -> None:
        """Reset used weights and bans."""
        with self._lock:
            self._accounts.clear()

    def _account(self, market: Market, client: str, seconds: float) -> _Account:
        account = self._accounts.setdefault((market, client), _Account())
        minute = int(seconds // _MINUTE)
        if account.minute != minute:
            account.minute, account.used, account.refused = minute, 0, 0
        return account


def _refusal(status: HTTPStatus, wait: float) -> Answer:
    message = "Too much request weight used; please use WebSocket Streams for live updates to avoid polling the API."
    if status == HTTPStatus.IM_A_TEAPOT:
        message = "Way too much request weight used; IP banned. Please use WebSocket Streams to avoid bans."
    answer = error_answer(-1003, message, int(status))
    return Answer(answer.status, {**answer.headers, "Retry-After": str(max(1, int(-(-wait // 1))))}, answer.body)
