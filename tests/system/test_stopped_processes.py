"""Processes that are stopped (SIGSTOP) while they hold a lock: others wait a while, go on without it and say so."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql import CryptoKlineVisionData
from ckvd_sql.sandbox import Fault
from tests.support.arrow import table_bars
from tests.support.cache_state import HOURS, leftovers, locks_held, sandbox_settings, wrong_days
from tests.support.faults import ARCHIVE
from tests.support.processes import PATIENCE, read_line, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import Truth

SPAN = ("2024-01-01", "2024-02-01")
MONTH = "BTCUSDT-1h-2024-01.zip"

FETCH = """
import json, sys
given = json.loads(sys.argv[1])
from ckvd_sql import CryptoKlineVisionData
data = CryptoKlineVisionData(cache_dir=given["cache"], **given["settings"])
print(json.dumps({"rows": data.klines("BTCUSDT", *given["span"], "1h").num_rows}))
"""

#: Writes the days of a month that another cache has, and stops in the middle of one.
WRITE = """
import json, sys
from datetime import date
from pathlib import Path
given = json.loads(sys.argv[1])
from ckvd_sql.cache.folder import SeriesFolder
from ckvd_sql.market.series import INTERVALS, Market, Series
series = Series(Market.SPOT, "BTCUSDT", INTERVALS["1h"])

def content(day):
    whole = Path(given["other"], series.key, f"{day}.arrow").read_bytes()
    yield whole[:1000]
    if day.day == 3:
        print(json.dumps({"writing": str(day)}), flush=True)
        sys.stdin.readline()
    yield whole[1000:]

days = [date(2024, 1, day) for day in range(1, 32)]
refused = SeriesFolder(given["cache"], series).write_days("2024-01", [(day, content(day)) for day in days])
print(json.dumps({"refused": refused and str(refused)}))
"""

#: Holds the lock files that it is given, or waits for one with little patience.
HOLD = """
import contextlib, json, sys
from pathlib import Path
given = json.loads(sys.argv[1])
from ckvd_sql.disk import locks
locks._LEAST_PATIENCE = 1.5
with contextlib.ExitStack() as stack:
    if given["wait"]:
        print(json.dumps({"waiting": True}), flush=True)
    held = [stack.enter_context(locks.LockFile(Path(path), Path(path).parent, patience=1.5).hold()).held
            for path in given["paths"]]
    print(json.dumps({"held": held}), flush=True)
    sys.stdin.readline()
"""


@contextlib.contextmanager
def program(code: str, **given: Any) -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(given, default=str)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def ended(running: subprocess.Popen[str]) -> dict[str, Any]:
    """Let a stopped program go on to its end; its last line."""
    running.send_signal(signal.SIGCONT)
    out, err = running.communicate("\n", timeout=PATIENCE)
    assert running.returncode == 0, err
    result: dict[str, Any] = json.loads(out.splitlines()[-1]) if out.strip() else {}
    return result


def client(exchange: Sandbox, cache: Path, **more: Any) -> CryptoKlineVisionData:
    return CryptoKlineVisionData(cache_dir=cache, **sandbox_settings(exchange, timeout=1, **more))


@pytest.mark.timeout(60)
def test_a_stopped_fetch_is_waited_for_and_then_overtaken(
    exchange: Sandbox, tmp_path: Path, truth: Truth, caplog: pytest.LogCaptureFixture
) -> None:
    exchange.add(Fault(f"{MONTH}$", "stall", seconds=20, times=1))
    given = {"cache": tmp_path, "settings": sandbox_settings(exchange, timeout=2, retries=2), "span": SPAN}
    with program(FETCH, **given) as stopped:
        wait_until(lambda: any(request.path.endswith(MONTH) for request in exchange.requests))
        stopped.send_signal(signal.SIGSTOP)
        (name,) = locks_held(tmp_path)
        for _ in range(2):
            assert table_bars(client(exchange, tmp_path).klines("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)
        (warning,) = [message for message in caplog.messages if "lock" in message]
        assert name in warning
        assert not sys.platform.startswith("linux") or f"by process {stopped.pid}," in warning
        exchange.clear_faults()
        assert ended(stopped) == {"rows": 31 * 24}
    assert wrong_days(tmp_path) == []
    assert [one for one in leftovers(tmp_path) if one.endswith(".tmp")] == []
    assert locks_held(tmp_path) == []


@pytest.mark.timeout(60)
def test_a_writer_stopped_in_the_middle_of_a_day_damages_nothing_when_it_goes_on(
    exchange: Sandbox, tmp_path: Path, truth: Truth, caplog: pytest.LogCaptureFixture
) -> None:
    cache, other = tmp_path / "cache", tmp_path / "other"
    client(exchange, other).klines("BTCUSDT", *SPAN)
    with program(WRITE, cache=cache, other=other) as stopped:
        assert json.loads(read_line(stopped)) == {"writing": "2024-01-03"}
        stopped.send_signal(signal.SIGSTOP)
        (name,) = locks_held(cache)
        assert table_bars(client(exchange, cache).klines("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)
        (warning,) = caplog.messages
        assert name in warning
        assert wrong_days(cache) == []
        assert ended(stopped) == {"refused": None}
    assert wrong_days(cache) == []
    assert (cache / HOURS.key / "2024-01-31.arrow").is_file()
    assert [one for one in leftovers(cache) if one.endswith(".tmp")] == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", [".locks/*.lock", ".rest/*.lock"])
def test_requests_go_on_while_a_stopped_process_holds_every_lock_of_a_kind(
    exchange: Sandbox, tmp_path: Path, truth: Truth, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    span = ("2024-05-01", "2024-05-03")
    client(exchange, tmp_path).klines("BTCUSDT", *span)
    for path in (tmp_path / HOURS.key).glob("*.arrow"):
        path.unlink()
    caplog.clear()
    paths = list(tmp_path.glob(kind))
    with program(HOLD, paths=paths, wait=False) as stopped:
        assert json.loads(read_line(stopped)) == {"held": [True] * len(paths)}
        stopped.send_signal(signal.SIGSTOP)
        for _ in range(2):
            assert table_bars(client(exchange, tmp_path).klines("BTCUSDT", *span)) == truth("BTCUSDT", "1h", *span)
        warned = [message for message in caplog.messages if "going on without the lock" in message]
        named = [message.split()[2] for message in warned]
        assert named
        assert len(named) == len(set(named))
        assert set(named) <= set(map(str, paths))
        ended(stopped)
    assert wrong_days(tmp_path) == []
    assert locks_held(tmp_path) == []


@pytest.mark.timeout(30)
def test_time_in_which_the_waiting_process_was_stopped_itself_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    with program(HOLD, paths=[path], wait=False) as holder:
        read_line(holder)
        with program(HOLD, paths=[path], wait=True) as waiting:
            read_line(waiting)
            waiting.send_signal(signal.SIGSTOP)
            time.sleep(2)
            waiting.send_signal(signal.SIGCONT)
            ended(holder)
            assert json.loads(read_line(waiting)) == {"held": [True]}
