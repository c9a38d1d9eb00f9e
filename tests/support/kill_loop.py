"""Fetches that are killed at random moments, and the state of the cache after each."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import ckvd_sql
from ckvd_sql.market.series import INTERVALS, Market, Series
from tests.support.bars import read
from tests.support.cache_state import leftovers, sandbox_settings, wrong_days
from tests.support.processes import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox
    from tests.support.bars import Bar

#: For each line on stdin: forks a fetch, kills it after a random time and prints its wait status, 0 if it had ended.
#: Forking avoids importing the package for every fetch.
FORKED_FETCHES = """
import json, logging, os, random, signal, sys, time
given = json.loads(sys.argv[1])
logging.getLogger("ckvd_sql").setLevel(logging.ERROR)
from ckvd_sql import CryptoKlineVisionData
import ckvd_sql.fetch.session, fsspec.implementations.http
rng = random.Random(given["seed"])
data = CryptoKlineVisionData(cache_dir=given["cache"], **given["settings"])

def fetch():
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        data.klines("BTCUSDT", given["start"], given["end"], "15m")
        status = 0
    finally:
        os._exit(status)

for line in sys.stdin:
    child = fetch()
    time.sleep(rng.random() ** 2 * given["longest"])
    os.kill(child, signal.SIGKILL)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class KillLoop:
    """Kills fetches of one range on one cache at random moments, and checks the cache after each.

    Attributes:
        kills: How many fetches were killed before they ended.
        wrong: Day files that were wrong or unreadable.
        most_leftovers: The greatest number of leftovers after a kill.
    """

    start, end = "2024-04-20", "2024-06-15T12:00"
    series = Series(Market.SPOT, "BTCUSDT", INTERVALS["15m"])

    def __init__(self, exchange: Sandbox, folder: Path, seed: int) -> None:
        self.cache = folder / "killed"
        self.settings = sandbox_settings(exchange, retries=1, timeout=20)
        given = {
            "seed": seed,
            "cache": str(self.cache),
            "settings": self.settings,
            "start": self.start,
            "end": self.end,
            "longest": 0.7,
        }
        self._program = subprocess.Popen(
            [sys.executable, "-c", FORKED_FETCHES, json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.kills = 0
        self.wrong: list[str] = []
        self.most_leftovers = 0

    def once(self) -> None:
        """Kill one fetch; a cache that a fetch has completed is deleted."""
        assert self._program.stdin
        assert self._program.stdout
        self._program.stdin.write("\n")
        self._program.stdin.flush()
        status = int(self._program.stdout.readline())
        self.kills += status == signal.SIGKILL
        self.wrong += wrong_days(self.cache)
        self.most_leftovers = max(self.most_leftovers, len(leftovers(self.cache)))
        if status == 0:
            shutil.rmtree(self.cache)

    def finish(self) -> list[Bar]:
        """End the program, complete the range and return its bars."""
        self.close()
        with ckvd_sql.connect(cache_dir=self.cache, **self.settings) as con:
            return read(con, f"ckvd_klines('BTCUSDT', '15m', '{self.start}', '{self.end}')")

    def close(self) -> None:
        """End the program."""
        assert self._program.stdin
        assert self._program.stdout
        with contextlib.suppress(BrokenPipeError):
            self._program.stdin.close()
        self._program.wait(PATIENCE)
        self._program.stdout.close()
