"""Processes and threads that ask one cache at the same moment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.support.cache_state import hosts
from tests.support.processes import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox

#: Five threads of a process that ask for the same month when told to, through SQL and Python; what each got, hashed.
CROWD = """
import hashlib, json, sys, threading
given = json.loads(sys.argv[1])
import ckvd_sql
con = ckvd_sql.connect(cache_dir=given["cache"], **given["settings"])
data = ckvd_sql.CryptoKlineVisionData(cache_dir=given["cache"], **given["settings"])
got = [None] * given["threads"]
columns = ["open_time", "open", "high", "low", "close", "volume", "close_time", "trades"]
def ask(number):
    if number % 2:
        with con.cursor() as cursor:
            table = cursor.sql(f"SELECT {', '.join(columns)} FROM ckvd_klines({given['call']})").to_arrow_table()
    else:
        symbol, interval, start, end = given["call"].replace("'", "").split(", ")
        table = data.klines(symbol, start, end, interval).select(columns)
    text = json.dumps([[str(value) for value in row.values()] for row in table.to_pylist()])
    got[number] = [table.num_rows, hashlib.sha256(text.encode()).hexdigest()]
threads = [threading.Thread(target=ask, args=(number,)) for number in range(given["threads"])]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
con.close()
print(json.dumps(got))
"""


def crowd(exchange: Sandbox, cache: Path, calls: list[str], threads: int = 5) -> list[list[Any]]:
    """A process a call, all let go at once; what each of their threads got: rows and hash."""
    given = {"cache": str(cache), "settings": hosts(exchange, timeout=30), "threads": threads}
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", CROWD, json.dumps({**given, "call": call})],
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
        return [said for text in ask_all(programs) for said in json.loads(text)]
    finally:
        for program in programs:
            program.kill()
            program.communicate()


def ask_all(programs: list[subprocess.Popen[str]]) -> list[str]:
    """Let all programs go at once; what they say."""
    for program in programs:
        assert program.stdin
        program.stdin.write("\n")
        program.stdin.flush()
    said = [program.communicate(timeout=PATIENCE)[0] for program in programs]
    assert [program.returncode for program in programs] == [0] * len(programs)
    return said


def downloads(exchange: Sandbox) -> Counter[str]:
    """How often each archive was asked for."""
    return Counter(one.path for one in exchange.requests if one.path.endswith(".zip"))
