"""`make soak`: the kill loop, the process query_at_once, damaged day files and the property tests, for longer.

    python -m tests.system.soak [--seed N] [--minutes 10]

Prints its seed first, and at the end what was tried and what went wrong; ends with status 1 where anything did.
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

from ckvd_sql.cache.dayfile import Provenance
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.series import DAY
from ckvd_sql.sandbox import Fault, Sandbox
from tests.support.cache_state import DATE, HOURS, NOW, expected_bars, expected_day, leftovers, wrong_days
from tests.support.concurrent_queries import downloads, query_at_once
from tests.support.damage import is_refused, replace, undetected_flips
from tests.support.examples import TRIED
from tests.support.kill_loop import KillLoop

if TYPE_CHECKING:
    from collections.abc import Callable

KILLS_A_ROUND = 25
EXAMPLES_A_ROUND = "12"

TESTS = Path(__file__).parents[1]

#: Runs the hypothesis tests in this process; pytest would warn that an earlier round has imported hypothesis.
PYTEST = [
    *("-o", "addopts=", "-q", "-p", "no:cacheprovider", "-m", "hypothesis"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
]

#: What a killed or crowded fetch meets besides; REST always serves what an archive can't.
FAULTS = [
    Fault(path=r"\.zip$", kind="latency", seconds=0.05, times=10),
    Fault(path=r"monthly.*\.zip", kind="status", status=503, times=2),
    Fault(path=r"daily.*\.zip", kind="torn", times=3),
    Fault(path=r"\.CHECKSUM", kind="checksum", times=2),
    Fault(path=r"\.zip", kind="corrupt", times=2),
    Fault(path=r"/v3/klines", kind="reset", times=1),
]


class Noted:
    """A pytest plug-in that takes note of what fails, and stops once the time is over.

    Args:
        until: When that is, on the monotonic clock; None where all tests are to run.

    Attributes:
        failures: Each failure: the test's name and the report.
    """

    def __init__(self, until: float | None) -> None:
        self.until = until
        self.failures: list[tuple[str, str]] = []

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if self.until is not None and time.monotonic() > self.until:
            item.session.shouldstop = "the time is over"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.note(report)

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed:
            self.failures.append((report.nodeid, report.longreprtext))


class Soak:
    """What was tried, and what went wrong.

    Args:
        number: The seed.
        minutes: How long to go on.
    """

    def __init__(self, number: int, minutes: float) -> None:
        self.number = number
        self.chance = random.Random(number)  # noqa: S311 (chosen again by its seed)
        self.until = time.monotonic() + 60 * minutes
        self.tried: Counter[str] = Counter()
        self.wrong_rows = 0
        self.lost_days = 0
        self.failures: list[str] = []

    def fail(self, what: str) -> None:
        """Note what went wrong, and say it at once."""
        self.failures.append(what)
        say(f"WRONG: {what}")

    def run(self) -> None:
        """Rounds of everything, until the time is over."""
        with Sandbox(now=NOW) as exchange:
            for number in itertools.count():
                parts: list[Callable[[], None]] = [
                    functools.partial(self.kill, exchange),
                    functools.partial(self.crowd, exchange),
                    functools.partial(self.damage, number),
                    functools.partial(self.test, number),
                ]
                for part in parts:
                    if number and time.monotonic() > self.until:
                        return
                    try:
                        part()
                    except Exception:  # noqa: BLE001 (whatever it is, it is wrong)
                        self.fail(traceback.format_exc())
                    exchange.clear_faults()
                say(f"round {number + 1}: {self.count()}")
                if time.monotonic() > self.until:
                    return

    def kill(self, exchange: Sandbox) -> None:
        """Fetches, killed at random moments while the exchange has its troubles."""
        with tempfile.TemporaryDirectory() as folder:
            loop = KillLoop(exchange, Path(folder), self.chance.randrange(2**32))
            try:
                for _ in range(KILLS_A_ROUND):
                    self.trouble(exchange)
                    loop.once()
                exchange.clear_faults()
                found = loop.finish()
            finally:
                loop.close()
            self.tried["kills"] += loop.kills
            right = expected_bars(loop.series, loop.start, loop.end)
            wrong = set(found) - set(right)
            lost = {row[0] // DAY for row in set(right) - set(found)}
            self.wrong_rows += len(wrong) + len(loop.wrong) + (len(found) != len(set(found)))
            self.lost_days += len(lost)
            if wrong or lost or loop.wrong:
                self.fail(f"after kills: {len(wrong)} rows, {len(lost)} days lost, day files {loop.wrong}")
            left = leftovers(loop.cache)
            if loop.most_leftovers > 20 or len(left) > 8:
                self.fail(f"leftovers grow: {loop.most_leftovers} at most, in the end {left}")

    def crowd(self, exchange: Sandbox) -> None:
        """Processes that ask for the same cold month, or for ranges that overlap."""
        month = self.chance.randrange(1, 6)
        whole = f"'BTCUSDT', '1h', '2024-{month:02d}-01', '2024-{month + 1:02d}-01'"
        exchange.forget()
        with tempfile.TemporaryDirectory() as folder:
            got = query_at_once(exchange, Path(folder), [whole] * 8)
            self.tried["processes"] += 8
            self.same(got, Path(folder))
            if set(downloads(exchange).values()) != {1}:
                self.fail(f"downloaded more than once: {downloads(exchange)}")
        with tempfile.TemporaryDirectory() as folder:
            part = f"'BTCUSDT', '1h', '2024-{month:02d}-{self.chance.randrange(2, 28):02d}', '2024-{month + 1:02d}-01'"
            got = query_at_once(exchange, Path(folder), [whole, part, whole, part])
            self.tried["processes"] += 4
            self.same([one for one in got if one[0] == got[0][0]], Path(folder))

    def same(self, got: list[list[Any]], cache: Path) -> None:
        """All of a query_at_once got the same, and left sound day files."""
        wrong = wrong_days(cache)
        self.wrong_rows += len({one[1] for one in got}) - 1 + len(wrong)
        if len({one[1] for one in got}) != 1 or wrong:
            self.fail(f"a query_at_once got different rows: {got}, {wrong}")

    def damage(self, number: int) -> None:
        """A day file cut and flipped: every byte in the first round, all its bits over eight."""
        with tempfile.TemporaryDirectory() as folder:
            store = DayStore(Path(folder))
            day = expected_day(HOURS, DATE)
            store.write(HOURS, DATE, day, Provenance("rest", "http://127.0.0.1", "", 0))
            path = store.path(HOURS, DATE)
            places = list(range(path.stat().st_size))
            look = functools.partial(store.verify, HOURS)
            taken = undetected_flips(look, path, places, first=number)
            self.tried["bad inputs"] += 2 * len(places)
            original = path.read_bytes()
            for size in places:
                replace(path, original[:size])
                if not is_refused(store.read):
                    taken.append((size, -1))
            if taken:
                self.wrong_rows += len(taken)
                self.fail(f"damaged files were taken: {taken[:10]}")

    def test(self, number: int) -> None:
        """All hypothesis tests, with another seed each round."""
        noted = Noted(self.until if number else None)
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            status = pytest.main([*PYTEST, f"--hypothesis-seed={self.number + number}", str(TESTS)], plugins=[noted])
        for name, text in noted.failures:
            self.wrong_rows += name.startswith("tests/scan/")
            self.fail(f"{name}\n{text}")
        if status not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED}:
            self.fail(f"pytest ended with {status!r}\n{shown.getvalue()}")
        self.tried += TRIED
        TRIED.clear()

    def trouble(self, exchange: Sandbox) -> None:
        """Another fault, or none."""
        exchange.clear_faults()
        if self.chance.random() < 0.5:
            exchange.add(self.chance.choice(FAULTS))
            self.tried["faults"] += 1

    def count(self) -> str:
        """What was tried, and what went wrong."""
        tried = ", ".join(
            f"{name} {self.tried[name]}" for name in ("kills", "processes", "faults", "bad inputs", "queries")
        )
        return f"{tried}, wrong rows {self.wrong_rows}, lost days {self.lost_days}"


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def main() -> int:
    """Soak; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--minutes", type=float, default=10)
    given = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("CKVD_")]:
        del os.environ[name]
    say(f"seed {given.seed}; again with: python -m tests.system.soak --seed {given.seed}")
    os.environ["CKVD_EXAMPLES"] = EXAMPLES_A_ROUND  # read where the tests are imported
    logging.getLogger("ckvd_sql").setLevel(logging.ERROR)
    soak = Soak(given.seed, given.minutes)
    soak.run()
    say(soak.count())
    return 1 if soak.failures or soak.wrong_rows or soak.lost_days else 0


if __name__ == "__main__":
    sys.exit(main())
