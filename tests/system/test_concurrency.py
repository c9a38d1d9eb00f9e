"""Processes, threads and forks that share a cache: each archive is downloaded once, and all get the same rows."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.provenance import Provenance, Source
from tests.support.cache_state import DATE, MINUTES, expected_day, leftovers, locks_held, sandbox_settings, wrong_days
from tests.support.concurrent_queries import downloads, query_at_once
from tests.support.processes import PATIENCE, run_program

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox


class TestConcurrentQueries:
    def test_of_eight_processes_with_five_threads_each_download_a_month_once_and_return_the_same_rows(
        self, exchange: Sandbox, tmp_path: Path
    ) -> None:
        got = query_at_once(exchange, tmp_path, ["'BTCUSDT', '1h', '2024-02-01', '2024-03-01'"] * 8)
        assert len(got) == 40
        assert len({tuple(result) for result in got}) == 1
        assert got[0][0] == 29 * 24
        assert downloads(exchange) == {"/data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-02.zip": 1}
        assert wrong_days(tmp_path) == []

    def test_for_days_of_the_running_month_download_each_day_once(self, exchange: Sandbox, tmp_path: Path) -> None:
        got = query_at_once(exchange, tmp_path, ["'BTCUSDT', '1h', '2024-06-01', '2024-06-10'"] * 2)
        assert {result[0] for result in got} == {9 * 24}
        assert len(downloads(exchange)) == 9
        assert set(downloads(exchange).values()) == {1}
        assert wrong_days(tmp_path) == []

    def test_a_day_is_complete_at_every_moment_while_threads_write_it(self, tmp_path: Path) -> None:
        """A fetch of a month and one of a day hold different locks and may write the same day."""
        store, day = DayStore(tmp_path), expected_day(MINUTES, DATE)
        failed: list[BaseException] = []

        def write() -> None:
            try:
                for _ in range(25):
                    store.write(MINUTES, DATE, day, Provenance(Source.REST, "http://127.0.0.1", "", 0))
                    assert store.read(MINUTES, DATE).rows.equals(day)
            except Exception as error:  # noqa: BLE001 (asserted below)
                failed.append(error)

        writers = [threading.Thread(target=write) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(PATIENCE)
        assert failed == []
        assert leftovers(tmp_path) == []


#: Queries in the way given, then again in forked children that inherit the connection and the client.
FORKED = """
import json, multiprocessing, sys
given = json.loads(sys.argv[1])
import ckvd_sql
settings = dict(given["settings"], cache_dir=given["cache"])
con = ckvd_sql.connect(**settings)
data = ckvd_sql.CryptoKlineVisionData(**settings)

def query(month, answers=None):
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
    parents = query(1)
    answers = context.Queue()
    children = [context.Process(target=query, args=(month, answers)) for month in (1, 2, 2)]
    for child in children:
        child.start()
    try:
        got = [answers.get(timeout=20) for _ in children]
    except Exception:
        got = "it hangs"
    for child in children:
        child.join(1)
        child.kill()
    print(json.dumps({"parent": parents, "children": got, "after": query(3)}))
    con.close()
"""


class TestForkAfterUse:
    @pytest.mark.parametrize(
        "way",
        [
            "data",
            "new",
            "old",
        ],
    )
    def test_the_child_can_query_on_its_own(self, exchange: Sandbox, tmp_path: Path, way: str) -> None:
        given = {"settings": sandbox_settings(exchange), "cache": str(tmp_path), "ways": [way]}
        result = run_program(FORKED, given)
        rows = {way: 20 * 24}
        assert result == {"parent": rows, "children": [rows] * 3, "after": rows}
        assert wrong_days(tmp_path) == []
        assert locks_held(tmp_path) == []
