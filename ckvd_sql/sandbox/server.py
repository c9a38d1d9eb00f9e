"""The sandbox on the wire: an HTTP server on loopback, in a thread of its own or in the foreground.

Does what needs a socket: answering, waiting, tearing connections. What is answered is `exchange`'s business.
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
from ckvd_sql.sandbox.faults import MOST_STALL, altered

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from ckvd_sql.sandbox.faults import Fault

HOST = "127.0.0.1"

_LOG = logging.getLogger("ckvd_sql.sandbox")

# Torn connections are this server's trade; aiohttp need not report them.
_QUIET = logging.getLogger("ckvd_sql.sandbox.aiohttp")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False

_PATIENCE_AT_END = 0.2


class _Wire:
    """Takes requests to the exchange and its answers back, as faults allow."""

    def __init__(self, exchange: Exchange, latency: float) -> None:
        self._exchange = exchange
        self._latency = latency
        self.stopping = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer any request."""
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
        client = request.remote or HOST
        faults = exchange.faults.take(target, exchange.clock.now)
        for fault in faults:
            if fault.kind == "weight":
                exchange.meter.use_up(Market(fault.market), client, fault.weight, time.time())
        if request.method in ("GET", "HEAD"):
            anomalies = [fault.name for fault in faults if fault.kind == "anomaly"]
            answer = await asyncio.to_thread(
                exchange.respond, path, dict(request.query), client, request.headers, anomalies
            )
        else:
            answer = Answer(405, {"Allow": "GET, HEAD"})
        for fault in faults:
            answer = altered(fault, answer, target)
        for fault in faults:
            if fault.kind == "corrupt" and target.endswith(".CHECKSUM") and answer.status == 200:  # noqa: PLR2004 (OK)
                answer = await asyncio.to_thread(exchange.corrupt_checksum, path, answer)
        # Noted before it is sent: who has the answer finds the request in the log.
        exchange.log.add(Request(request.method, path, request.query_string, answer.status))
        await self._pause(self._latency + sum(fault.seconds for fault in faults if fault.kind == "latency"))
        rough = next((fault for fault in faults if fault.kind in ("reset", "torn", "length", "stall", "drip")), None)
        if rough is None or request.method == "HEAD":
            return _response(answer)
        return await self._roughly(request, answer, rough)

    async def _roughly(self, request: web.Request, answer: Answer, fault: Fault) -> web.StreamResponse:
        """Send an answer as a bad connection would."""
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
            transport.write(answer.body[cut:])  # past aiohttp, which would keep to what it announced
        if fault.kind == "stall":
            await self._pause(min(fault.seconds, MOST_STALL))
        if transport is not None and fault.kind == "reset":
            with contextlib.suppress(OSError):
                # Lingering for no time makes the kernel send a reset instead of an orderly end.
                transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            transport.abort()
        elif transport is not None:
            transport.close()
        return response

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the server's end."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), seconds)


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


async def _run(
    exchange: Exchange, port: int, latency: float, on_ready: Callable[[str, Callable[[], None]], None]
) -> None:
    """Serve until the function given to `on_ready` beside the URL is called."""
    wire = _Wire(exchange, latency)
    app = web.Application(logger=_QUIET)
    app.router.add_route("*", "/{path:.*}", wire.handle)
    runner = web.AppRunner(
        app, access_log=None, logger=_QUIET, handler_cancellation=True, shutdown_timeout=_PATIENCE_AT_END
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        on_ready(f"http://{HOST}:{runner.addresses[0][1]}", wire.stopping.set)
        await wire.stopping.wait()
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
        now: The exchange's time; None for the real one.
        port: The port on 127.0.0.1; 0 for a free one.
        replay: A folder to replay instead of the synthetic market.
        latency: Seconds to wait before each answer.
        on_ready: Called with the URL once requests are answered.
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
    """An exchange on loopback for the time of a `with`.

        with Sandbox(now="2024-06-15T12:00:00") as exchange:
            httpx.get(f"{exchange.url}/api/v3/klines?symbol=BTCUSDT&interval=1h")

    Args:
        now: The exchange's time: ISO 8601 text, a date, a datetime or µs; it stands still. None for the real time.
        port: The port on 127.0.0.1; 0 for a free one.
        replay: A folder to replay instead of the synthetic market; raises ValueError if it is no archive tree.
        latency: Seconds to wait before each answer.
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
        """Start serving; raises OSError if the port is taken."""
        if self._thread is not None:
            raise RuntimeError("this sandbox is already running")
        ready = threading.Event()

        def note(url: str, stop: Callable[[], None]) -> None:
            loop = asyncio.get_running_loop()
            self._url, self._stop = url, lambda: _call(loop, stop)
            ready.set()

        def run() -> None:
            try:
                asyncio.run(_run(self._exchange, self._port, self._latency, note))
            except BaseException as error:  # noqa: BLE001 (handed to the thread that waits)
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
        """Stop serving; open connections are cut."""
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
        """Where the archive (`/data/...`) and REST (`/api/v3/...`, `/fapi/v1/...`, `/dapi/v1/...`) are."""
        return self._url

    @property
    def settings(self) -> dict[str, str]:
        """The settings that make the project ask this exchange."""
        settings = dict.fromkeys(("vision_url", "spot_url", "um_url", "cm_url"), self._url)
        if self._exchange.clock.fixed:
            settings["now"] = moment_of(self.now).isoformat()
        return settings

    @property
    def now(self) -> int:
        """The exchange's time, µs."""
        return self._exchange.clock.now

    def set_now(self, now: object) -> None:
        """Set the exchange's time; None lets it run as the real one."""
        self._exchange.clock.set(now)

    @property
    def requests(self) -> tuple[Request, ...]:
        """The requests answered so far, those to `/sandbox/` aside."""
        return self._exchange.log.snapshot()

    def forget(self) -> None:
        """Forget the requests."""
        self._exchange.log.clear()

    def add(self, fault: Fault) -> None:
        """Ask for a fault."""
        self._exchange.faults.add(fault)

    def clear_faults(self) -> None:
        """Ask for no faults; used weights and bans are forgotten too."""
        self._exchange.clear_faults()


def _call(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended by itself
        loop.call_soon_threadsafe(stop)
