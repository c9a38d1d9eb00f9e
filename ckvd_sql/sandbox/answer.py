"""What the sandbox answers: status, headers and body as one value, and the bodies that several rooms share.

Knows nothing of sockets; `server` puts answers on the wire.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def json_answer(value: Any, status: int = 200) -> Answer:
    """A value as JSON."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Answer(status, {"Content-Type": "application/json;charset=UTF-8"}, text.encode())


def error_answer(code: int, message: str, status: int = 400) -> Answer:
    """An error as Binance's REST interface words it."""
    return json_answer({"code": code, "msg": message}, status)


def no_such_key(path: str) -> Answer:
    """What the archive's bucket says of a file that is not there, or not yet."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message>"
        f"<Key>{escape(path.lstrip('/'))}</Key></Error>"
    )
    return Answer(404, {"Content-Type": "application/xml"}, body.encode())
