"""The requests that the sandbox logged: which paths and queries, how many, with which statuses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckvd_sql.sandbox import Sandbox

_REST = re.compile(r"/v[13]/klines")


def asked(exchange: Sandbox, *parts: str) -> list[str]:
    """The paths and queries of the requests that have all these parts."""
    targets = [f"{one.path}?{one.query}" if one.query else one.path for one in exchange.requests]
    return [target for target in targets if all(part in target for part in parts)]


def zips(exchange: Sandbox) -> list[str]:
    """The paths of the zips that were requested."""
    return [one.path for one in exchange.requests if one.path.endswith(".zip")]


def rest_queries(exchange: Sandbox) -> list[str]:
    """The queries of the requests for klines over REST."""
    return [one.query for one in exchange.requests if _REST.search(one.path)]


def rest_statuses(exchange: Sandbox) -> list[int]:
    """The statuses of the answers to requests for klines over REST."""
    return [one.status for one in exchange.requests if _REST.search(one.path)]
