"""The progress of a query that fetches for longer than a second: on a terminal, in the log, and not where unwanted."""

from __future__ import annotations

import json
import logging
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import ckvd_sql
from ckvd_sql.sandbox import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox

CALL = "ckvd_klines('BTCUSDT', '1m', '2024-06-01', '2024-06-09')"
QUERY = f"SELECT count(*) FROM {CALL}"
PROGRAM = """
import json, sys, ckvd_sql
con = ckvd_sql.connect(**json.loads(sys.argv[1]))
print(con.sql(sys.argv[2]).fetchall())
"""


@pytest.fixture
def slow(exchange: Sandbox, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with which the query takes more than a second."""
    exchange.add(Fault(r"\.zip$", "latency", seconds=0.7))
    return {**settings, "concurrency": 4, "timeout": 20}


def on_terminal(settings: dict[str, Any], *, out: str = "pipe") -> tuple[str, str]:
    """What a program shows on its stdout and on a terminal that is its stderr."""
    ours, theirs = pty.openpty()
    given = json.dumps(settings, default=str)
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, given, QUERY], stdout=subprocess.PIPE, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:  # Linux raises it when the other end is closed
            pass
        assert process.stdout is not None
        printed = process.stdout.read().decode()
    os.close(ours)
    assert process.returncode == 0, (out, shown)
    return printed, shown.decode()


def test_a_terminal_shows_a_bar_on_stderr_which_disappears(slow: dict[str, Any]) -> None:
    printed, shown = on_terminal(slow)
    assert printed == "[(11520,)]\n"
    assert " of 8 days, " in shown
    assert shown.rstrip().endswith("\x1b[2K") or "\x1b[2K" in shown.rsplit("days", 1)[1]


def test_a_query_that_takes_no_second_shows_nothing(settings: dict[str, Any]) -> None:
    ckvd_sql.CryptoKlineVisionData(**settings).fetch("BTCUSDT", "2024-06-01", "2024-06-09", "1m")
    assert on_terminal(settings) == ("[(11520,)]\n", "")


def test_the_setting_switches_it_off(slow: dict[str, Any]) -> None:
    assert on_terminal({**slow, "progress": 0}) == ("[(11520,)]\n", "")


def test_a_pipe_gets_none(slow: dict[str, Any]) -> None:
    given = json.dumps(slow, default=str)
    done = subprocess.run([sys.executable, "-c", PROGRAM, given, QUERY], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[(11520,)]\n", "")


def test_elsewhere_the_log_says_the_start_and_the_end(slow: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ckvd_sql"), ckvd_sql.connect(**slow) as con:
        assert con.sql(QUERY).fetchall() == [(11_520,)]
    first, last = (message for message in caplog.messages if " of 8 days, " in message)
    assert first.startswith("fetching: ")
    assert last.startswith("fetched 8 of 8 days, 16 files, ")


def test_an_error_ends_the_progress(
    slow: dict[str, Any], exchange: Sandbox, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    exchange.add(Fault("06-08", "status", status=503))
    exchange.add(Fault("/api/v3/klines", "status", status=451))
    slow["retries"] = 0
    with (
        caplog.at_level(logging.INFO, "ckvd_sql"),
        ckvd_sql.connect(**slow) as con,
        pytest.raises(duckdb.Error, match="ProviderUnavailableError"),
    ):
        con.sql(QUERY).fetchall()
    assert caplog.messages[-1].startswith("fetched ")
    assert list(tmp_path.rglob("*.arrow"))
