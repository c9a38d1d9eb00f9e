"""The audit of recorded Binance data: what the exchange really published has no finding that is an error.

The data is in a folder beside the checkout (../shared/real); without it, these tests are skipped.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest

from ckvd_sql.market.agreement import check_sum, finer_intervals
from ckvd_sql.market.audit import AuditedDay, Check, Severity, check_day
from ckvd_sql.market.bars import concat_batches, open_times, split_days
from ckvd_sql.market.periods import DAY, day_of, days_between
from ckvd_sql.market.provenance import Source
from ckvd_sql.market.series import Series
from tests.support.bars import csv_rows, series
from tests.support.days import to_arrow
from tests.support.real import GOLDEN, REAL, golden_rows
from tests.support.stand_in import ROUTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.market.audit import Finding
    from tests.support.bars import Row

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real Binance data is not at {REAL}")

Days = dict["date", "pa.RecordBatch"]


def archives() -> Iterator[tuple[Series, list[Row]]]:
    """The rows of the recorded archives."""
    for path in (REAL / "vision").rglob("*.zip"):
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            yield series("spot", "BTCUSDT", "1m"), csv_rows(archive.read(archive.namelist()[0]))
    for path in (REAL / "csv" / "spot-monthly-1h").glob("*.csv"):
        yield series("spot", path.name.partition("-")[0], "1h"), csv_rows(path.read_bytes())
    for path in (REAL / "csv" / "um-monthly-1m").glob("*.csv.gz"):
        yield series("um", path.name.partition("-")[0], "1m"), csv_rows(gzip.decompress(path.read_bytes()))


def answers() -> Iterator[tuple[Series, list[Row]]]:
    """The rows of the recorded REST answers."""
    markets = {f"{route}klines": market for market, route in ROUTES.items()}
    for entry in json.loads((REAL / "rest" / "INDEX.json").read_text()):
        if entry.get("rows"):
            query = parse_qs(entry["query"])
            one = series(markets[entry["route"]].value, query["symbol"][0], query["interval"][0])
            yield one, json.loads((REAL / "rest" / entry["file"]).read_text())


def golden() -> Iterator[tuple[Series, list[Row]]]:
    """The bars that another program read from archives."""
    for (market, symbol), name in GOLDEN.items():
        yield series(market, symbol, "1h"), golden_rows(name)


@cache
def recorded() -> dict[Series, Days]:
    """Every recorded bar, by series and day; days that were recorded in part are left out."""
    found: dict[Series, Days] = {}
    for one, bars in ((one, to_arrow(rows)) for one, rows in (*archives(), *answers(), *golden())):
        grid = one.with_bar_at(int(open_times(bars)[0]))
        days = split_days(bars)
        edges = set() if grid.interval.multi_day else {min(days), max(days)}
        whole = {day: rows for day, rows in days.items() if day not in edges or _fills(grid, rows)}
        found.setdefault(grid, {}).update(whole)
    return found


def _fills(one: Series, rows: pa.RecordBatch) -> bool:
    return rows.num_rows * (one.interval.step or 0) == DAY


def audited(one: Series) -> list[AuditedDay]:
    return [AuditedDay(one, day, bars, Source.VISION) for day, bars in sorted(recorded()[one].items())]


def test_no_recorded_bar_contradicts_itself() -> None:
    found = [finding for one in recorded() for day in audited(one) for finding in check_day(day, 0)]
    assert sum(len(days) for days in recorded().values()) > 100
    assert [finding for finding in found if finding.severity is Severity.ERROR] == []
    assert {finding.check for finding in found} <= {Check.GAP, Check.ZERO_VOLUME}


def test_no_recorded_bar_differs_from_the_sum_of_recorded_shorter_ones() -> None:
    compared = 0
    found: list[Finding] = []
    for one in recorded():
        for finer in finer_intervals(one.interval):
            shorter = recorded().get(Series(one.market, one.symbol, finer), {})
            for day in audited(one):
                last = day_of(one.interval.open_time(one.interval.slot(int(open_times(day.bars)[0])) + 1) - 1)
                days = list(days_between(day.day, max(day.day, last)))
                if shorter.keys() >= set(days):
                    compared += 1
                    found += check_sum(day, finer, concat_batches([shorter[each] for each in days]))
    assert compared >= 3
    assert found == []
