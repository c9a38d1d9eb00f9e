"""The loop of every worker: a request a line in, its times and its answer a line out.

{"repeat": 5, ...}  runs the request five times; {"batch": [...]} runs several; {"quit": true} ends.
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

Answer = Any
Handler = "Callable[[dict[str, Any]], Answer]"


def serve(make: Callable[[dict[str, Any]], Callable[[dict[str, Any]], Answer]], packages: Sequence[str]) -> None:
    """Make a contender out of the configuration in the first argument, and answer requests until the input ends.

    What the contender prints goes to standard error, so that it can't be taken for an answer.
    """
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        out.write(json.dumps(message, default=str) + "\n")
        out.flush()

    began = time.perf_counter()
    try:
        handler = make(json.loads(sys.argv[1]))
    except Exception as error:  # noqa: BLE001 (whatever it is, the reader is told)
        say({"error": _told(error)})
        return
    say({"ready": time.perf_counter() - began, "versions": _versions(packages)})
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("quit"):
            break
        try:
            say(_run(handler, request))
        except Exception as error:  # noqa: BLE001 (likewise)
            say({"error": _told(error)})


def _run(handler: Callable[[dict[str, Any]], Answer], request: dict[str, Any]) -> dict[str, Any]:
    requests = request.get("batch") or [request] * request.get("repeat", 1)
    before = resource.getrusage(resource.RUSAGE_SELF)
    seconds, answer = [], None
    for one in requests:
        began = time.perf_counter()
        answer = handler(one)
        seconds.append(time.perf_counter() - began)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu": cpu, "answer": answer}


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
