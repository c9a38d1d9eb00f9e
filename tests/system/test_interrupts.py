"""Interrupted and abandoned queries: no thread, no lock, no wrong day stays behind."""

from __future__ import annotations

import contextlib
import gc
import json
import random
import shutil
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import duckdb
import pytest

import ckvd_sql
from ckvd_sql.sandbox.faults import fault_from
from tests.support.bars import read
from tests.support.cache_state import HOURS, MINUTES, hosts, locks_held, truth, wrong_days
from tests.support.processes import read_line, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox

#: Asks, is disturbed in some way, and says how the asking ended and which threads are left. Then it stays alive until
#: told to end, so that a lock that it still holds would be in the way of others.
INTERRUPTED = """
import gc, json, sys, threading, time
given = json.loads(sys.argv[1])
import ckvd_sql
settings = dict(given["settings"], cache_dir=given["cache"])
how = given["how"]
con = ckvd_sql.connect(**settings)
data = ckvd_sql.CryptoKlineVisionData(**settings)
interval = "1h" if how in ("python", "fetch", "sql", "interrupt") else "1m"
call = f"SELECT * FROM ckvd_klines('BTCUSDT', '{interval}', '2024-01-01', '2024-05-01')"
if how == "interrupt":
    threading.Thread(target=lambda: (sys.stdin.readline(), con.interrupt()), daemon=True).start()
if how in ("python", "fetch"):
    import polars  # as those do who use it; it changes how signals arrive
print("ready", flush=True)
result = reader = None
try:
    if how == "python":
        data.get_data("BTCUSDT", "2024-01-01", "2024-05-01", interval)
    elif how == "fetch":
        data.fetch("BTCUSDT", "2024-01-01", "2024-05-01", interval)
    elif how in ("sql", "interrupt"):
        con.sql(call).fetchall()
    elif how == "abandoned":
        result = con.execute(call)
        assert result.fetchone()
        result = con.execute("SELECT 1")
    elif how == "dropped":
        with con.cursor() as cursor:
            assert cursor.execute(call).fetchone()
    elif how == "reader":
        reader = con.sql(call).to_arrow_reader(1000)
        assert reader.read_next_batch().num_rows
        reader.close()
        del reader
    elif how == "closed":
        assert con.execute(call).fetchone()
        con.close()
    elif how == "limit":
        assert con.execute(call + " LIMIT 5").fetchall()
    ended = "by itself"
except BaseException as error:
    ended = f"{type(error).__name__}: {error}"
result = reader = None
gc.collect()

def ours():
    return [one.name for one in threading.enumerate() if one.name.startswith(("ckvd", "asyncio"))]

for _ in range(300):
    if not ours():
        break
    time.sleep(0.1)
print(json.dumps({"ended": ended, "threads": ours()}), flush=True)
sys.stdin.readline()
con.close()
"""


class TestAnInterruption:
    def disturbed(
        self, exchange: Sandbox, cache: Path, how: str, disturb: Callable[[subprocess.Popen[str]], None] | None = None
    ) -> str:
        """Disturb a program in the midst of a slow fetch; how its asking ended. Another goes on at once."""
        patient = how in {"python", "fetch"}  # then nothing but Ctrl-C ends the waiting in time
        given = {
            "cache": str(cache),
            "settings": hosts(exchange, retries=0, timeout=3600 if patient else 2),
            "how": how,
        }
        slow = {"kind": "stall", "seconds": 60} if disturb else {"kind": "latency", "seconds": 1}
        exchange.add(fault_from({"path": r"2024-0[1-4].*\.zip$", **slow}))
        program = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert program.stdout
            assert program.stdout.readline() == "ready\n"
            if disturb:
                wait_until(lambda: any(one.path.endswith(("2024-01.zip", "2024-02.zip")) for one in exchange.requests))
                disturb(program)
            said = json.loads(read_line(program))
            exchange.clear_faults()
            self.assert_another_goes_on(exchange, cache)
        finally:
            program.kill()
            program.communicate()
        assert said["threads"] == []
        ended: str = said["ended"]
        return ended

    def assert_another_goes_on(self, exchange: Sandbox, cache: Path) -> None:
        for series in (HOURS, MINUTES):
            call = f"ckvd_klines('BTCUSDT', '{series.interval.name}', '2024-01-31', '2024-02-03')"
            with ckvd_sql.connect(cache_dir=cache, **hosts(exchange)) as con:
                assert read(con, call) == truth(series, "2024-01-31", "2024-02-03")
        assert wrong_days(cache) == []

    @pytest.mark.parametrize("how", ["python", "fetch"])
    def test_by_ctrl_c_in_python_ends_at_once_and_leaves_no_thread_and_no_lock(
        self, exchange: Sandbox, tmp_path: Path, how: str
    ) -> None:
        ended = self.disturbed(exchange, tmp_path, how, lambda program: program.send_signal(signal.SIGINT))
        assert ended.startswith("KeyboardInterrupt")

    def test_by_ctrl_c_in_sql_ends_with_the_request_and_leaves_no_thread_and_no_lock(
        self, exchange: Sandbox, tmp_path: Path
    ) -> None:
        ended = self.disturbed(exchange, tmp_path, "sql", lambda program: program.send_signal(signal.SIGINT))
        assert "interrupt" in ended.lower()

    def test_by_interrupt_ends_with_the_request_and_leaves_no_thread_and_no_lock(
        self, exchange: Sandbox, tmp_path: Path
    ) -> None:
        def interrupt(program: subprocess.Popen[str]) -> None:
            assert program.stdin
            program.stdin.write("\n")
            program.stdin.flush()

        assert "interrupt" in self.disturbed(exchange, tmp_path, "interrupt", interrupt).lower()

    @pytest.mark.parametrize("how", ["abandoned", "dropped", "reader", "closed", "limit"])
    def test_of_a_result_that_is_not_read_to_its_end_leaves_no_thread_and_no_lock(
        self, exchange: Sandbox, tmp_path: Path, how: str
    ) -> None:
        assert self.disturbed(exchange, tmp_path, how) == "by itself"

    def test_at_any_moment_of_a_fetch_leaves_no_lock(self, exchange: Sandbox, tmp_path: Path) -> None:
        """Streams that are closed after a random time, again and again, in one process that lives on."""
        chance = random.Random(11)  # noqa: S311 (a fixed choice)
        with ckvd_sql.connect(cache_dir=tmp_path, retries=0, timeout=10, **hosts(exchange)) as con:
            for _ in range(12):
                pause = chance.random() * 0.15
                timer = threading.Timer(pause, con.interrupt)
                timer.start()
                with contextlib.suppress(duckdb.Error):
                    con.execute(
                        "SELECT count(*) FROM ckvd_klines('BTCUSDT', '1h', '2024-01-01', '2024-06-01')"
                    ).fetchall()
                timer.join()
                gc.collect()
                assert locks_held(tmp_path) == []
                shutil.rmtree(tmp_path / "binance", ignore_errors=True)
        assert [one.name for one in threading.enumerate() if one.name == "ckvd-fetch"] == []

    def test_of_a_process_that_ends_with_a_result_half_read_does_not_hang(
        self, exchange: Sandbox, tmp_path: Path
    ) -> None:
        code = (
            "import json, sys, ckvd_sql; given = json.loads(sys.argv[1]); con = ckvd_sql.connect(**given);"
            "result = con.execute(\"SELECT * FROM ckvd_klines('BTCUSDT', '1m', '2024-01-01', '2024-05-01')\");"
            "print(json.dumps(str(result.fetchone()[0])))"
        )
        assert run(code, hosts(exchange, cache_dir=str(tmp_path))) == "BTCUSDT"
