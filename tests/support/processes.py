"""Programs that run in processes of their own, and waiting for what they print."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: No wait in this file is longer, in seconds; where it ends, something hangs.
PATIENCE = 60


def run(code: str, given: dict[str, Any], *, wrapped: tuple[str, ...] = (), seconds: float = PATIENCE) -> Any:
    """Run a program; what it says."""
    done = subprocess.run(
        [*wrapped, sys.executable, "-c", code, json.dumps(given)],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])


def wait_until(done: Callable[[], bool]) -> None:
    """Wait for something, but not for ever."""
    last = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < last
        time.sleep(0.01)


def read_line(program: subprocess.Popen[str], seconds: float = 40) -> str:
    """The next line that a program says; fails where it says none in time."""
    assert program.stdout
    timer = threading.Timer(seconds, program.kill)
    timer.start()
    try:
        line = next((line for line in program.stdout if line.startswith("{")), "")  # not DuckDB's progress bar
    finally:
        timer.cancel()
    assert line, "it hangs"
    return line
