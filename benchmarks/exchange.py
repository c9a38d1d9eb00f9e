"""The sandbox in a process of its own, which serves a folder of archives after some latency and logs its requests."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from benchmarks.contenders import worker_environment
from benchmarks.data import NOW

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Seconds between a request and its response.
LATENCY = 0.02


class Exchange:
    """A sandbox that serves a folder during a `with`.

    Args:
        folder: The archives, below their paths on Vision.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.exchange", str(self._folder), str(LATENCY)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parent.parent,
            env=worker_environment(),
        )
        assert self._process.stdout  # noqa: S101 (opened above)
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        with self._process:
            self._process.wait()

    def settings(self, cache: Path) -> dict[str, Any]:
        """ckvd_sql's settings for this exchange and a cache folder."""
        urls = dict.fromkeys(("vision_url", "spot_url", "um_url", "cm_url"), self.url)
        return urls | {"cache_dir": str(cache), "now": NOW}

    def requests(self) -> list[str]:
        """The paths requested so far."""
        return [request["path"] for request in json.loads(self._call("GET"))]

    def clear_requests(self) -> None:
        """Empty the log of requests."""
        self._call("DELETE")

    def read_all(self, paths: Iterable[str]) -> None:
        """Read every file once, so that all are in the page cache before the first contender runs."""
        for path in paths:
            (self._folder / path).read_bytes()

    def _call(self, method: str) -> bytes:
        request = urllib.request.Request(f"{self.url}/sandbox/requests", method=method)  # noqa: S310 (our own)
        with urllib.request.urlopen(request) as response:  # noqa: S310 (likewise)
            body: bytes = response.read()
        return body


def _main(folder: str, latency: str) -> None:
    from ckvd_sql.sandbox import serve  # noqa: PLC0415 (only the serving process needs it)

    serve(NOW, replay=folder, latency=float(latency), on_ready=lambda url: print(url, flush=True))


if __name__ == "__main__":
    _main(*sys.argv[1:])
