"""Days that have to be fetched, from a sandbox in a process of its own that answers with some latency."""

from __future__ import annotations

import shutil
import time
from datetime import date
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import PRODUCT, AbsentError, Worker, check_answers
from benchmarks.data import DataSet, make_archive
from benchmarks.exchange import LATENCY, Exchange
from benchmarks.goal import Goal
from benchmarks.results import Check, Measurement
from benchmarks.timing import median, ratio

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bench import Bench
    from benchmarks.results import GoalResult

_FLOOR = "floor: HTTP, SHA-256, inflate"
_BINANCE_VISION = "binance-vision"
_BULK_DOWNLOADER = "binance-bulk-downloader"

_CONCURRENCY = 8  # ckvd_sql's default
_OTHERS = "others"  # the environment of the other packages

_LATE = 0.5  # seconds after which a request that was already planned would have been made


def _year(bench: Bench, result: GoalResult) -> None:
    # The sandbox's spot market has no outage in 2021, so no day has to be compared with REST.
    data_set = DataSet("year", "1m", date(2021, 1, 1), 90 if bench.quick else 365)
    result.setup = f"{data_set.days} days, {LATENCY * 1000:.0f} ms latency, {_CONCURRENCY} concurrent requests"
    rates: dict[str, list[float]] = {}
    cpu: dict[str, float] = {}
    caches = bench.folder / "cold-year"
    shutil.rmtree(caches, ignore_errors=True)
    for scope in ("daily", "monthly"):
        folder = make_archive(bench.folder, data_set.series, data_set.first, data_set.days, monthly=scope == "monthly")
        seconds, cpu_seconds = _download_times(bench, data_set, folder, scope, caches)
        cpu[scope] = median(cpu_seconds[PRODUCT]) / data_set.days * 1000
        rates[scope] = [data_set.days / one for one in seconds[PRODUCT]]
        for name, times in seconds.items():
            details = f"{median(cpu_seconds[name]) / data_set.days * 1000:.2f} ms CPU a day"
            relative = ratio(times, seconds[PRODUCT])
            rate = data_set.days / median(times)
            result.measurements.append(
                Measurement(f"{scope} archives", name, rate, "days/s", relative, len(times), details)
            )
        share = ratio(seconds[_FLOOR], seconds[PRODUCT]) * 100
        result.checks.append(Check(f"{scope}: throughput relative to the floor", share, 60, at_most=False, unit="%"))
    shutil.rmtree(caches)
    speed_up = ratio(rates["monthly"], rates["daily"])
    result.checks += [
        Check("monthly: throughput relative to daily archives", speed_up, 3, at_most=False),
        Check("monthly: CPU time a day", cpu["monthly"], 4, unit="ms"),
    ]
    result.notes += [
        f"{PRODUCT} also parses, validates and stores the days; the floor stores nothing.",
        f"{_BULK_DOWNLOADER} is given the list of files, verifies no checksum and stores CSV.",
    ]


def _download_times(
    bench: Bench, data_set: DataSet, folder: Path, scope: str, caches: Path
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds and CPU seconds of each turn, by contender.

    Each turn has a cache folder of its own, and none is removed before the last turn is over: when ext4 makes a file
    it passes over every inode that was deleted in the last minutes, which costs more than writing the file does.
    """
    paths = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*.zip"))]
    request: dict[str, Any] = {
        "symbols": data_set.names,
        "interval": data_set.interval,
        "start": data_set.start,
        "end": data_set.end,
        "paths": paths,
        "task": "total",
    }
    seconds: dict[str, list[float]] = {}
    cpu_seconds: dict[str, list[float]] = {}
    names = (PRODUCT, _FLOOR) if bench.quick else (PRODUCT, _FLOOR, _BINANCE_VISION, _BULK_DOWNLOADER)
    with Exchange(folder) as exchange:
        exchange.read_all(paths)
        for turn in range(bench.turns(5, 2)):
            answers = {}
            for name in names:
                try:
                    with _downloader(name, exchange, caches / f"{scope}-{turn}", scope) as worker:
                        reply = worker.run(**request)
                except AbsentError as error:
                    bench.absent[f"{name} ({scope})"] = str(error)
                    continue
                bench.record(worker)
                seconds.setdefault(name, []).append(reply["seconds"][0])
                cpu_seconds.setdefault(name, []).append(reply["cpu"])
                answers[name] = reply["answer"]
            check_answers({name: answers[name] for name in (PRODUCT, _BINANCE_VISION) if name in answers})
    return seconds, cpu_seconds


def _downloader(name: str, exchange: Exchange, cache: Path, scope: str) -> Worker:
    common = {"url": exchange.url, "concurrency": _CONCURRENCY}
    if name == PRODUCT:
        settings = exchange.settings(cache) | {"concurrency": _CONCURRENCY}
        return Worker("duck", {"kind": "ckvd", "settings": settings})
    if name == _BINANCE_VISION:
        return Worker("binance_vision", common | {"monthly": scope == "monthly"}, _OTHERS)
    if name == _BULK_DOWNLOADER:
        return Worker("bulk_downloader", common | {"period": scope}, _OTHERS)
    return Worker("floor", common)


def _first_rows(bench: Bench, result: GoalResult) -> None:
    data_set = DataSet("two years", "1m", date(2020, 7, 1), 365 if bench.quick else 730)
    result.setup = f"{data_set.days} days of 1m from monthly archives, {LATENCY * 1000:.0f} ms latency"
    folder = make_archive(bench.folder, data_set.series, data_set.first, data_set.days, monthly=True)
    span = {"symbols": data_set.names, "interval": data_set.interval, "start": data_set.start, "end": data_set.end}
    with Exchange(folder) as exchange:
        for title, rows in (("first row", {"first": True}), ("LIMIT 10", {"limit": 10})):
            seconds, requests, late_requests = [], 0, 0
            for _ in range(bench.turns(5, 1)):
                cache = bench.folder / "cold"
                shutil.rmtree(cache, ignore_errors=True)
                with Worker("duck", {"kind": "ckvd", "settings": exchange.settings(cache)}) as worker:
                    exchange.clear_requests()
                    reply = worker.run(task="rows", **span, **rows)
                    requests = max(requests, len(exchange.requests()))
                    time.sleep(_LATE)
                    late_requests = max(late_requests, len(exchange.requests()))
                seconds += reply["seconds"]
            everything = data_set.days // 30 * 2
            details = f"{requests} requests until then, {late_requests} in total, of {everything} for all days"
            result.measurements.append(
                Measurement(title, PRODUCT, median(seconds) * 1000, "ms", None, len(seconds), details)
            )
            result.checks += [
                Check(f"{title}: requests until then", requests, _CONCURRENCY, unit="requests"),
                Check(f"{title}: requests in total", late_requests, _CONCURRENCY, unit="requests"),
            ]


COLD_FETCH = Goal(
    "cold-fetch",
    "Fetching a year of 1m into an empty cache",
    _year,
    reason_for_miss=(
        "The floor neither parses CSV, which takes as long as inflating it, nor writes and syncs a file a day, nor "
        "imports its HTTP client within the measured time. The first month is fetched alone, so that a LIMIT fetches "
        "no more. Monthly archives are compared with daily ones, which are close to their own floor."
    ),
)

FIRST_ROWS = Goal("first-rows", "The first rows of a range that is not cached", _first_rows)
