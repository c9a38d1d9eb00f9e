"""Proxies on loopback that take every host for the sandbox: over HTTP and over SOCKS 5, both logging what they get."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from ckvd_sql.sandbox import Sandbox

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class _Serving:
    """Runs a server for the time of a `with`."""

    scheme: str
    _server: socketserver.TCPServer

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """Its URL."""
        return f"{self.scheme}://{self.address}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class HttpProxy(_Serving):
    """An HTTP proxy.

    Attributes:
        requests: The URLs that it was asked for.
        users: The `Proxy-Authorization` of each request, where there is one.
    """

    scheme = "http"

    def __init__(self, exchange: Sandbox) -> None:
        self.requests: list[str] = []
        self.users: list[str | None] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxy.requests.append(self.path)
                proxy.users.append(self.headers.get("Proxy-Authorization"))
                parts = urlsplit(self.path)
                target = f"{exchange.url}{parts.path}" + (f"?{parts.query}" if parts.query else "")
                try:
                    with _DIRECT.open(target) as answer:
                        status, body = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    with error:
                        status, body = error.code, error.read()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


class SocksProxy(_Serving):
    """A SOCKS 5 proxy without authentication.

    Attributes:
        hosts: The host names that it was asked to connect to.
    """

    scheme = "socks5h"

    def __init__(self, exchange: Sandbox) -> None:
        self.hosts: list[str] = []
        proxy = self
        port = urlsplit(exchange.url).port

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                methods = self.rfile.read(2)[1]
                self.rfile.read(methods)
                self.wfile.write(b"\x05\x00")
                kind = self.rfile.read(4)[3]
                assert kind == 3, "not asked by name"
                proxy.hosts.append(self.rfile.read(self.rfile.read(1)[0]).decode())
                self.rfile.read(2)
                self.wfile.write(b"\x05\x00\x00\x01" + socket.inet_aton("127.0.0.1") + struct.pack(">H", port))
                with socket.create_connection(("127.0.0.1", port)) as upstream:
                    back = threading.Thread(target=_copy, args=(upstream, self.connection), daemon=True)
                    back.start()
                    _copy(self.connection, upstream)
                    back.join()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Send what arrives on one socket to another, until either ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
