"""Few open files and little address space: a cache of any size is read, and nothing counts as damaged."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.bars import integers
from ckvd_sql.market.periods import days_between
from ckvd_sql.market.provenance import Provenance, Source
from ckvd_sql.market.series import INTERVALS, Market, Series
from tests.support.day_files import bars_of
from tests.support.processes import run_program

if TYPE_CHECKING:
    from pathlib import Path

FROM_REST = Provenance(Source.REST, "https://api.example", "", 0)
DAYS = list(days_between(date(2017, 1, 1), date(2025, 3, 19)))
SYMBOLS = [f"COIN{number}USDT" for number in range(200)]

#: Runs statements with at most `files` open files; their results, and what was logged or set aside.
READ = """
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

#: Reads two series one after the other in an address space that has room for one of them.
SQUEEZED = """
import json, resource, sys
from datetime import date
from pathlib import Path
given = json.loads(sys.argv[1])
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.series import INTERVALS, Market, Series
store = DayStore(Path(given["cache"]))
first, last = map(date.fromisoformat, given["span"])
one, two, small = (Series(Market.SPOT, symbol, INTERVALS["3m"]) for symbol in ("ONE", "TWO", "SMALL"))
store.snapshot(small).read(first)
used = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (used + given["room"],) * 2)
counts = []
for _ in range(2):
    for series in (one, two):
        counts.append(sum(part.rows.num_rows for part in store.snapshot(series).read_range(first, last)))
print(json.dumps(counts))
"""


def series(symbol: str, interval: str) -> Series:
    return Series(Market.SPOT, symbol, INTERVALS[interval])


def fill(store: DayStore, one: Series, days: list[date]) -> tuple[int, int]:
    """Write the days of a series; how many rows they have, and the sum of their trades."""
    batches = {day: bars_of(one, day) for day in days}
    store.write_days(one, {day: (rows, FROM_REST) for day, rows in batches.items()})
    trades = sum(sum(map(int, integers(rows.column("trades")))) for rows in batches.values())
    return sum(rows.num_rows for rows in batches.values()), trades


@pytest.mark.timeout(120)
def test_thousands_of_mapped_days_and_hundreds_of_symbols_and_packs_are_read_with_few_open_files(
    tmp_path: Path,
) -> None:
    store = DayStore(tmp_path / "cache")
    long = fill(store, series("BTCUSDT", "3m"), DAYS)
    many = [fill(store, series(symbol, "3m"), DAYS[-5:]) for symbol in SYMBOLS]
    packed = fill(store, series("ETHUSDT", "15m"), DAYS)
    statement = "SELECT count(*)::BIGINT, sum(trades)::HUGEINT::VARCHAR FROM ckvd_klines({}, '{}', '{}', '2025-03-20')"
    statements = [
        statement.format("'BTCUSDT'", "3m", DAYS[0]),
        statement.format(SYMBOLS, "3m", DAYS[-5]),
        *[statement.format("'ETHUSDT'", "15m", DAYS[0])] * 2,
    ]
    given: dict[str, Any] = {"cache": str(store.root), "statements": statements, "files": 64}
    sums = [long, (sum(rows for rows, _ in many), sum(trades for _, trades in many)), packed, packed]
    for _ in range(2):  # without packs and with them
        result = run_program(READ, given)
        assert result == {"found": [[rows, str(trades)] for rows, trades in sums], "damaged": 0}
    assert len(list(store.folder(series("ETHUSDT", "15m")).glob(".packs/*.pack"))) > given["files"]


@pytest.mark.timeout(60)
def test_what_was_read_before_is_let_go_where_there_is_no_address_space_for_more(tmp_path: Path) -> None:
    store = DayStore(tmp_path)
    days = DAYS[:600]
    rows = [fill(store, series(symbol, "3m"), days)[0] for symbol in ("ONE", "TWO", "SMALL")]
    size = sum(path.stat().st_size for path in store.folder(series("ONE", "3m")).glob("*.arrow"))
    # Half as much again as the files of one series: they are mapped in whole pages, and Arrow needs some memory.
    given = {"cache": str(store.root), "span": [str(days[0]), str(days[-1])], "room": size * 3 // 2}
    assert run_program(SQUEEZED, given) == rows[:2] * 2
