"""Few open files and little address space: a cache of any size is read, and nothing counts as damaged."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.periods import days_between
from tests.support.limits import fill, read_with_few_files, spot
from tests.support.processes import run_program

if TYPE_CHECKING:
    from pathlib import Path

DAYS = list(days_between(date(2017, 1, 1), date(2025, 3, 19)))
FILES = 64
SYMBOLS = [f"COIN{number}USDT" for number in range(200)]

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


@pytest.mark.timeout(120)
def test_thousands_of_mapped_days_and_hundreds_of_symbols_and_packs_are_read_with_few_open_files(
    tmp_path: Path,
) -> None:
    store = DayStore(tmp_path / "cache")
    long = fill(store, spot("BTCUSDT", "3m"), DAYS)
    many = [fill(store, spot(symbol, "3m"), DAYS[-5:]) for symbol in SYMBOLS]
    packed = fill(store, spot("ETHUSDT", "15m"), DAYS)
    statement = "SELECT count(*)::BIGINT, sum(trades)::HUGEINT::VARCHAR FROM ckvd_klines({}, '{}', '{}', '2025-03-20')"
    statements = [
        statement.format("'BTCUSDT'", "3m", DAYS[0]),
        statement.format(SYMBOLS, "3m", DAYS[-5]),
        *[statement.format("'ETHUSDT'", "15m", DAYS[0])] * 2,
    ]
    sums = [long, [sum(rows for rows, _ in many), str(sum(int(trades) for _, trades in many))], packed, packed]
    for _ in range(2):  # without packs and with them
        result = read_with_few_files(store, statements, FILES)
        assert result == {"found": sums, "damaged": 0}
    assert len(list(store.folder(spot("ETHUSDT", "15m")).glob(".packs/*.pack"))) > FILES


@pytest.mark.timeout(60)
def test_what_was_read_before_is_let_go_where_there_is_no_address_space_for_more(tmp_path: Path) -> None:
    store = DayStore(tmp_path)
    days = DAYS[:600]
    rows = [fill(store, spot(symbol, "3m"), days)[0] for symbol in ("ONE", "TWO", "SMALL")]
    size = sum(path.stat().st_size for path in store.folder(spot("ONE", "3m")).glob("*.arrow"))
    # Half as much again as the files of one series: they are mapped in whole pages, and Arrow needs some memory.
    given = {"cache": str(store.root), "span": [str(days[0]), str(days[-1])], "room": size * 3 // 2}
    assert run_program(SQUEEZED, given) == rows[:2] * 2
