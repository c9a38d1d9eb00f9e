"""The loop of every worker: reads a request a line, and writes its times and its answer in a line, both as JSON.

`{"batch": [...]}` runs several requests. The end of the input ends the worker.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    #: Runs a request and returns its answer.
    Handler = Callable[[dict[str, Any]], Any]


def serve(make: Callable[[dict[str, Any]], Handler], packages: Sequence[str]) -> None:
    """Make a contender from the configuration in the first argument, and run requests until the input ends.

    What the contender prints goes to standard error, so that it does not mix with the replies.

    Args:
        make: Makes the contender's handler from the configuration.
        packages: The packages whose versions to report.
    """
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(message: dict[str, Any]) -> None:
        out.write(json.dumps(message, default=str) + "\n")
        out.flush()

    began = time.perf_counter()
    try:
        handler = make(json.loads(sys.argv[1]))
    except Exception as error:  # noqa: BLE001 (any error is reported)
        reply({"error": _text(error)})
        return
    reply({"ready": time.perf_counter() - began, "versions": _versions(packages)})
    for line in sys.stdin:
        try:
            reply(_run(handler, json.loads(line)))
        except Exception as error:  # noqa: BLE001 (likewise)
            reply({"error": _text(error)})


def _run(handler: Handler, request: dict[str, Any]) -> dict[str, Any]:
    requests = request.get("batch") or [request]
    before = resource.getrusage(resource.RUSAGE_SELF)
    seconds, answer = [], None
    for one in requests:
        began = time.perf_counter()
        answer = handler(one)
        seconds.append(time.perf_counter() - began)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu": cpu, "answer": answer}


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
