"""Items 5 and 6: what is fetched, from an exchange in a process of its own that answers after 20 ms."""

from __future__ import annotations

import shutil
import time
from datetime import date
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import PRODUCT, AbsentError, Worker, agree
from benchmarks.data import DataSet, make_archive
from benchmarks.exchange import Exchange
from benchmarks.goals.live import collect_one
from benchmarks.outcome import Check, Outcome, Row
from benchmarks.timing import median, ratio

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bench import Bench

FLOOR = "floor: HTTP, SHA-256, inflate"
VISION = "binance-vision"
BULK = "binance-bulk-downloader"

_CONCURRENCY = 8  # the product's own default
_OTHERS = "others"  # their environment

_SETTLED = 0.5  # seconds after which a request that was still to come would have come


def _year(bench: Bench) -> DataSet:
    # 2021 has no outage on the sandbox's spot market, so no day has to be held against REST.
    return DataSet("year", "1m", date(2021, 1, 1), 90 if bench.quick else 365)


def year(bench: Bench) -> Outcome:
    """Item 5: a year of 1m into an empty cache, by daily and by monthly archives."""
    wanted = _year(bench)
    outcome = Outcome("5", f"Cold fetch of {wanted.days} days of 1m, 20 ms latency, {_CONCURRENCY} requests at once")
    days_a_second: dict[str, list[float]] = {}
    cpu: dict[str, float] = {}
    caches = bench.work / "cold-year"
    shutil.rmtree(caches, ignore_errors=True)
    for scope in ("daily", "monthly"):
        folder = make_archive(bench.work, wanted.series, wanted.first, wanted.days, monthly=scope == "monthly")
        seconds, used = _downloads(bench, wanted, folder, scope, caches)
        cpu[scope] = median(used[PRODUCT]) / wanted.days * 1000
        days_a_second[scope] = [wanted.days / one for one in seconds[PRODUCT]]
        for name, times in seconds.items():
            extra = f"{median(used[name]) / wanted.days * 1000:.2f} ms CPU a day"
            others = ratio(times, seconds[PRODUCT])
            rate = wanted.days / median(times)
            outcome.rows.append(Row(f"{scope} archives", name, rate, "days/s", others, len(times), extra))
        share = ratio(seconds[FLOOR], seconds[PRODUCT]) * 100
        outcome.checks.append(Check(f"{scope}: of the floor's throughput", share, 60, at_most=False, unit="%"))
    shutil.rmtree(caches)
    faster = ratio(days_a_second["monthly"], days_a_second["daily"])
    outcome.checks += [
        Check("monthly: days per second of daily ones", faster, 3, at_most=False),
        Check("monthly: CPU a day", cpu["monthly"], 4, unit="ms"),
    ]
    outcome.notes.append("The product also parses, checks and writes the days; the floor keeps nothing.")
    outcome.notes.append("binance-bulk-downloader is handed its list of files, checks no checksum and keeps CSV.")
    return outcome


def _downloads(
    bench: Bench, wanted: DataSet, folder: Path, scope: str, caches: Path
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds and CPU seconds of each turn.

    Each turn has a cache folder of its own, and none is removed before the last one is over: ext4 passes over every
    inode that was deleted in the last minutes when it makes a file, which costs more than writing the file does.
    """
    paths = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*.zip"))]
    asked: dict[str, Any] = {
        "symbols": wanted.names,
        "interval": wanted.interval,
        "start": wanted.start,
        "end": wanted.end,
        "paths": paths,
        "work": "total",
    }
    seconds: dict[str, list[float]] = {}
    used: dict[str, list[float]] = {}
    with Exchange(folder) as exchange:
        exchange.warm(paths)
        for turn in range(bench.rounds(5, 2)):
            answers = {}
            for name in (PRODUCT, FLOOR) if bench.quick else (PRODUCT, FLOOR, VISION, BULK):
                try:
                    with _downloader(name, exchange, caches / f"{scope}-{turn}", scope) as worker:
                        said = worker.ask(**asked)
                except AbsentError as error:
                    bench.absent[f"{name} ({scope})"] = str(error)
                    continue
                collect_one(bench, worker)
                seconds.setdefault(name, []).append(said["seconds"][0])
                used.setdefault(name, []).append(said["cpu"])
                answers[name] = said["answer"]
            agree({name: answers[name] for name in (PRODUCT, VISION) if name in answers})
    return seconds, used


def _downloader(name: str, exchange: Exchange, cache: Path, scope: str) -> Worker:
    common = {"url": exchange.url, "concurrency": _CONCURRENCY}
    if name == PRODUCT:
        settings = exchange.settings(cache) | {"concurrency": _CONCURRENCY}
        return Worker("duck", {"kind": "ckvd", "settings": settings})
    if name == VISION:
        return Worker("binance_vision", common | {"monthly": scope == "monthly"}, _OTHERS)
    if name == BULK:
        return Worker("bulk_downloader", common | {"period": scope}, _OTHERS)
    return Worker("floor", common)


def first_rows(bench: Bench) -> Outcome:
    """Item 6: how much is asked for before the first row of two cold years, and for LIMIT 10 of them."""
    wanted = DataSet("two years", "1m", date(2020, 7, 1), 365 if bench.quick else 730)
    outcome = Outcome("6", f"The first rows of {wanted.days} cold days of 1m")
    folder = make_archive(bench.work, wanted.series, wanted.first, wanted.days, monthly=True)
    common = {"symbols": wanted.names, "interval": wanted.interval, "start": wanted.start, "end": wanted.end}
    with Exchange(folder) as exchange:
        for title, asked in (("first row", {"first": True}), ("LIMIT 10", {"limit": 10})):
            seconds, asked_then, asked_later = [], 0, 0
            for _ in range(bench.rounds(5, 1)):
                cache = bench.work / "cold"
                shutil.rmtree(cache, ignore_errors=True)
                with Worker("duck", {"kind": "ckvd", "settings": exchange.settings(cache)}) as worker:
                    exchange.forget()
                    said = worker.ask(work="rows", **common, **asked)
                    asked_then = max(asked_then, len(exchange.requests()))
                    time.sleep(_SETTLED)
                    asked_later = max(asked_later, len(exchange.requests()))
                seconds += said["seconds"]
            extra = f"{asked_then} requests by then, {asked_later} in all, of {wanted.days // 30 * 2} for everything"
            outcome.rows.append(Row(title, PRODUCT, median(seconds) * 1000, "ms", None, len(seconds), extra))
            outcome.checks += [
                Check(f"{title}: requests by then", asked_then, _CONCURRENCY, unit=" requests"),
                Check(f"{title}: requests in all", asked_later, _CONCURRENCY, unit=" requests"),
            ]
    return outcome
