"""What may go wrong with answers of the archive and of REST, as arguments of the sandbox's `Fault`."""

from __future__ import annotations

import json
from typing import Any

#: Patterns of the archive's paths and of REST's.
ARCHIVE = r"/data/.*\.zip"
REST = r"/v[13]/klines"

#: A port of loopback that refuses connections.
NOWHERE = "http://127.0.0.1:9"


def _row(opened: int) -> list[Any]:
    """A row of REST's, of an hour; the time in ms."""
    return [opened, "2.0", "3.0", "1.0", "2.0", "9.0", opened + 3_599_999, "18.0", 5, "4.0", "8.0", "0"]


#: What may go wrong with any answer.
FAULTS: dict[str, dict[str, Any]] = {
    "reset halfway": {"kind": "reset"},
    "reset at once": {"kind": "reset", "after": 0},
    "closed halfway": {"kind": "torn"},
    "stall": {"kind": "stall", "seconds": 60},
    "500": {"kind": "status", "status": 500},
    "502": {"kind": "status", "status": 502, "body": "<html>Bad Gateway</html>"},
    "503": {"kind": "status", "status": 503, "body": '{"code":-1,"msg":"busy"}'},
    "403": {"kind": "status", "status": 403},
    "404": {"kind": "status", "status": 404},
    "451": {"kind": "status", "status": 451, "body": '{"code":0,"msg":"Service unavailable"}'},
    "redirect loop": {"kind": "redirect", "location": "?again"},
    "redirect to nowhere": {"kind": "redirect", "location": "/nowhere"},
    "redirect without a place": {"kind": "redirect", "location": ""},
    "wrong Content-Length": {"kind": "length"},
    "Content-Length of nothing": {"kind": "length", "after": 0},
    "HTML": {"kind": "html"},
    "empty": {"kind": "status", "status": 200},
    "other JSON": {"kind": "status", "status": 200, "body": '{"serverTime":1718452800000}'},
    "gzip that is none": {"kind": "status", "status": 200, "body": "[]", "headers": {"Content-Encoding": "gzip"}},
}  # fmt: skip

ARCHIVE_FAULTS: dict[str, dict[str, Any]] = FAULTS | {
    "damaged zip": {"kind": "corrupt"},
    "wrong checksum": {"kind": "checksum"},
    "zip bomb": {"kind": "anomaly", "name": "zip bomb"},
    "member with a path": {"kind": "anomaly", "name": "member with a path"},
    "numbers that don't parse": {"kind": "anomaly", "name": "no number"},
    "row missing a field": {"kind": "anomaly", "name": "field missing"},
}

REST_FAULTS: dict[str, dict[str, Any]] = FAULTS | {
    "row missing a field": {"kind": "anomaly", "name": "field missing"},
    "numbers that don't parse": {"kind": "anomaly", "name": "no number"},
    "numbers that are none": {"kind": "anomaly", "name": "not finite"},
    "times that are none": {"kind": "anomaly", "name": "no time"},
    "rows of another day": {"kind": "status", "status": 200, "body": json.dumps([_row(1_600_000_000_000)])},
    "rows that contradict": {"kind": "anomaly", "name": "conflicting duplicates"},
    "rows that are no rows": {"kind": "status", "status": 200, "body": '[1,"2",null]'},
    "endless nesting": {"kind": "status", "status": 200, "body": "[" * 100_000},
    "endless number": {"kind": "status", "status": 200, "body": f"[{'9' * 5000}]"},
    "times beyond all": {"kind": "status", "status": 200, "body": json.dumps([_row(2**70)])},
    "429": {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
    "418": {"kind": "status", "status": 418, "headers": {"Retry-After": "1"}},
    "another error": {"kind": "status", "status": 400, "body": '{"code":-1127,"msg":"More than 24 hours."}'},
}  # fmt: skip


def timeout_for(name: str) -> dict[str, Any]:
    """The setting that gives up a stall soon; other faults need none."""
    return {"timeout": 1} if name == "stall" else {}
