"""The sandbox's control endpoints below `/sandbox/`, for programs that run in another process.

GET, POST, DELETE  /sandbox/faults     list the faults; add one, as JSON of Fault's fields; remove all
GET, DELETE        /sandbox/requests   list the requests answered so far; clear the list
GET, PUT           /sandbox/clock      show the time; set it: {"now": "2024-06-15T12:00:00"}, null for the real time
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from ckvd_sql.market.periods import moment_of
from ckvd_sql.sandbox.answer import Answer, json_answer
from ckvd_sql.sandbox.faults import fault_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckvd_sql.sandbox.exchange import Exchange

PREFIX = "/sandbox/"


def control(exchange: Exchange, method: str, path: str, body: bytes) -> Answer:
    """Carry out a control request.

    Answers 404 for an endpoint that does not exist, and 400 with `{"error": ...}` for a body that is not valid.
    """
    action = _ACTIONS.get((method, path.removeprefix(PREFIX)))
    if action is None:
        return json_answer({"error": f"{method} {path} is not among the sandbox's endpoints"}, 404)
    try:
        return action(exchange, body)
    except ValueError as error:  # from JSON, from Fault or from a time
        return json_answer({"error": str(error)}, 400)


def _list_faults(exchange: Exchange, _body: bytes) -> Answer:
    return json_answer([fault.as_dict() for fault in exchange.faults.faults()])


def _add_fault(exchange: Exchange, body: bytes) -> Answer:
    fault = fault_from(json.loads(body))
    exchange.faults.add(fault)
    return json_answer(fault.as_dict(), 201)


def _clear_faults(exchange: Exchange, _body: bytes) -> Answer:
    exchange.clear_faults()
    return json_answer([])


def _list_requests(exchange: Exchange, _body: bytes) -> Answer:
    return json_answer([dataclasses.asdict(request) for request in exchange.log.snapshot()])


def _clear_requests(exchange: Exchange, _body: bytes) -> Answer:
    exchange.log.clear()
    return json_answer([])


def _show_clock(exchange: Exchange, _body: bytes) -> Answer:
    return json_answer({"now": moment_of(exchange.clock.now).isoformat(), "fixed": exchange.clock.fixed})


def _set_clock(exchange: Exchange, body: bytes) -> Answer:
    value = json.loads(body)
    exchange.clock.set(value.get("now") if isinstance(value, dict) else value)
    return _show_clock(exchange, body)


_ACTIONS: dict[tuple[str, str], Callable[[Exchange, bytes], Answer]] = {
    ("GET", "faults"): _list_faults,
    ("POST", "faults"): _add_fault,
    ("DELETE", "faults"): _clear_faults,
    ("GET", "requests"): _list_requests,
    ("DELETE", "requests"): _clear_requests,
    ("GET", "clock"): _show_clock,
    ("PUT", "clock"): _set_clock,
}
