"""The server of `ckvd view`: one page on loopback, for whoever has the token in its address.

The standard library's server is enough for one reader and needs no event loop beside those of the queries. It answers
GET alone, to this host's name alone, and runs only the queries of `charts.data`.
"""

from __future__ import annotations

import hmac
import json
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from ckvd_sql.charts.data import ViewData
from ckvd_sql.charts.notebook import asset
from ckvd_sql.errors import CkvdError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ckvd_sql.scan.resolver import Resolver

_HOST = "127.0.0.1"
_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
_PAGE = {
    "": "index.html",
    **{name: name for name in ("app.js", "chart.js", "style.css", "lightweight-charts.js")},
}

# The library of the charts sets styles of its own.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class ViewServer(ThreadingHTTPServer):
    """The server; `serve_forever` runs it.

    Args:
        resolver: The failover.
        symbol: What is shown first; None for the first cached series.
        port: The port; 0 for a free one.

    Attributes:
        url: The address of the page, with its token.
    """

    daemon_threads = True

    def __init__(self, resolver: Resolver, symbol: str | None = None, port: int = 0) -> None:
        super().__init__((_HOST, port), _Handler)
        data = ViewData(resolver, symbol)
        self.token = secrets.token_urlsafe(24)
        self.hosts = {f"{name}:{self.server_port}" for name in (_HOST, "localhost")}
        self.answers: dict[str, Callable[[Mapping[str, str]], dict[str, Any]]] = {
            "api/start": data.start,
            "api/bars": data.bars,
            "api/latest": data.latest,
            "api/cache": data.cache,
            "api/days": data.days,
        }
        self.url = f"http://{_HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a reader that leaves is no failure."""


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        token, _, name = parts.path.removeprefix("/").partition("/")
        if self.headers.get("Host") not in self.server.hosts:
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"another host\n")
        elif not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"not found\n")
        elif name in _PAGE:
            file = _PAGE[name]
            self._send(HTTPStatus.OK, f"{_TYPES[file.rpartition('.')[2]]}; charset=utf-8", asset(file).encode())
        elif name in self.server.answers:
            body = json.dumps(self._answer(name, dict(parse_qsl(parts.query))), separators=(",", ":"))
            self._send(HTTPStatus.OK, "application/json", body.encode())
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"not found\n")

    def _answer(self, name: str, asked: Mapping[str, str]) -> dict[str, Any]:
        try:
            return self.server.answers[name](asked)
        except CkvdError as error:
            return {"error": error.sentence}
        except KeyError as missing:
            return {"error": f"{missing.args[0]} is missing"}

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: stderr is the user's."""
