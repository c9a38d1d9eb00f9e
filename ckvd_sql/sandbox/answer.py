"""The sandbox's HTTP answers as values, and the bodies that several modules share.

Knows neither sockets nor the HTTP server; `server` sends answers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON_HEADERS = {"Content-Type": "application/json;charset=UTF-8"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: status, headers and body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def json_answer(value: Any, status: int = 200) -> Answer:
    """A value serialized as JSON."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Answer(status, JSON_HEADERS, text.encode())


def error_answer(code: int, message: str, status: int = 400) -> Answer:
    """An error in the form of Binance's REST API: `{"code": ..., "msg": ...}`."""
    return json_answer({"code": code, "msg": message}, status)


def no_such_key(path: str) -> Answer:
    """The archive bucket's 404 for a file that does not exist or is not published yet: S3's XML."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message>"
        f"<Key>{escape(path.lstrip('/'))}</Key></Error>"
    )
    return Answer(404, {"Content-Type": "application/xml"}, body.encode())
