"""Items 3 and 4: thousands of small files, and a hundred symbols, in a fresh process and in one that lives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import (
    DATASET,
    NATIVE,
    NATIVE_FILE,
    PARQUET,
    PRODUCT,
    TOGETHER,
    AbsentError,
    agree,
    reader,
)
from benchmarks.goals.live import add_rows, collect, collect_one, field_of, request
from benchmarks.outcome import Check, Outcome, Row
from benchmarks.timing import Patience, evict, median, ratio

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.data import Data


@dataclass(slots=True)
class Fresh:
    """What fresh processes of a contender needed, turn by turn, in seconds.

    Attributes:
        seconds: The first query.
        cpu: CPU time of it.
        ready: Imports and connection, before it.
    """

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)


def fresh_turns(
    bench: Bench, data: Data, names: tuple[str, ...], asked: dict[str, Any], count: int, *, pages: bool = True
) -> dict[str, Fresh]:
    """The contenders' first queries, each in a process of its own.

    With `pages` the system has the files' pages in memory; without, they are dropped before each run.
    """
    found = {name: Fresh() for name in names}
    answers = {}
    warm = 1 if pages else 0
    patience = Patience(warm)
    for turn in range(warm + count):
        if patience.over(turn):
            break
        for name in list(found):
            if not pages:
                evict([data.root])
            try:
                with reader(name, data) as worker:
                    said = worker.ask(**asked)
            except AbsentError as error:
                bench.absent[name] = str(error)
                del found[name]
                continue
            collect_one(bench, worker)
            answers[name] = said["answer"]
            if turn >= warm:
                found[name].seconds += said["seconds"]
                found[name].cpu.append(said["cpu"])
                found[name].ready.append(worker.ready)
    agree(answers)
    return found


def _add_fresh(outcome: Outcome, work: str, found: dict[str, Fresh]) -> None:
    for name, one in found.items():
        extra = (
            f"{median(one.cpu) * 1000:.0f} ms CPU; imports and connection {median(one.ready) * 1000:.0f} ms before it"
        )
        others = ratio(one.seconds, found[PRODUCT].seconds)
        outcome.rows.append(Row(work, name, median(one.seconds) * 1000, "ms", others, len(one.seconds), extra))


def nine_years(bench: Bench) -> Outcome:
    """Item 3: 3,287 day files of 1h, and of 1d, by a process that has just started, and by one that lives."""
    days = bench.data("hours").set.days
    outcome = Outcome("3", f"{days:,} day files of 1h, and of 1d, in a fresh process")
    turns = bench.rounds(7, 2)
    for name in ("hours",) if bench.quick else ("hours", "dailies"):
        data = bench.data(name)
        asked, interval = request(data, "total"), data.set.interval
        names = (PRODUCT, PARQUET) if bench.quick else (PRODUCT, PARQUET, NATIVE_FILE, DATASET)
        fresh = fresh_turns(bench, data, names, asked, turns)
        _add_fresh(outcome, f"{interval}: first query, fresh process, pages in memory", fresh)
        share = ratio(fresh[PRODUCT].seconds, fresh[PARQUET].seconds)
        outcome.checks.append(Check(f"{interval}, fresh: of Parquet's time", share, 1))
        if not bench.quick:
            cold = fresh_turns(bench, data, (PRODUCT, PARQUET, NATIVE_FILE), asked, turns, pages=False)
            _add_fresh(outcome, f"{interval}: first query, fresh process, pages dropped", cold)
        with field_of(data, (PRODUCT, NATIVE, PARQUET)) as live:
            times = live.turns(bench.rounds(21, 5), asked, warm=2)
            collect(bench, live)
        add_rows(outcome, f"{interval}: then, live connection", times, live)
        product = times[PRODUCT]
        outcome.checks += [
            Check(f"{interval}, then: of the native table's time", ratio(product, times[NATIVE]), 1.3),
            Check(f"{interval}, then: faster than Parquet", ratio(times[PARQUET], product), 4, at_most=False),
        ]
    return outcome


def many_symbols(bench: Bench) -> Outcome:
    """Item 4: a hundred symbols, three years of 1d each, in one call."""
    data = bench.data("symbols")
    outcome = Outcome("4", f"{data.set.symbols} symbols, {data.set.days} days of 1d each, in one call")
    asked = request(data, "by symbol")
    names = (PRODUCT, PARQUET, TOGETHER)
    fresh = fresh_turns(bench, data, names, asked, bench.rounds(5, 2))
    _add_fresh(outcome, "fresh process, pages in memory", fresh)
    with field_of(data, (PRODUCT, PARQUET, TOGETHER, NATIVE)) as live:
        times = live.turns(bench.rounds(11, 4), asked, warm=2)
        collect(bench, live)
    add_rows(outcome, "live connection", times, live)
    for what, seconds in (("fresh", {name: one.seconds for name, one in fresh.items()}), ("live", times)):
        for parquet, layout in ((PARQUET, "a file a symbol and month"), (TOGETHER, "a file a month")):
            share = ratio(seconds[PRODUCT], seconds[parquet])
            outcome.checks.append(Check(f"{what}: of Parquet's time ({layout})", share, 1.5))
    return outcome
