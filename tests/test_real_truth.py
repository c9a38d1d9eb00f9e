"""Sources that disagree, replayed with recorded Binance data: the answer is what Binance published last."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.maintenance import verify
from ckvd_sql.market.periods import Month, day_of
from ckvd_sql.scan.resolver import Resolver
from ckvd_sql.settings import Settings
from tests.support.bars import bars, csv_rows, csv_text, read, series
from tests.support.connections import cached_days, connect, settings_for
from tests.support.exchange import in_rest_shape
from tests.support.real import REAL, RECORDED, monthly_csv

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.bars import Row
    from tests.support.stand_in import StandIn

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real Binance data is not at {REAL}")

HOURS = series("spot", "BTCUSDT", "1h")
#: Trading stopped for three hours (02:00 to 05:00).
OUTAGE = date(2020, 6, 28)
NOW = "2025-02-15T12:00:00"


def by_day(rows: list[Row]) -> dict[date, list[Row]]:
    days: defaultdict[date, list[Row]] = defaultdict(list)
    for row in rows:
        days[day_of(row[0] * 1000)].append(row)
    return days


def with_lower_volumes(rows: list[Row]) -> list[Row]:
    """Rows with a trade less and lower volumes, as months' archives have on outage days (binance-public-data #475)."""
    return [[*row[:5], str(float(row[5]) / 2), row[6], str(float(row[7]) / 2), row[8] - 1, *row[9:]] for row in rows]


@pytest.mark.parametrize("order", list(permutations(["day", "month"])), ids=" then ".join)
def test_an_outage_day_is_that_of_its_daily_archive_whoever_asks_first(
    order: tuple[str, ...], stand_in: StandIn, tmp_path: Path
) -> None:
    days = {day: rows for day, rows in by_day(RECORDED["spot", "BTCUSDT", "1h"]).items() if day.month == 6}
    june = [row for rows in days.values() for row in rows]
    assert len(days[OUTAGE]) == 21
    odd = {day: with_lower_volumes(rows) if day == OUTAGE else rows for day, rows in days.items()}
    stand_in.rows[HOURS] = RECORDED["spot", "BTCUSDT", "1h"]
    stand_in.publish(HOURS, Month(2020, 6), csv_text([row for rows in odd.values() for row in rows]))
    stand_in.publish(HOURS, OUTAGE, csv_text(days[OUTAGE]))
    calls = {"day": ("2020-06-28", "2020-06-29"), "month": ("2020-06-01", "2020-07-01")}
    with connect(stand_in, tmp_path, now=NOW) as con:
        for name in order:
            start, end = calls[name]
            expected = bars(days[OUTAGE] if name == "day" else june)
            assert read(con, f"ckvd_klines('BTCUSDT', '1h', '{start}', '{end}')") == expected


def test_a_year_s_turn_gives_equal_rows_cold_and_warm_and_its_rest_days_are_good(
    stand_in: StandIn, tmp_path: Path
) -> None:
    texts = {month: monthly_csv("BTCUSDT", month) for month in (Month(2024, 12), Month(2025, 1))}
    rows = [row for text in texts.values() for row in csv_rows(text)]
    stand_in.rows[HOURS] = [in_rest_shape(row) for row in rows]
    call = "ckvd_klines('BTCUSDT', '1h', '2024-12-30', '2025-01-03')"
    with connect(stand_in, tmp_path, now=NOW) as con:
        con.execute(f"CREATE TABLE cold AS FROM {call}")
        con.execute(f"CREATE TABLE warm AS FROM {call}")
        assert con.sql("(FROM cold EXCEPT FROM warm) UNION ALL (FROM warm EXCEPT FROM cold)").fetchall() == []
        assert con.sql("SELECT count(*) FROM warm WHERE source = 'rest'").fetchall() == [(4 * 24,)]
        assert {source for (source, *_) in cached_days(con)} == {"rest"}
    for day, of_day in by_day(stand_in.rows[HOURS]).items():
        stand_in.publish(
            HOURS, day, csv_text([row for row in rows if row[0][:10] in {str(one[0])[:10] for one in of_day}])
        )
    current = Resolver(Settings.load(**settings_for(stand_in, tmp_path, now=NOW)))
    found = list(verify(current, remote=True))
    assert [one.problem for one in found] == [""] * 4
