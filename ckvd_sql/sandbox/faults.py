"""Faults on request: what can go wrong between an exchange and its client, when it does, and how often.

Decides which faults a request meets and what they make of an answer; `server` does what needs a socket.
"""

from __future__ import annotations

import dataclasses
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.series import Market
from ckvd_sql.sandbox.anomalies import ANOMALIES
from ckvd_sql.sandbox.answer import Answer
from ckvd_sql.sandbox.rest import PREFIXES

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Each kind of fault, and what it does.
KINDS: dict[str, str] = {
    "latency": "waits `seconds` before answering",
    "status": "answers with `status`, `headers` and `body` instead",
    "reset": "resets the connection after `after` bytes of the body (default: half of them)",
    "torn": "closes the connection after `after` bytes, though Content-Length announced them all",
    "length": "announces `after` bytes (default: half of the body) in Content-Length, though it sends them all",
    "stall": "stops after `after` bytes for `seconds` (at most 60) or until the client gives up, then closes",
    "drip": "sends `piece` bytes every `seconds`",
    "checksum": "changes the hash in a .CHECKSUM file",
    "corrupt": "changes bytes of a zip, and its .CHECKSUM to match them",
    "anomaly": "changes a zip as `name` of `anomalies.ANOMALIES` says, and its .CHECKSUM to match it; klines that REST "
    "answers likewise, where `path` meets them too",
    "html": "answers with a page of HTML and status 200, as a captive portal does",
    "redirect": "redirects to `location`",
    "weight": "sets the used weight of `market` to `weight`",
}

MOST_STALL = 60.0

_PAGE = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body>Please sign in to the network.</body></html>"
_TAG = ".CHECKSUM"
_KLINES = tuple(f"{prefix}klines" for prefix in PREFIXES)

_MILD = ("latency", "weight", "anomaly")  # these go together with any other fault
_PUBLISHED = ("corrupt", "anomaly")  # these are in a zip and in its checksum


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        path: A regular expression, searched for in the decoded path with its query.
        kind: One of `KINDS`.
        times: How many requests meet it; None for all.
        until: The exchange's time from which nobody meets it any more, such as when a file is replaced; ISO 8601.
        status: For `status` and `redirect` (there 302 unless set to another 3xx).
        body: For `status`.
        headers: For `status`, such as `{"Retry-After": "3"}`.
        seconds: For `latency`, `stall` and `drip`.
        after: For `reset`, `torn`, `length` and `stall`: bytes sent before; None for half of the body.
        piece: For `drip`: bytes at a time.
        location: For `redirect`.
        market: For `weight`.
        weight: For `weight`.
        name: For `anomaly`.
    """

    path: str
    kind: str
    times: int | None = None
    status: int = 503
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    seconds: float = 1.0
    after: int | None = None
    piece: int = 1024
    location: str = "/"
    market: str = "spot"
    weight: int = 6000
    name: str = ""
    until: str = ""

    def __post_init__(self) -> None:
        """Refuse what could never fire, with a ValueError."""
        if self.kind not in KINDS:
            raise ValueError(f"a fault's kind is one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.times is not None and self.times < 1:
            raise ValueError("a fault fires at least once, or for ever if times is None")
        if self.seconds < 0 or self.piece < 1 or (self.after is not None and self.after < 0):
            raise ValueError("a fault's seconds and after are not negative, and its piece is at least 1")
        if self.kind == "anomaly" and self.name not in ANOMALIES:
            raise ValueError(f"an anomaly's name is one of {', '.join(ANOMALIES)}, not {self.name!r}")
        if self.until:
            parse_time(self.until, "until")
        Market(self.market)
        try:
            re.compile(self.path)
        except re.error as error:
            raise ValueError(f"a fault's path is a regular expression: {error}") from None

    def meets(self, target: str) -> bool:
        """Whether a request for this path and query meets the fault."""
        path = target.partition("?")[0]
        if self.kind == "checksum":
            return path.endswith(_TAG) and re.search(self.path, target) is not None
        if self.kind == "anomaly" and path.startswith(_KLINES):
            return re.search(self.path, target) is not None
        if self.kind in _PUBLISHED:
            # What is wrong with a zip is wrong with its checksum too.
            return (
                path.endswith((".zip", f".zip{_TAG}")) and re.search(self.path, target.removesuffix(_TAG)) is not None
            )
        return re.search(self.path, target) is not None

    def as_dict(self) -> dict[str, Any]:
        """The fields, as JSON has them."""
        return {**dataclasses.asdict(self), "headers": dict(self.headers)}


def fault_from(value: object) -> Fault:
    """A fault from its fields in JSON; raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError("a fault is a JSON object with at least path and kind")  # noqa: TRY004 (bad data, not a bad call)
    names = {one.name for one in dataclasses.fields(Fault)}
    unknown = set(value) - names
    if unknown:
        raise ValueError(f"a fault has no {', '.join(sorted(map(str, unknown)))}; it has {', '.join(sorted(names))}")
    try:
        return Fault(**value)
    except TypeError as error:
        raise ValueError(f"a fault can't be made of this: {error}") from None


@dataclass(slots=True)
class _Entry:
    fault: Fault
    left: dict[str, int] = field(default_factory=dict)

    def fires(self, target: str, now: int) -> bool:
        """Whether the fault fires now; counts it. Zips and checksums are counted apart, for they come in pairs."""
        over = self.fault.until and now >= parse_time(self.fault.until, "until")
        if over or not self.fault.meets(target):
            return False
        if self.fault.times is None:
            return True
        pair = "sum" if self.fault.kind in _PUBLISHED and target.endswith(_TAG) else "all"
        left = self.left.setdefault(pair, self.fault.times)
        self.left[pair] = max(0, left - 1)
        return left > 0


class FaultBook:
    """The faults that are asked for, in the order of asking."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Ask for a fault."""
        with self._lock:
            self._entries.append(_Entry(fault))

    def clear(self) -> None:
        """Ask for none."""
        with self._lock:
            self._entries.clear()

    def faults(self) -> tuple[Fault, ...]:
        """The faults, spent ones included."""
        with self._lock:
            return tuple(entry.fault for entry in self._entries)

    def take(self, target: str, now: int) -> tuple[Fault, ...]:
        """The faults that a request meets: every latency, weight and anomaly, and the first of the others."""
        taken: list[Fault] = []
        spoiled = False
        with self._lock:
            for entry in self._entries:
                mild = entry.fault.kind in _MILD
                if (mild or not spoiled) and entry.fires(target, now):
                    taken.append(entry.fault)
                    spoiled |= not mild
        return tuple(taken)


def altered(fault: Fault, answer: Answer, target: str) -> Answer:
    """What a fault makes of an answer, as far as the answer itself is concerned."""
    match fault.kind:
        case "status":
            kind = "application/json" if fault.body.startswith(("{", "[")) else "text/html"
            return Answer(fault.status, {"Content-Type": kind, **fault.headers}, fault.body.encode())
        case "html":
            return Answer(200, {"Content-Type": "text/html"}, _PAGE)
        case "redirect":
            status = fault.status if 300 <= fault.status < 400 else 302  # noqa: PLR2004 (the 3xx)
            return Answer(status, {**fault.headers, "Location": fault.location})
        case "checksum" if answer.status == 200:  # noqa: PLR2004 (OK)
            first = b"1" if answer.body[:1] == b"0" else b"0"
            return Answer(200, answer.headers, first + answer.body[1:])
        case "corrupt" if answer.status == 200 and not target.endswith(_TAG):  # noqa: PLR2004 (OK)
            return Answer(200, answer.headers, corrupted(answer.body))
    return answer


def corrupted(body: bytes) -> bytes:
    """A zip with bytes in its middle changed: still a zip by its ends, but its member can't be read."""
    start = len(body) // 2
    end = min(start + 16, len(body))
    return body[:start] + bytes(byte ^ 0xFF for byte in body[start:end]) + body[end:]
