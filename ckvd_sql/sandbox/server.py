"""The sandbox's HTTP server on loopback, in a thread of its own or in the foreground.

Does what needs a socket: sends answers, delays them, breaks connections. Does not decide answers: `exchange` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Self

from aiohttp import web

from ckvd_sql.market.periods import moment_of
from ckvd_sql.market.series import Market
from ckvd_sql.sandbox.answer import Answer
from ckvd_sql.sandbox.control import PREFIX, control
from ckvd_sql.sandbox.exchange import Exchange, Request
from ckvd_sql.sandbox.faults import CONNECTION_KINDS, MAX_STALL, REPLACING_KINDS, altered

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from ckvd_sql.sandbox.faults import Fault

HOST = "127.0.0.1"

_LOG = logging.getLogger("ckvd_sql.sandbox")

# Broken connections are on purpose here, so aiohttp's reports of them are dropped.
_SILENT_LOG = logging.getLogger("ckvd_sql.sandbox.aiohttp")
_SILENT_LOG.addHandler(logging.NullHandler())
_SILENT_LOG.propagate = False

_SHUTDOWN_SECONDS = 0.2


class _Handler:
    """Answers HTTP requests from an exchange, with its faults and a latency (seconds)."""

    def __init__(self, exchange: Exchange, latency: float) -> None:
        self._exchange = exchange
        self._latency = latency
        self.stopping = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer any request; log a failure of the sandbox itself."""
        try:
            return await self._handle(request)
        except ConnectionError:
            raise
        except Exception:
            _LOG.exception("the sandbox failed to answer %s", request.path_qs)
            raise

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path, exchange = request.path, self._exchange
        if path.startswith(PREFIX):
            return _response(control(exchange, request.method, path, await request.read()))
        target = f"{path}?{request.query_string}" if request.query_string else path
        faults = exchange.faults.take(target, exchange.clock.now)
        answer = await self._answer(request, target, faults)
        # Logged before it is sent, so that a client that has the answer finds its request in the log.
        exchange.log.add(Request(request.method, path, request.query_string, answer.status))
        await self._pause(self._latency + sum(fault.seconds for fault in faults if fault.kind == "latency"))
        breaking = next((fault for fault in faults if fault.kind in CONNECTION_KINDS), None)
        if breaking is None or request.method == "HEAD":
            return _response(answer)
        return await self._send_broken(request, answer, breaking)

    async def _answer(self, request: web.Request, target: str, faults: tuple[Fault, ...]) -> Answer:
        """The exchange's answer as the faults change it. In a thread: making an archive takes long."""
        exchange, client = self._exchange, request.remote or HOST
        for fault in faults:
            if fault.kind == "weight":
                exchange.meter.use_up(Market(fault.market), client, fault.weight, time.time())
        if request.path.startswith("/data/") and any(fault.kind in REPLACING_KINDS for fault in faults):
            answer = Answer(200, {})  # no archive is made that a fault replaces
        elif request.method in ("GET", "HEAD"):
            anomalies = [fault.name for fault in faults if fault.kind == "anomaly"]
            answer = await asyncio.to_thread(
                exchange.respond, request.path, dict(request.query), client, request.headers, anomalies
            )
        else:
            answer = Answer(405, {"Allow": "GET, HEAD"})
        for fault in faults:
            answer = altered(fault, answer, target)
        for fault in faults:
            if fault.kind == "corrupt" and target.endswith(".CHECKSUM") and answer.status == 200:  # noqa: PLR2004 (OK)
                answer = await asyncio.to_thread(exchange.corrupt_checksum, request.path, answer)
        return answer

    async def _send_broken(self, request: web.Request, answer: Answer, fault: Fault) -> web.StreamResponse:
        """Send an answer over a connection with a fault of `CONNECTION_KINDS`."""
        size = len(answer.body)
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        cut = size // 2 if fault.after is None else fault.after
        response.content_length = cut if fault.kind == "length" else size
        await response.prepare(request)
        if fault.kind == "drip":
            for start in range(0, size, fault.piece):
                await response.write(answer.body[start : start + fault.piece])
                await self._pause(fault.seconds)
            return response
        await response.write(answer.body[:cut])
        transport = request.transport
        if fault.kind == "length" and transport is not None:
            transport.write(answer.body[cut:])  # around aiohttp, which stops at the stated length
        if fault.kind == "stall":
            await self._pause(min(fault.seconds, MAX_STALL))
        if transport is not None and fault.kind == "reset":
            with contextlib.suppress(OSError):
                # With a linger time of zero the kernel closes the connection with RST instead of FIN.
                transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            transport.abort()
        elif transport is not None:
            transport.close()
        return response

    async def _pause(self, seconds: float) -> None:
        """Wait, at most until the server stops."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), seconds)


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


async def _run(
    exchange: Exchange, port: int, latency: float, on_ready: Callable[[str, Callable[[], None]], None]
) -> None:
    """Serve until stopped; `on_ready` is called with the URL and a function that stops the server."""
    handler = _Handler(exchange, latency)
    app = web.Application(logger=_SILENT_LOG)
    app.router.add_route("*", "/{path:.*}", handler.handle)
    runner = web.AppRunner(
        app, access_log=None, logger=_SILENT_LOG, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_SECONDS
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        on_ready(f"http://{HOST}:{runner.addresses[0][1]}", handler.stopping.set)
        await handler.stopping.wait()
    finally:
        await runner.cleanup()


def serve(
    now: object = None,
    port: int = 0,
    replay: str | Path | None = None,
    latency: float = 0.0,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve in the foreground until SIGINT or SIGTERM.

    Args:
        now: The exchange's time: ISO 8601 text, a date, a datetime or µs, and fixed; None for the real time.
        port: The port on 127.0.0.1; 0 for a free one.
        replay: The folder of an archive tree to serve instead of the synthetic market.
        latency: Seconds to wait before each answer.
        on_ready: Called with the URL once requests are answered.

    Raises:
        InvalidTimeError: `now` is no time.
        ValueError: `replay` is no archive tree.
        OSError: The port is in use.
    """
    exchange = Exchange(now, replay)

    def ready(url: str, stop: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        if on_ready is not None:
            on_ready(url)

    asyncio.run(_run(exchange, port, latency, ready))


class Sandbox:
    """An exchange on loopback, served from a thread for the duration of a `with` block.

        with Sandbox(now="2024-06-15T12:00:00") as exchange:
            httpx.get(f"{exchange.url}/api/v3/klines?symbol=BTCUSDT&interval=1h")

    Args:
        now: The exchange's time: ISO 8601 text, a date, a datetime or µs, and fixed; None for the real time.
        port: The port on 127.0.0.1; 0 for a free one.
        replay: The folder of an archive tree to serve instead of the synthetic market.
        latency: Seconds to wait before each answer.

    Raises:
        InvalidTimeError: `now` is no time.
        ValueError: `replay` is no archive tree.
    """

    def __init__(
        self, now: object = None, port: int = 0, replay: str | Path | None = None, latency: float = 0.0
    ) -> None:
        self._exchange = Exchange(now, replay)
        self._port = port
        self._latency = latency
        self._url = ""
        self._stop: Callable[[], None] | None = None
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Start serving.

        Raises:
            OSError: The port is in use.
            RuntimeError: The sandbox is already running.
        """
        if self._thread is not None:
            raise RuntimeError("this sandbox is already running")
        ready = threading.Event()

        def started(url: str, stop: Callable[[], None]) -> None:
            loop = asyncio.get_running_loop()
            self._url, self._stop = url, lambda: _call_in(loop, stop)
            ready.set()

        def run() -> None:
            try:
                asyncio.run(_run(self._exchange, self._port, self._latency, started))
            except BaseException as error:  # noqa: BLE001 (raised in the thread that waits)
                self._failure = error
            finally:
                ready.set()

        self._failure = None
        self._thread = threading.Thread(target=run, name="ckvd-sandbox", daemon=True)
        self._thread.start()
        ready.wait()
        if self._failure is not None:
            failure = self._failure
            self.stop()
            raise failure
        return self

    def stop(self) -> None:
        """Stop serving and close open connections; does nothing if the sandbox is not running."""
        thread, self._thread = self._thread, None
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()
        if thread is not None:
            thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The base URL of the archive (`/data/...`) and REST (`/api/v3/...`, `/fapi/v1/...`, `/dapi/v1/...`)."""
        return self._url

    @property
    def settings(self) -> dict[str, str]:
        """The arguments of `Settings.load` that make the library use this exchange and, if it is fixed, its time."""
        settings = dict.fromkeys(("vision_url", "spot_url", "um_url", "cm_url"), self._url)
        if self._exchange.clock.fixed:
            settings["now"] = moment_of(self.now).isoformat()
        return settings

    @property
    def now(self) -> int:
        """The exchange's time, µs since the epoch."""
        return self._exchange.clock.now

    def set_now(self, now: object) -> None:
        """Set the exchange's time, as the argument `now` does; raises InvalidTimeError."""
        self._exchange.clock.set(now)

    @property
    def requests(self) -> tuple[Request, ...]:
        """The requests answered so far, oldest first, without those to `/sandbox/`; at most 100,000."""
        return self._exchange.log.snapshot()

    def forget(self) -> None:
        """Remove all requests from `requests`."""
        self._exchange.log.clear()

    def add(self, fault: Fault) -> None:
        """Add a fault, which applies to the requests from now on."""
        self._exchange.faults.add(fault)

    def clear_faults(self) -> None:
        """Remove all faults; reset used weights and bans too."""
        self._exchange.clear_faults()


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has already ended
        loop.call_soon_threadsafe(function)
