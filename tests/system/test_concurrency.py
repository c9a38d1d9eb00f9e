"""Processes, threads and forks that share a cache: each day is downloaded once, all get the same rows."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.cache.dayfile import Provenance
from ckvd_sql.cache.store import DayStore
from tests.support.cache_state import MINUTES, ON, hosts, leftovers, locks_held, whole_day, wrong_days
from tests.support.crowd import crowd, downloads
from tests.support.processes import PATIENCE, run

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox


class TestACrowd:
    def test_of_eight_processes_and_forty_threads_downloads_a_cold_month_once_and_gets_the_same_rows(
        self, exchange: Sandbox, tmp_path: Path
    ) -> None:
        got = crowd(exchange, tmp_path, ["'BTCUSDT', '1h', '2024-02-01', '2024-03-01'"] * 8)
        assert len(got) == 40
        assert len({tuple(said) for said in got}) == 1
        assert got[0][0] == 29 * 24
        assert downloads(exchange) == {"/data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-02.zip": 1}
        assert wrong_days(tmp_path) == []

    def test_that_asks_for_days_of_the_running_month_downloads_each_once(
        self, exchange: Sandbox, tmp_path: Path
    ) -> None:
        got = crowd(exchange, tmp_path, ["'BTCUSDT', '1h', '2024-06-01', '2024-06-10'"] * 2)
        assert {said[0] for said in got} == {9 * 24}
        assert len(downloads(exchange)) == 9
        assert set(downloads(exchange).values()) == {1}
        assert wrong_days(tmp_path) == []

    def test_of_writers_of_one_day_leaves_it_whole_at_every_moment(self, tmp_path: Path) -> None:
        """Callers of a month and callers of a day hold different locks, and may fetch the same day."""
        store, day = DayStore(tmp_path), whole_day(MINUTES, ON)
        failed: list[BaseException] = []

        def write() -> None:
            try:
                for _ in range(25):
                    store.write(MINUTES, ON, day, Provenance("rest", "http://127.0.0.1", "", 0))
                    assert store.read(MINUTES, ON).equals(day)
            except Exception as error:  # noqa: BLE001 (told below)
                failed.append(error)

        writers = [threading.Thread(target=write) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(PATIENCE)
        assert failed == []
        assert leftovers(tmp_path) == []


#: Uses everything, forks with multiprocessing, and lets the child use it all again.
FORKED = """
import json, multiprocessing, sys
given = json.loads(sys.argv[1])
import ckvd_sql
settings = dict(given["settings"], cache_dir=given["cache"])
con = ckvd_sql.connect(**settings)
data = ckvd_sql.CryptoKlineVisionData(**settings)

def ask(month, answers=None):
    call = f"ckvd_klines('BTCUSDT', '1h', '2024-{month:02d}-01', '2024-{month:02d}-21')"
    got = {}
    if "data" in given["ways"]:
        got["data"] = data.klines("BTCUSDT", f"2024-{month:02d}-01", f"2024-{month:02d}-21", "1h").num_rows
    if "frame" in given["ways"]:
        got["frame"] = len(data.get_data("BTCUSDT", f"2024-{month:02d}-01", f"2024-{month:02d}-21", "1h"))
    if "new" in given["ways"]:
        with ckvd_sql.connect(**settings) as own:
            got["new"] = own.sql(f"SELECT count(*) FROM {call}").fetchall()[0][0]
    if "old" in given["ways"]:
        got["old"] = con.sql(f"SELECT count(*) FROM {call}").fetchall()[0][0]
    if answers is None:
        return got
    answers.put(got)

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    parents = ask(1)
    answers = context.Queue()
    children = [context.Process(target=ask, args=(month, answers)) for month in (1, 2, 2)]
    for child in children:
        child.start()
    try:
        got = [answers.get(timeout=20) for _ in children]
    except Exception:
        got = "it hangs"
    for child in children:
        child.join(1)
        child.kill()
    print(json.dumps({"parent": parents, "children": got, "after": ask(3)}))
    con.close()
"""


class TestAForkAfterUse:
    @pytest.mark.parametrize(
        "way",
        [
            "data",
            "new",
            "old",
        ],
    )
    def test_lets_the_child_ask_on_its_own(self, exchange: Sandbox, tmp_path: Path, way: str) -> None:
        given = {"settings": hosts(exchange), "cache": str(tmp_path), "ways": [way]}
        said = run(FORKED, given)
        rows = {way: 20 * 24}
        assert said == {"parent": rows, "children": [rows] * 3, "after": rows}
        assert wrong_days(tmp_path) == []
        assert locks_held(tmp_path) == []
