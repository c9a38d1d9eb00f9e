"""The contenders: how their worker processes (`benchmarks.workers`) are started, given requests and ended.

Some have an environment of their own below `.venvs`. One that can't be started is reported as absent, with the reason.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from benchmarks.data import NOW
from benchmarks.timing import TurnLimit, median

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.data import Data

_HERE = Path(__file__).resolve().parent

#: Environments of contenders whose requirements conflict with the project's own.
VENVS = Path(os.environ.get("CKVD_BENCH_VENVS") or _HERE / ".venvs")

PRODUCT = "ckvd_sql"
UNMAPPED = "ckvd_sql, mmap=0"
NATIVE = "DuckDB native table"
NATIVE_FILE = "DuckDB native table, file"
PARQUET = "DuckDB, monthly zstd Parquet"
TOGETHER = "DuckDB, monthly zstd Parquet, all symbols in a file"
DATASET = "DuckDB, stock pyarrow.dataset"
POLARS = "polars.scan_ipc"
CHDB = "chDB, file('*.arrow', Arrow)"
LEGACY = "crypto-kline-vision-data get_data"
FRAMES = "ckvd_sql get_data"


class AbsentError(Exception):
    """A contender can't take part; the text gives the reason."""


class Worker:
    """A contender's process, which runs during a `with`.

    Args:
        module: The program below `benchmarks.workers`.
        config: Its configuration.
        venv: The environment below `VENVS` that it runs in; None for the current one.
    """

    def __init__(self, module: str, config: dict[str, Any], venv: str | None = None) -> None:
        self._command = [_python(venv), "-m", f"benchmarks.workers.{module}", json.dumps(config)]
        self.versions: dict[str, str] = {}
        self.ready = 0.0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=_HERE.parent,
            env=worker_environment(),
        )
        try:
            reply = self._receive()
        except AbsentError:
            self.__exit__()
            raise
        self.ready, self.versions = reply["ready"], reply["versions"]
        return self

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            if process.stdin:
                process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def run(self, **request: Any) -> dict[str, Any]:
        """Run a request, or the `batch` of requests in it.

        Returns `seconds` (a list, one for each request), the CPU seconds `cpu` of them all, and the last `answer`.

        Raises:
            AbsentError: The worker failed.
        """
        assert self._process.stdin  # noqa: S101 (opened above)
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout  # noqa: S101 (opened above)
        line = self._process.stdout.readline()
        if not line:
            raise AbsentError(f"its process ended with status {self._process.wait()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise AbsentError(reply["error"][:300])
        return reply


def worker_environment() -> dict[str, str]:
    """The environment variables of a worker: none of ckvd_sql's settings, and compiled modules are written and used."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("CKVD_")}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables


def settings(data: Data) -> dict[str, Any]:
    """ckvd_sql's settings for a data set: its cache, offline."""
    return {"cache_dir": str(data.cache), "offline": True, "now": NOW}


def worker_for(name: str, data: Data) -> Worker:
    """The worker of a contender, configured to read a data set."""
    paths = {
        "settings": settings(data),
        "native": str(data.native),
        "parquet": f"{data.parquet}/*/*.parquet",
        "day_files": str(data.day_files()),
        "several": data.set.symbols > 1,
    }
    together = paths | {"parquet": f"{data.parquet_together}/*.parquet"}
    workers: dict[str, Callable[[], Worker]] = {
        PRODUCT: lambda: Worker("duck", paths | {"kind": "ckvd"}),
        UNMAPPED: lambda: Worker("duck", paths | {"kind": "ckvd", "settings": settings(data) | {"mmap": False}}),
        NATIVE: lambda: Worker("duck", paths | {"kind": "native"}),
        NATIVE_FILE: lambda: Worker("duck", paths | {"kind": "native file"}),
        PARQUET: lambda: Worker("duck", paths | {"kind": "parquet"}),
        TOGETHER: lambda: Worker("duck", together | {"kind": "parquet"}),
        DATASET: lambda: Worker("duck", paths | {"kind": "dataset"}),
        POLARS: lambda: Worker("polars_ipc", paths),
        CHDB: lambda: Worker("clickhouse", paths, venv="others"),
        FRAMES: lambda: Worker("frames", {"settings": settings(data)}),
        LEGACY: lambda: Worker("legacy", _legacy(data), venv="legacy"),
    }
    return workers[name]()


def _legacy(data: Data) -> dict[str, Any]:
    symbol = data.set.names[0]
    paths = {"cache": str(data.root / "legacy"), "parquet": str(data.parquet / symbol)}
    return paths | {"symbol": symbol, "interval": data.set.interval}


def _python(venv: str | None) -> str:
    if venv is None:
        return sys.executable
    python = VENVS / venv / "bin" / "python"
    if not python.is_file():
        raise AbsentError(f"its environment {venv} is missing")
    return str(python)


class WorkerGroup:
    """Contenders that take turns at the same requests, each in one process during a `with`.

    Args:
        factories: The function that makes the worker of each contender.

    Attributes:
        workers: The workers that were started.
        absent: The reason for each contender that failed.
        cpu: The median CPU seconds of each contender in the last `take_turns`.
    """

    def __init__(self, factories: dict[str, Callable[[], Worker]]) -> None:
        self._factories = factories
        self.workers: dict[str, Worker] = {}
        self.absent: dict[str, str] = {}
        self.cpu: dict[str, float] = {}

    def __enter__(self) -> Self:
        for name, factory in self._factories.items():
            try:
                self.workers[name] = factory().__enter__()
            except AbsentError as error:
                self.absent[name] = str(error)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.__exit__()

    def take_turns(self, count: int, request: dict[str, Any], warm: int = 1) -> dict[str, list[float]]:
        """Seconds of each turn by contender, after `warm` turns that are not counted.

        Raises:
            ValueError: The answers differ.
        """
        times: dict[str, list[float]] = {name: [] for name in self.workers}
        cpu: dict[str, list[float]] = {name: [] for name in self.workers}
        answers: dict[str, Any] = {}
        limit = TurnLimit(warm)
        for turn in range(warm + count):
            if limit.reached(turn):
                break
            for name in list(times):
                try:
                    reply = self.workers[name].run(**request)
                except AbsentError as error:
                    self.absent[f"{name}: {request.get('task')}"] = str(error)
                    del times[name]
                    continue
                answers[name] = reply["answer"]
                if turn >= warm:
                    times[name].append(reply["seconds"][0])
                    cpu[name].append(reply["cpu"])
        check_answers({name: answers[name] for name in times})
        self.cpu = {name: median(cpu[name]) for name in times}
        return times


def check_answers(answers: dict[str, Any]) -> None:
    """Raise `ValueError` where the contenders' answers differ in a number."""
    (first, expected), *others = answers.items()
    for name, answer in others:
        if not _same(_figures(expected), _figures(answer)):
            raise ValueError(f"{name} answers {str(answer)[:200]}, {first} {str(expected)[:200]}")


def _figures(answer: Any) -> list[float]:
    """The numbers of an answer. Times are left out, because contenders write them differently."""
    rows: Sequence[Any] = answer if isinstance(answer, list) else [[answer]]
    return [float(value) for row in rows for value in row if isinstance(value, int | float)]


def _same(expected: list[float], found: list[float]) -> bool:
    return len(expected) == len(found) and all(
        abs(one - other) <= 1e-9 * max(abs(one), abs(other)) for one, other in zip(expected, found, strict=True)
    )
