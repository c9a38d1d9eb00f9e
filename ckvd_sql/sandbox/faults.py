"""Faults on request: what can go wrong between an exchange and its client, and for which and how many requests.

Decides which faults a request meets and how they change an answer. Knows no sockets: `server` does what needs one.
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

#: Each kind of fault, with what it does; words in backticks are fields of `Fault`.
KINDS: dict[str, str] = {
    "latency": "waits `seconds` before answering",
    "status": "answers with `status`, `headers` and `body` instead",
    "reset": "resets the connection after `after` bytes of the body (default: half of them)",
    "torn": "closes the connection after `after` bytes (default: half of the body); Content-Length states the whole",
    "length": "states `after` bytes (default: half of the body) in Content-Length, but sends the whole body",
    "stall": "stops after `after` bytes for `seconds` (at most 60) or until the client disconnects, then closes",
    "drip": "sends `piece` bytes every `seconds`",
    "checksum": "changes the hash in a .CHECKSUM file",
    "corrupt": "changes bytes of a zip, and its .CHECKSUM to match them",
    "anomaly": "applies the anomaly `name`, one of `ANOMALIES`, to a zip, and changes its .CHECKSUM to match; to REST "
    "klines too, where `path` matches them",
    "html": "answers with an HTML page and status 200, as a captive portal does",
    "redirect": "redirects to `location`",
    "weight": "sets the used weight of `market` to `weight`",
}

#: The kinds that change how the body is sent; the connection ends with them.
CONNECTION_KINDS = ("reset", "torn", "length", "stall", "drip")

#: The kinds whose answer has nothing of the exchange's own.
REPLACING_KINDS = ("status", "html", "redirect")
#: The kinds that combine with any other fault; of the others a request meets one.
_COMBINABLE_KINDS = ("latency", "weight", "anomaly")
#: The kinds that change a zip and its checksum alike.
_FILE_KINDS = ("corrupt", "anomaly")

MAX_STALL = 60.0  # seconds

_PORTAL = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body>Please sign in to the network.</body></html>"
_CHECKSUM = ".CHECKSUM"
_KLINES = tuple(f"{prefix}klines" for prefix in PREFIXES)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: which requests meet it, what it does and how often. Refuses values that could never fire.

    Attributes:
        path: A regular expression, searched for in the decoded path and query.
        kind: One of `KINDS`.
        times: The number of requests that meet it; None for all.
        status: For `status` and `redirect` (where it is 302 unless set to another 3xx).
        body: For `status`.
        headers: For `status`, such as `{"Retry-After": "3"}`.
        seconds: For `latency`, `stall` and `drip`.
        after: For `reset`, `torn`, `length` and `stall`: the bytes before it happens; None for half of the body.
        piece: For `drip`: the bytes per write.
        location: For `redirect`: a URL or path.
        market: For `weight`: `spot`, `um` or `cm`.
        weight: For `weight`: the used weight of this minute.
        name: For `anomaly`: one of `ANOMALIES`.
        until: The exchange's time from which it no longer fires, such as when a file is replaced; ISO 8601.

    Raises:
        ValueError: A field's value is not accepted.
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
        """Validate the fields."""
        if self.kind not in KINDS:
            raise ValueError(f"a fault's kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.times is not None and self.times < 1:
            raise ValueError("a fault's times must be at least 1, or None for every request")
        if self.seconds < 0 or self.piece < 1 or (self.after is not None and self.after < 0):
            raise ValueError("a fault's seconds and after must not be negative, and its piece must be at least 1")
        if self.kind == "anomaly" and self.name not in ANOMALIES:
            raise ValueError(f"an anomaly's name must be one of {', '.join(ANOMALIES)}, not {self.name!r}")
        if self.until:
            parse_time(self.until, "until")
        Market(self.market)
        try:
            re.compile(self.path)
        except re.error as error:
            raise ValueError(f"a fault's path must be a regular expression: {error}") from None

    def meets(self, target: str) -> bool:
        """Whether a request for this decoded path and query meets the fault, its count and `until` aside."""
        path = target.partition("?")[0]
        if self.kind == "checksum" and not path.endswith(_CHECKSUM):
            return False
        if self.kind in _FILE_KINDS and not (self.kind == "anomaly" and path.startswith(_KLINES)):
            if not path.endswith((".zip", f".zip{_CHECKSUM}")):
                return False
            target = target.removesuffix(_CHECKSUM)  # a zip's checksum changes whenever the zip does
        return re.search(self.path, target) is not None

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {**dataclasses.asdict(self), "headers": dict(self.headers)}


def fault_from(value: object) -> Fault:
    """A fault from the JSON object of its fields; raises ValueError for anything else."""
    if not isinstance(value, dict):
        raise ValueError("a fault must be a JSON object with at least path and kind")  # noqa: TRY004 (bad data, not a bad call)
    names = {each.name for each in dataclasses.fields(Fault)}
    unknown = set(value) - names
    if unknown:
        raise ValueError(f"a fault has no {', '.join(sorted(map(str, unknown)))}; it has {', '.join(sorted(names))}")
    try:
        return Fault(**value)
    except TypeError as error:
        raise ValueError(f"these fields make no fault: {error}") from None


@dataclass(slots=True)
class _Entry:
    """A fault and how often it will still fire."""

    fault: Fault
    left: dict[bool, int] = field(default_factory=dict)

    def fires(self, target: str, now: int) -> bool:
        """Whether the fault fires for this request; counts it."""
        expired = self.fault.until and now >= parse_time(self.fault.until, "until")
        if expired or not self.fault.meets(target):
            return False
        if self.fault.times is None:
            return True
        # A zip and its checksum are two requests for one file, so each has a count of its own.
        checksum = self.fault.kind in _FILE_KINDS and target.endswith(_CHECKSUM)
        left = self.left.setdefault(checksum, self.fault.times)
        self.left[checksum] = max(0, left - 1)
        return left > 0


class FaultBook:
    """The active faults, in the order in which they were added. Safe to use from several threads."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Add a fault."""
        with self._lock:
            self._entries.append(_Entry(fault))

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._entries.clear()

    def faults(self) -> tuple[Fault, ...]:
        """All faults, those included that will not fire again."""
        with self._lock:
            return tuple(entry.fault for entry in self._entries)

    def take(self, target: str, now: int) -> tuple[Fault, ...]:
        """The faults that a request meets: every latency, weight and anomaly, and the first of the others.

        Args:
            target: The request's decoded path and query.
            now: The exchange's time, µs.
        """
        taken: list[Fault] = []
        exclusive = False
        with self._lock:
            for entry in self._entries:
                combinable = entry.fault.kind in _COMBINABLE_KINDS
                if (combinable or not exclusive) and entry.fires(target, now):
                    taken.append(entry.fault)
                    exclusive |= not combinable
        return tuple(taken)


def altered(fault: Fault, answer: Answer, target: str) -> Answer:
    """The answer as a fault changes it; unchanged by the kinds that act on the connection or the data."""
    match fault.kind:
        case "status":
            kind = "application/json" if fault.body.startswith(("{", "[")) else "text/html"
            return Answer(fault.status, {"Content-Type": kind, **fault.headers}, fault.body.encode())
        case "html":
            return Answer(200, {"Content-Type": "text/html"}, _PORTAL)
        case "redirect":
            status = fault.status if 300 <= fault.status < 400 else 302  # noqa: PLR2004 (the 3xx)
            return Answer(status, {**fault.headers, "Location": fault.location})
        case "checksum" if answer.status == 200:  # noqa: PLR2004 (OK)
            first = b"1" if answer.body[:1] == b"0" else b"0"
            return Answer(200, answer.headers, first + answer.body[1:])
        case "corrupt" if answer.status == 200 and not target.endswith(_CHECKSUM):  # noqa: PLR2004 (OK)
            return Answer(200, answer.headers, corrupted(answer.body))
    return answer


def corrupted(body: bytes) -> bytes:
    """A zip with bytes in its middle changed: its directory can be read, its member can't."""
    start = len(body) // 2
    end = min(start + 16, len(body))
    return body[:start] + bytes(byte ^ 0xFF for byte in body[start:end]) + body[end:]
