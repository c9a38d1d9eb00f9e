"""Interrupted and abandoned queries leave no thread, no lock and no wrong day."""

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
from ckvd_sql.sandbox import Fault
from ckvd_sql.sandbox.faults import fault_from
from tests.support.bars import read
from tests.support.cache_state import HOURS, MINUTES, expected_bars, locks_held, sandbox_settings, wrong_days
from tests.support.processes import PATIENCE, read_line, run_program, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox

#: Starts a query, prints how it ended and which threads are left, and stays alive until it reads a line, so that
#: a lock that it still holds would block others.
INTERRUPTED = """
import gc, json, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
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
    import polars  # it changes how signals are delivered
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
    ended = "without an error"
except BaseException as error:
    ended = f"{type(error).__name__}: {error}"
result = reader = None
gc.collect()

def our_threads():
    return [one.name for one in threading.enumerate() if one.name.startswith(("ckvd", "asyncio"))]

for _ in range(300):
    if not our_threads():
        break
    time.sleep(0.1)
print(json.dumps({"ended": ended, "threads": our_threads()}), flush=True)
sys.stdin.readline()
con.close()
"""


class TestInterruptions:
    def interrupted(
        self, exchange: Sandbox, cache: Path, how: str, interrupt: Callable[[subprocess.Popen[str]], None] | None = None
    ) -> str:
        """Interrupt a program in a slow fetch; how its query ended. Another connection must then work at once."""
        patient = how in {"python", "fetch"}  # only Ctrl-C ends the wait in time
        given = {
            "cache": str(cache),
            "settings": sandbox_settings(exchange, retries=0, timeout=3600 if patient else 2),
            "how": how,
        }
        slow = {"kind": "stall", "seconds": 60} if interrupt else {"kind": "latency", "seconds": 1}
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
            if interrupt:
                wait_until(lambda: any(one.path.endswith(("2024-01.zip", "2024-02.zip")) for one in exchange.requests))
                interrupt(program)
            result = json.loads(read_line(program))
            exchange.clear_faults()
            self.assert_another_connection_works(exchange, cache)
        finally:
            program.kill()
            program.communicate()
        assert result["threads"] == []
        ended: str = result["ended"]
        return ended

    def assert_another_connection_works(self, exchange: Sandbox, cache: Path) -> None:
        for series in (HOURS, MINUTES):
            call = f"ckvd_klines('BTCUSDT', '{series.interval.name}', '2024-01-31', '2024-02-03')"
            with ckvd_sql.connect(cache_dir=cache, **sandbox_settings(exchange)) as con:
                assert read(con, call) == expected_bars(series, "2024-01-31", "2024-02-03")
        assert wrong_days(cache) == []

    @pytest.mark.parametrize("how", ["python", "fetch"])
    def test_ctrl_c_in_python_ends_a_fetch_at_once_and_leaves_no_thread_and_no_lock(
        self, exchange: Sandbox, tmp_path: Path, how: str
    ) -> None:
        ended = self.interrupted(exchange, tmp_path, how, lambda program: program.send_signal(signal.SIGINT))
        assert ended.startswith("KeyboardInterrupt")

    def test_ctrl_c_in_sql_ends_a_query_with_the_current_request_and_leaves_no_thread_and_no_lock(
        self, exchange: Sandbox, tmp_path: Path
    ) -> None:
        ended = self.interrupted(exchange, tmp_path, "sql", lambda program: program.send_signal(signal.SIGINT))
        assert "interrupt" in ended.lower()

    def test_con_interrupt_ends_a_query_with_the_current_request_and_leaves_no_thread_and_no_lock(
        self, exchange: Sandbox, tmp_path: Path
    ) -> None:
        def interrupt(program: subprocess.Popen[str]) -> None:
            assert program.stdin
            program.stdin.write("\n")
            program.stdin.flush()

        assert "interrupt" in self.interrupted(exchange, tmp_path, "interrupt", interrupt).lower()

    @pytest.mark.parametrize("how", ["abandoned", "dropped", "reader", "closed", "limit"])
    def test_a_result_that_is_not_read_to_its_end_leaves_no_thread_and_no_lock(
        self, exchange: Sandbox, tmp_path: Path, how: str
    ) -> None:
        assert self.interrupted(exchange, tmp_path, how) == "without an error"

    def test_an_interrupt_at_any_moment_of_a_fetch_leaves_no_lock(self, exchange: Sandbox, tmp_path: Path) -> None:
        """Queries that are interrupted after a random time, repeatedly, in one process that continues."""
        rng = random.Random(11)  # noqa: S311 (a fixed choice)
        with ckvd_sql.connect(cache_dir=tmp_path, retries=0, timeout=10, **sandbox_settings(exchange)) as con:
            for _ in range(12):
                pause = rng.random() * 0.15
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

    def test_a_process_that_ends_with_an_unread_result_does_not_hang(self, exchange: Sandbox, tmp_path: Path) -> None:
        code = (
            "import json, sys, ckvd_sql; given = json.loads(sys.argv[1]); con = ckvd_sql.connect(**given);"
            "result = con.execute(\"SELECT * FROM ckvd_klines('BTCUSDT', '1m', '2024-01-01', '2024-05-01')\");"
            "print(json.dumps(str(result.fetchone()[0])))"
        )
        assert run_program(code, sandbox_settings(exchange, cache_dir=str(tmp_path))) == "BTCUSDT"


#: Asks for gaps whose search for the first bar fails. Argument: the settings.
FAILED_GAPS = """
import json, sys
import ckvd_sql
con = ckvd_sql.connect(**json.loads(sys.argv[1]))
con.sql("FROM ckvd_gaps('LUNAUSDT', '1h', '2020-08-01', '2020-10-01')").fetchall()
"""


def test_a_process_whose_query_for_gaps_fails_ends(exchange: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")  # so that nothing can be stored
    exchange.add(Fault(r"/v\d/klines", "status", status=400, body='{"code":-1121,"msg":"Invalid symbol."}'))
    exchange.add(Fault(r"/monthly/.*-0[17]\.zip", "status", status=503))
    given = {**exchange.settings, "cache_dir": str(tmp_path / "file"), "retries": 0, "timeout": 10}
    command = [sys.executable, "-c", FAILED_GAPS, json.dumps(given)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 1
    assert "503" in ended.stderr.splitlines()[-1]
