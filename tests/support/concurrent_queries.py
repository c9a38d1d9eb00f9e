"""Processes and threads that query one cache at the same moment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.support.cache_state import sandbox_settings
from tests.support.processes import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox

#: Threads that run one query at the same moment, through SQL and Python by turns. Prints each one's row count and hash.
CONCURRENT_QUERIES = """
import hashlib, json, sys, threading
given = json.loads(sys.argv[1])
import ckvd_sql
con = ckvd_sql.connect(cache_dir=given["cache"], **given["settings"])
data = ckvd_sql.CryptoKlineVisionData(cache_dir=given["cache"], **given["settings"])
results = [None] * given["threads"]
columns = ["open_time", "open", "high", "low", "close", "volume", "close_time", "trades"]
def query(number):
    if number % 2:
        with con.cursor() as cursor:
            table = cursor.sql(f"SELECT {', '.join(columns)} FROM ckvd_klines({given['call']})").to_arrow_table()
    else:
        symbol, interval, start, end = given["call"].replace("'", "").split(", ")
        table = data.klines(symbol, start, end, interval).select(columns)
    text = json.dumps([[str(value) for value in row.values()] for row in table.to_pylist()])
    results[number] = [table.num_rows, hashlib.sha256(text.encode()).hexdigest()]
threads = [threading.Thread(target=query, args=(number,)) for number in range(given["threads"])]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
con.close()
print(json.dumps(results))
"""


def query_at_once(exchange: Sandbox, cache: Path, calls: list[str], threads: int = 5) -> list[list[Any]]:
    """Run each call in a process of its own, all started at once; each thread's row count and hash of its rows."""
    given = {"cache": str(cache), "settings": sandbox_settings(exchange, timeout=30), "threads": threads}
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", CONCURRENT_QUERIES, json.dumps({**given, "call": call})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for call in calls
    ]
    try:
        for program in programs:
            assert program.stdout
            assert program.stdout.readline() == "ready\n"
        return [result for text in start_all(programs) for result in json.loads(text)]
    finally:
        for program in programs:
            program.kill()
            program.communicate()


def start_all(programs: list[subprocess.Popen[str]]) -> list[str]:
    """Start the queries of all programs at once; the outputs of the programs."""
    for program in programs:
        assert program.stdin
        program.stdin.write("\n")
        program.stdin.flush()
    outputs = [program.communicate(timeout=PATIENCE)[0] for program in programs]
    assert [program.returncode for program in programs] == [0] * len(programs)
    return outputs


def downloads(exchange: Sandbox) -> Counter[str]:
    """How often each zip was requested."""
    return Counter(one.path for one in exchange.requests if one.path.endswith(".zip"))
