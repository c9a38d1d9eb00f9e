"""Running Python programs in their own processes, and waiting for their output.

A program takes its arguments as one JSON object in `sys.argv[1]` and prints its result as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: The longest wait for a process, in seconds; one that takes longer counts as hanging.
PATIENCE = 60


def run_program(
    code: str, arguments: dict[str, Any], *, wrapped: tuple[str, ...] = (), seconds: float = PATIENCE
) -> Any:
    """Run a program to its end and return its result; fails unless its exit status is 0.

    Args:
        code: The program's text.
        arguments: Its arguments.
        wrapped: A command that runs it, such as `unshare`.
        seconds: How long it may take.
    """
    done = subprocess.run(
        [*wrapped, sys.executable, "-c", code, json.dumps(arguments)],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])


def wait_until(done: Callable[[], bool]) -> None:
    """Wait until a condition holds; fails after `PATIENCE` seconds."""
    last = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < last
        time.sleep(0.01)


def read_line(program: subprocess.Popen[str], seconds: float = 40) -> str:
    """The next line of JSON that a program prints; fails if there is none in time."""
    assert program.stdout
    timer = threading.Timer(seconds, program.kill)
    timer.start()
    try:
        line = next((line for line in program.stdout if line.startswith("{")), "")  # not DuckDB's progress bar
    finally:
        timer.cancel()
    assert line, "it hangs"
    return line
