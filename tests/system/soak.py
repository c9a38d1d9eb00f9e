"""`make soak`: what may happen to a cache and its readers, and property tests, repeated for minutes.

Fetches are killed, queried at once by many processes, and their day files damaged. Backups are copied over a cache that
is read; disks count seconds; processes may have few open files; files are forged with a seal that fits.

    python -m tests.system.soak [--seed N] [--minutes 10]

Prints its seed, each failure, and at the end how much was tried; exits with status 1 after any failure.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import itertools
import logging
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.periods import DAY
from ckvd_sql.market.provenance import Provenance, Source
from ckvd_sql.sandbox import Fault, Sandbox
from tests.support.cache_state import DATE, HOURS, NOW, expected_bars, expected_day, leftovers, wrong_days
from tests.support.concurrent_queries import downloads, query_at_once
from tests.support.damage import is_refused, replace, undetected_flips
from tests.support.examples import TRIED
from tests.support.kill_loop import KillLoop
from tests.support.soak_cache import copy_over_live_cache, count_seconds, read_few_files, read_forged_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.soak_cache import Outcome

COUNTED = (
    *("kills", "processes", "faults", "bad inputs", "queries"),
    *("copies", "reads of own writes", "forged files"),
)
KILLS_PER_ROUND = 25
EXAMPLES_PER_ROUND = "12"

TESTS = Path(__file__).parents[1]

#: Runs all hypothesis tests in this process. Hypothesis is already imported, of which pytest would warn.
PYTEST = [
    *("-o", "addopts=", "-q", "-p", "no:cacheprovider", "-m", "hypothesis"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
]

#: Faults during killed fetches; REST has every day that an archive can't provide.
FAULTS = [
    Fault(path=r"\.zip$", kind="latency", seconds=0.05, times=10),
    Fault(path=r"monthly.*\.zip", kind="status", status=503, times=2),
    Fault(path=r"daily.*\.zip", kind="torn", times=3),
    Fault(path=r"\.CHECKSUM", kind="checksum", times=2),
    Fault(path=r"\.zip", kind="corrupt", times=2),
    Fault(path=r"/v3/klines", kind="reset", times=1),
    Fault(path=r"/v3/klines", kind="anomaly", name="no bars", times=3),
    Fault(path=r"/v3/klines", kind="anomaly", name="missing in places", times=3),
    Fault(path=r"\.zip", kind="anomaly", name="conflicting duplicates", times=4),
    Fault(path=r"monthly.*\.zip", kind="anomaly", name="ends at 07:36", times=4),
    Fault(path=r"monthly.*\.zip", kind="anomaly", name="lower volumes"),
    Fault(path=r"daily.*\.zip", kind="status", status=404, times=4),
]

#: How many of them at the same time. An archive and REST never have the same anomaly, which would confirm each other.
MOST_FAULTS = 2


class FailureLog:
    """A pytest plug-in that collects failures and stops the run at a deadline.

    Args:
        until: The deadline on the monotonic clock; None to run all tests.

    Attributes:
        failures: The test and the report of each failure.
    """

    def __init__(self, until: float | None) -> None:
        self.until = until
        self.failures: list[tuple[str, str]] = []

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if self.until is not None and time.monotonic() > self.until:
            item.session.shouldstop = "the time is over"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.add(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.add(report)

    def add(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed:
            self.failures.append((report.nodeid, report.longreprtext))


class Soak:
    """Runs the rounds, and counts inputs and failures.

    Args:
        seed: Seeds every random choice.
        minutes: The duration; the first round always completes.
    """

    def __init__(self, seed: int, minutes: float) -> None:
        self.seed = seed
        self.rng = random.Random(seed)  # noqa: S311 (reproducible by its seed)
        self.until = time.monotonic() + 60 * minutes
        self.tried: Counter[str] = Counter()
        self.wrong_rows = 0
        self.lost_days = 0
        self.wrongly_stored = 0
        self.crashes = 0
        self.failures: list[str] = []

    def fail(self, what: str) -> None:
        """Record a failure and print it at once."""
        self.failures.append(what)
        show(f"WRONG: {what}")

    def run(self) -> None:
        """Repeat all parts until the time is over."""
        with Sandbox(now=NOW) as exchange:
            for number in itertools.count():
                parts: list[Callable[[], None]] = [
                    functools.partial(self.kill, exchange),
                    functools.partial(self.query_at_once, exchange),
                    functools.partial(self.damage, number),
                    lambda: self.add(copy_over_live_cache(exchange, self.rng)),
                    lambda: self.add(count_seconds(self.rng)),
                    lambda: self.add(read_few_files(self.rng)),
                    lambda: self.add(read_forged_files(self.rng)),
                    functools.partial(self.test, number),
                ]
                for part in parts:
                    if number and time.monotonic() > self.until:
                        return
                    try:
                        part()
                    except Exception:  # noqa: BLE001 (any exception is a failure)
                        self.fail(traceback.format_exc())
                    exchange.clear_faults()
                show(f"round {number + 1}: {self.count()}")
                if time.monotonic() > self.until:
                    return

    def kill(self, exchange: Sandbox) -> None:
        """Fetches that are killed at random moments, with random faults of the exchange."""
        with tempfile.TemporaryDirectory() as folder:
            loop = KillLoop(exchange, Path(folder), self.rng.randrange(2**32))
            try:
                for _ in range(KILLS_PER_ROUND):
                    self.set_fault(exchange)
                    loop.once()
                exchange.clear_faults()
                found = loop.finish()
            finally:
                loop.close()
            self.tried["kills"] += loop.kills
            expected = expected_bars(loop.series, loop.start, loop.end)
            wrong = set(found) - set(expected)
            lost = {row[0] // DAY for row in set(expected) - set(found)}
            self.wrong_rows += len(wrong) + (len(found) != len(set(found)))
            self.wrongly_stored += len(loop.wrong)
            self.lost_days += len(lost)
            if wrong or lost or loop.wrong:
                self.fail(f"after kills: {len(wrong)} rows, {len(lost)} days lost, day files {loop.wrong}")
            left = leftovers(loop.cache)
            if loop.most_leftovers > 20 or len(left) > 8:
                self.fail(f"leftovers grow: {loop.most_leftovers} at most, in the end {left}")

    def query_at_once(self, exchange: Sandbox) -> None:
        """Processes that query the same uncached month, or overlapping ranges, at the same moment."""
        month = self.rng.randrange(1, 6)
        whole = f"'BTCUSDT', '1h', '2024-{month:02d}-01', '2024-{month + 1:02d}-01'"
        exchange.forget()
        with tempfile.TemporaryDirectory() as folder:
            results = query_at_once(exchange, Path(folder), [whole] * 8)
            self.tried["processes"] += 8
            self.check_results(results, Path(folder))
            if set(downloads(exchange).values()) != {1}:
                self.fail(f"downloaded more than once: {downloads(exchange)}")
        with tempfile.TemporaryDirectory() as folder:
            part = f"'BTCUSDT', '1h', '2024-{month:02d}-{self.rng.randrange(2, 28):02d}', '2024-{month + 1:02d}-01'"
            results = query_at_once(exchange, Path(folder), [whole, part, whole, part])
            self.tried["processes"] += 4
            self.check_results([one for one in results if one[0] == results[0][0]], Path(folder))

    def check_results(self, results: list[list[Any]], cache: Path) -> None:
        """All threads must return the same rows, and all day files must be valid."""
        wrong = wrong_days(cache)
        self.wrong_rows += len({one[1] for one in results}) - 1
        self.wrongly_stored += len(wrong)
        if len({one[1] for one in results}) != 1 or wrong:
            self.fail(f"concurrent queries returned different rows: {results}, {wrong}")

    def damage(self, number: int) -> None:
        """A day file truncated at every byte, and with one bit of every byte flipped; all bits over eight rounds."""
        with tempfile.TemporaryDirectory() as folder:
            store = DayStore(Path(folder))
            day = expected_day(HOURS, DATE)
            store.write(HOURS, DATE, day, Provenance(Source.REST, "http://127.0.0.1", "", 0))
            path = store.path(HOURS, DATE)
            places = list(range(path.stat().st_size))
            verify = functools.partial(store.verify, HOURS)
            undetected = undetected_flips(verify, path, places, first=number)
            self.tried["bad inputs"] += 2 * len(places)
            original = path.read_bytes()
            for size in places:
                replace(path, original[:size])
                if not is_refused(store.read):
                    undetected.append((size, -1))
            if undetected:
                self.wrong_rows += len(undetected)
                self.fail(f"damage was not detected: {undetected[:10]}")

    def add(self, outcome: Outcome) -> None:
        """Count what a round has tried, and fail for what was wrong."""
        self.tried += outcome.tried
        self.wrong_rows += len(outcome.wrong)
        self.crashes += len(outcome.crashed)
        for what in (*outcome.wrong, *outcome.crashed):
            self.fail(what)

    def test(self, number: int) -> None:
        """All hypothesis tests, with another seed each round."""
        log = FailureLog(self.until if number else None)
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            status = pytest.main([*PYTEST, f"--hypothesis-seed={self.seed + number}", str(TESTS)], plugins=[log])
        for name, text in log.failures:
            self.wrong_rows += name.startswith("tests/scan/")
            self.fail(f"{name}\n{text}")
        if status not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED}:
            self.fail(f"pytest ended with {status!r}\n{shown.getvalue()}")
        self.tried += TRIED
        TRIED.clear()

    def set_fault(self, exchange: Sandbox) -> None:
        """Replace the faults by others or none."""
        exchange.clear_faults()
        for fault in self.rng.sample(FAULTS, self.rng.randint(0, MOST_FAULTS)):
            exchange.add(fault)
            self.tried["faults"] += 1

    def count(self) -> str:
        """How much was tried, and how much of it was wrong."""
        tried = ", ".join(f"{name} {self.tried[name]}" for name in COUNTED)
        return (
            f"{tried}, wrong rows {self.wrong_rows}, lost days {self.lost_days}, "
            f"days stored that should not be {self.wrongly_stored}, crashes {self.crashes}"
        )


def show(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def main() -> int:
    """Run the soak test; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--minutes", type=float, default=10)
    given = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("CKVD_")]:
        del os.environ[name]
    show(f"seed {given.seed}; again with: python -m tests.system.soak --seed {given.seed}")
    os.environ["CKVD_EXAMPLES"] = EXAMPLES_PER_ROUND  # read where the tests are imported
    logging.getLogger("ckvd_sql").setLevel(logging.ERROR)
    soak = Soak(given.seed, given.minutes)
    soak.run()
    show(soak.count())
    return 1 if soak.failures else 0


if __name__ == "__main__":
    sys.exit(main())
