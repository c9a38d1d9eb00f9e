"""Answers that are far too long, or packed: given up while they arrive, in little memory, by both clients."""

from __future__ import annotations

import functools
import gzip
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.processes import run_program

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MIB = 1 << 20
ZEROS = bytes(MIB)

#: Requests each kind of file, of which one kind is answered badly; the errors, and the peak of memory in MiB.
PROGRAM = r"""
import json, pathlib, re, sys
given = json.loads(sys.argv[1])
import ckvd_sql
from ckvd_sql import CryptoKlineVisionData
from ckvd_sql.market.series import Market
hosts = dict.fromkeys(("vision_url", "spot_url", "um_url", "cm_url"), given["url"])
data = CryptoKlineVisionData(cache_dir=given["cache"], timeout=2, retries=1, **hosts)
def symbols():
    with ckvd_sql.connect(cache_dir=given["cache"], timeout=2, retries=1, **hosts) as con:
        con.execute("FROM ckvd_symbols()").fetchall()
calls = {
    "checksum": lambda: data.klines("CHECKSUMUSDT", "2024-01-03", "2024-01-04", "1h"),
    "daily": lambda: data.klines("DAILYUSDT", "2024-01-03", "2024-01-04", "1s"),
    "monthly": lambda: data.klines("MONTHLYUSDT", "2023-01-01", "2023-03-01", "1m"),
    "rest": lambda: data.klines("RESTUSDT", "2024-01-03", "2024-01-04", "1m"),
    "symbols": symbols,
}
found = {}
for name, call in calls.items():
    try:
        call()
        found[name] = "no error"
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"
peak = re.search(r"VmHWM:\s*(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]  # not its parent's, as maxrss
print(json.dumps([found, int(peak) >> 10]))
"""


@functools.cache
def packed(times: int) -> bytes:
    """400 MiB of spaces, packed once or more often."""
    packer = zlib.compressobj(9, wbits=31)
    body = b"".join([*(packer.compress(b" " * MIB) for _ in range(400)), packer.flush()])
    for _ in range(times - 1):
        body = gzip.compress(body)
    return body


def endless() -> Iterator[bytes]:
    while True:
        yield ZEROS


#: The headers of each bad answer, and its body in pieces.
BAD: dict[str, tuple[dict[str, str], Any]] = {
    "endless": ({}, endless),
    "2 GiB": ({"Content-Length": str(2 << 30)}, endless),
    "length of 4000 digits": ({"Content-Length": "9" * 4000}, endless),
    "gzip bomb": ({"Content-Encoding": "gzip"}, lambda: [packed(1)]),
    "gzip bomb in gzip": ({"Content-Encoding": "gzip, gzip"}, lambda: [packed(2)]),
    "gzip declared twice": ({"Content-Encoding": "gzip", "content-encoding": "gzip"}, lambda: [packed(2)]),
    "60 MB of lists": ({}, lambda: [b"[", *[b"[]," * 400_000] * 50, b"[]]"]),
    "40 MB of lists": ({}, lambda: [b'{"symbols":[', *[b"[]," * 400_000] * 33, b"[]]}"]),
}


class BadServer:
    """Answers requests for some files badly, and the others as if there were none.

    Attributes:
        url: Its URL.
        encodings: The encodings that requests accepted.
        sent: The most bytes that were sent to one request.
    """

    def __init__(self, headers: dict[str, str], body: Any) -> None:
        bad = self
        self.encodings: set[str | None] = set()
        self.sent = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                bad.encodings.add(self.headers["Accept-Encoding"])
                name = self.path.rpartition("/")[2]
                is_rest = not self.path.startswith("/data/") and ("RESTUSDT" in self.path or "exchangeInfo" in name)
                if is_rest or "CHECKSUMUSDT" in name or (name.endswith(".zip") and "RESTUSDT" not in name):
                    self.send(200, headers, body())
                elif name.endswith(".zip.CHECKSUM") and "RESTUSDT" not in name:
                    text = f"{'a' * 64}  {name.removesuffix('.CHECKSUM')}\n".encode()
                    self.send(200, {"Content-Length": str(len(text))}, [text])
                elif self.path.startswith("/data/"):
                    self.send(404, {"Content-Length": "0"}, [])
                else:
                    self.send(503, {"Content-Length": "0"}, [])

            def send(self, status: int, headers: dict[str, str], body: Iterable[bytes]) -> None:
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()
                sent = 0
                try:
                    for piece in body:
                        self.wfile.write(piece)
                        sent += len(piece)
                except OSError:
                    pass
                bad.sent = max(bad.sent, sent)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.timeout(100)
@pytest.mark.parametrize("kind", BAD)
def test_an_answer_of_any_length_is_given_up_in_little_memory(kind: str, tmp_path: Any) -> None:
    server = BadServer(*BAD[kind])
    try:
        found, peak = run_program(PROGRAM, {"url": server.url, "cache": str(tmp_path)})
    finally:
        server.close()
    for error in found.values():
        assert "Error: " in error
    reason = "which was not asked for" if "gzip" in kind else "too much for what was asked|too many parts|no answer"
    for name in ("rest", "symbols"):
        assert any(part in found[name] for part in reason.split("|")), found[name]
    assert peak < 400
    assert server.sent < 80 * MIB
    assert server.encodings == {"identity"}
    assert not list(tmp_path.rglob("*.arrow"))
