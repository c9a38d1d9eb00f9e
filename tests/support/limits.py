"""Caches of many days, and processes that read them with few open files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckvd_sql.market.bars import integers
from ckvd_sql.market.provenance import Provenance, Source
from ckvd_sql.market.series import INTERVALS, Market, Series
from tests.support.day_files import bars_of
from tests.support.processes import run_program

if TYPE_CHECKING:
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.cache.store import DayStore

FROM_REST = Provenance(Source.REST, "https://api.example", "", 0)

#: Runs statements with at most `files` open files; their results, and what was logged or set aside.
READ_WITH_FEW_FILES = """
import json, logging, resource, sys
from pathlib import Path
given = json.loads(sys.argv[1])
import ckvd_sql
logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
resource.setrlimit(resource.RLIMIT_NOFILE, (given["files"], given["files"]))
with ckvd_sql.connect(cache_dir=given["cache"], offline=True) as con:
    found = [con.execute(statement).fetchone() for statement in given["statements"]]
print(json.dumps({"found": found, "damaged": len(list(Path(given["cache"]).rglob("*.damaged")))}))
"""


def spot(symbol: str, interval: str) -> Series:
    """A series of the spot market."""
    return Series(Market.SPOT, symbol, INTERVALS[interval])


def sums_of(batches: list[pa.RecordBatch]) -> list[Any]:
    """How many rows these bars have, and the sum of their trades as text."""
    trades = sum(sum(map(int, integers(rows.column("trades")))) for rows in batches)
    return [sum(rows.num_rows for rows in batches), str(trades)]


def fill(store: DayStore, one: Series, days: list[date]) -> list[Any]:
    """Write the days of a series; how many rows they have, and the sum of their trades as text."""
    batches = {day: bars_of(one, day) for day in days}
    store.write_days(one, {day: (rows, FROM_REST) for day, rows in batches.items()})
    return sums_of(list(batches.values()))


def read_with_few_files(store: DayStore, statements: list[str], files: int) -> dict[str, Any]:
    """What a process finds that may have this many open files: the first row of each statement, and damaged days."""
    given = {"cache": str(store.root), "statements": statements, "files": files}
    found: dict[str, Any] = run_program(READ_WITH_FEW_FILES, given)
    return found
