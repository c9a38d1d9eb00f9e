"""A stand-in for Binance's hosts that is not the sandbox: it serves what a test gives it, and logs the requests.

Files are served byte for byte, REST rows filtered by the rules of Binance's documents; it generates nothing.
"""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from ckvd_sql.market.series import Market
from tests.support.bars import series, zipped

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.market.periods import Period
    from ckvd_sql.market.series import Series
    from tests.support.bars import Row

ROUTES = {Market.SPOT: "/api/v3/", Market.UM: "/fapi/v1/", Market.CM: "/dapi/v1/"}

_DAY_MS = 86_400_000
_CM_DAYS = 200
_MOST_ROWS = {Market.SPOT: 1000, Market.UM: 1500, Market.CM: 1500}


class StandIn:
    """An HTTP server on loopback for the time of a `with`.

    Args:
        folder: Files that are served at their paths below it, untouched.

    Attributes:
        files: More files, by path.
        rows: The REST rows of each series; a symbol without rows on a market is unknown there.
        requests: The path and query of each request.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.files: dict[str, bytes] = {}
        self.rows: dict[Series, list[Row]] = {}
        self.requests: list[str] = []

    def publish(self, one: Series, period: Period, text: bytes, *, checksum: str | None = None) -> None:
        """Put a CSV into the archive, zipped, with its checksum or a wrong one."""
        stem = one.archive_stem(period)
        self.publish_zip(one, period, zipped(f"{stem}.csv", text), checksum=checksum)

    def publish_zip(self, one: Series, period: Period, body: bytes, *, checksum: str | None = None) -> None:
        """Put a zip into the archive as it is."""
        path = f"/{one.archive_path(period)}"
        digest = checksum or hashlib.sha256(body).hexdigest()
        end = "" if one.market is Market.SPOT else "\n"
        self.files[path] = body
        self.files[f"{path}.CHECKSUM"] = f"{digest}  {one.archive_stem(period)}.zip{end}".encode()

    def asked(self, part: str) -> list[str]:
        """The requests that contain this text."""
        return [request for request in self.requests if part in request]

    def asked_rest(self) -> list[str]:
        """The requests for klines over REST."""
        return self.asked("/klines?")

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that send every request to this server, with one retry and a short timeout."""
        return {**dict.fromkeys(("vision_url", "spot_url", "um_url", "cm_url"), self.url), "retries": 1, "timeout": 10}

    def __enter__(self) -> Self:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stand_in.requests.append(unquote(self.path))
                status, body = stand_in.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, target: str) -> tuple[int, bytes]:
        """The status and body for a path and query."""
        parts = urlsplit(target)
        path = unquote(parts.path)
        body = self.files.get(path)
        if body is not None:
            return 200, body
        for market, route in ROUTES.items():
            if path == f"{route}klines":
                status, value = self._klines(market, dict(parse_qsl(parts.query)))
                return status, json.dumps(value).encode()
        file = self.folder / path.lstrip("/") if self.folder else None
        if file and file.is_file():
            return 200, file.read_bytes()
        return 404, b"<Error><Code>NoSuchKey</Code></Error>"

    def _klines(self, market: Market, asked: dict[str, str]) -> tuple[int, Any]:
        if not any(one.market is market and one.symbol == asked["symbol"] for one in self.rows):
            return 400, {"code": -1121, "msg": "Invalid symbol."}
        limit = int(asked.get("limit", 500))
        if limit > _MOST_ROWS[market] and market is not Market.SPOT:
            return 400, {"code": -1130, "msg": "Data sent for parameter 'limit' is not valid."}
        start, end = int(asked.get("startTime", 0)), int(asked.get("endTime", 10**14))
        bounded = {"startTime", "endTime"} <= asked.keys()
        if market is Market.CM and bounded and end - start > _CM_DAYS * _DAY_MS:
            return 400, {"code": -4088, "msg": "Maximum time interval is 200 days."}
        rows = self.rows.get(series(market, asked["symbol"], asked["interval"]), [])
        chosen = [row for row in rows if start <= row[0] <= end]
        newest = "startTime" not in asked or (market is Market.CM and bounded)
        limit = min(limit, _MOST_ROWS[market])
        return 200, chosen[-limit:] if newest else chosen[:limit]
