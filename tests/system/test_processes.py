"""Clients in worker processes: results and errors come back, and a fork that can't work is refused at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql import CryptoKlineVisionData
from tests.support.cache_state import sandbox_settings
from tests.support.processes import run_program

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox

SYMBOLS = ["BTCUSDT", "ETHUSDT"]
SPAN = ("2024-01-01", "2024-02-01")

#: Runs a function for each symbol in worker processes, after `before`; what each returned, or its error.
PROGRAM = """
import json, multiprocessing, sys, types
from concurrent.futures import ProcessPoolExecutor
given = json.loads(sys.argv[1])
exec(given["before"])
worker = __import__("tests.system.workers", fromlist=["x"])
with ProcessPoolExecutor(2, multiprocessing.get_context(given["method"])) as pool:
    waiting = [pool.submit(getattr(worker, given["call"]), given["settings"], one) for one in given["symbols"]]
    found = []
    for one in waiting:
        try:
            found.append(one.result(30))
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
with multiprocessing.get_context(given["method"]).Pool(2) as pool:
    jobs = [(given["settings"], one) for one in given["symbols"]]
    try:
        pooled = pool.starmap_async(getattr(worker, given["call"]), jobs).get(30)
    except Exception as error:
        pooled = f"{type(error).__name__}: {error}"
print(json.dumps([found, pooled]))
"""

POLARS_WAS_USED = """
import polars as pl
assert pl.DataFrame({"a": [1, 2, 1] * 1000, "b": [1, 2, 3] * 1000}).group_by("a").agg(pl.col("b").sum()).height == 2
"""
CKVD_WAS_USED = """
from tests.system.workers import frame, klines, select
for call in (klines, select, frame):
    call(given["settings"], "BTCUSDT")
"""


@pytest.fixture
def settings(exchange: Sandbox, tmp_path: Path) -> dict[str, Any]:
    """Of a cache that has the symbols' bars."""
    found = {"cache_dir": str(tmp_path), **sandbox_settings(exchange)}
    for symbol in SYMBOLS:
        CryptoKlineVisionData(**found).klines(symbol, *SPAN, "1m")
    return found


def run(settings: dict[str, Any], method: str, call: str, before: str = "", symbols: list[str] = SYMBOLS) -> Any:
    given = {"settings": settings, "method": method, "call": call, "before": before, "symbols": symbols}
    return run_program(PROGRAM, given)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("call", ["frame", "klines", "select"])
def test_workers_of_a_process_that_has_used_nothing_return_their_rows(
    settings: dict[str, Any], method: str, call: str
) -> None:
    assert run(settings, method, call) == [[44_640, 44_640]] * 2


@pytest.mark.parametrize("call", ["klines", "select"])
def test_workers_that_need_no_polars_return_their_rows_after_any_use(settings: dict[str, Any], call: str) -> None:
    assert run(settings, "fork", call, CKVD_WAS_USED) == [[44_640, 44_640]] * 2


def test_spawned_workers_return_frames_after_any_use(settings: dict[str, Any]) -> None:
    assert run(settings, "spawn", "frame", CKVD_WAS_USED) == [[44_640, 44_640]] * 2


@pytest.mark.parametrize("before", [POLARS_WAS_USED, CKVD_WAS_USED], ids=["polars", "get_data"])
def test_a_frame_in_a_forked_worker_is_refused_at_once_after_polars_was_used(
    settings: dict[str, Any], before: str
) -> None:
    each, pooled = run(settings, "fork", "frame", before)
    for message in (*each, pooled):
        assert message.startswith("CkvdError: get_data can't run in this forked process")
        assert "multiprocessing.get_context('spawn')" in message


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_error_in_a_worker_is_raised_with_its_class_and_message(settings: dict[str, Any], method: str) -> None:
    each, pooled = run(settings, method, "klines", symbols=["NOSUCHUSDT", "not a symbol"])
    for message in (*each, pooled):
        assert message.startswith("InvalidSymbolError: symbol ")
