"""Several rows for one open time: equal ones are one bar, different ones are a reason to ask the next source."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.market.periods import Month
from ckvd_sql.sandbox import Fault
from tests.support.bars import bars, csv_text, read, series
from tests.support.connections import cached_days, connect
from tests.support.truth import true_bars, true_rows

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox
    from tests.support.bars import Bar, Row
    from tests.support.stand_in import StandIn

HOURS = series("spot", "BTCUSDT", "1h")
DAY = date(2024, 3, 6)
MARCH = ("2024-03-01", "2024-04-01")
CALL = "ckvd_klines('BTCUSDT', '1h', '2024-03-06', '2024-03-07')"
MONTH = "ckvd_klines('BTCUSDT', '1h', '2024-03-01', '2024-04-01')"
REST = r"/v\d/klines"
MARKS = "date, source, duplicates"


def copied(rows: list[Row], trades: int) -> list[Row]:
    """The rows with a second row for 05:00 behind the first, which has so many trades more."""
    return [*rows[:6], [*rows[5][:8], rows[5][8] + trades, *rows[5][9:]], *rows[6:]]


def last_row_used(rows: list[Row], trades: int) -> list[Bar]:
    return bars([*rows[:5], [*rows[5][:8], rows[5][8] + trades, *rows[5][9:]], *rows[6:]])


@pytest.fixture
def rows() -> list[Row]:
    return true_rows("BTCUSDT", "1h", "2024-03-06", "2024-03-07")


def test_equal_copies_are_one_bar_without_a_mark(stand_in: StandIn, tmp_path: Path, rows: list[Row]) -> None:
    stand_in.publish(HOURS, DAY, csv_text(copied(rows, 0)))
    with connect(stand_in, tmp_path) as con:
        assert read(con, CALL) == bars(rows)
        assert cached_days(con, MARKS) == [(DAY, "vision", None)]
    assert stand_in.asked_rest() == []


def test_only_such_days_of_a_month_are_taken_from_elsewhere(stand_in: StandIn, tmp_path: Path, rows: list[Row]) -> None:
    march = true_rows("BTCUSDT", "1h", *MARCH)
    odd = copied(march[5 * 24 : 6 * 24], 1)
    stand_in.publish(HOURS, Month(2024, 3), csv_text([*march[: 5 * 24], *odd, *march[6 * 24 :]]))
    stand_in.publish(HOURS, DAY, csv_text(rows))
    with connect(stand_in, tmp_path) as con:
        assert read(con, MONTH) == bars(march)
        daily = con.sql("SELECT date FROM ckvd_cache_days WHERE url LIKE '%/daily/%'").fetchall()
        assert daily == [(DAY,)]
        assert con.sql("SELECT count(*), count(duplicates) FROM ckvd_cache_days").fetchall() == [(31, 0)]
    assert stand_in.asked_rest() == []


@pytest.mark.parametrize("order", [(CALL, MONTH), (MONTH, CALL)], ids=["the day first", "the month first"])
def test_a_day_whose_archives_conflict_comes_from_rest_whatever_was_asked_first(
    stand_in: StandIn, tmp_path: Path, rows: list[Row], order: tuple[str, str]
) -> None:
    march = true_rows("BTCUSDT", "1h", *MARCH)
    stand_in.rows[HOURS] = march
    for period, of_period in ((Month(2024, 3), march), (DAY, rows)):
        odd = copied(rows, 1)
        text = odd if period == DAY else [*of_period[: 5 * 24], *odd, *of_period[6 * 24 :]]
        stand_in.publish(HOURS, period, csv_text(text))
    with connect(stand_in, tmp_path) as con:
        found = {call: read(con, call) for call in order}
        assert found == {CALL: bars(rows), MONTH: bars(march)}
        stored = con.sql(f"SELECT source, duplicates FROM ckvd_cache_days WHERE date = '{DAY}'").fetchall()
        assert stored == [("rest", None)]


@pytest.mark.parametrize("rest", ["conflicts too", "does not know the symbol"])
def test_where_no_source_decides_the_last_row_is_used_marked_and_said_once(
    stand_in: StandIn, tmp_path: Path, rows: list[Row], rest: str, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in.publish(HOURS, DAY, csv_text(copied(rows, 1)))
    if rest == "conflicts too":
        stand_in.rows[HOURS] = copied(rows, 2)
    with connect(stand_in, tmp_path) as con:
        assert read(con, CALL) == last_row_used(rows, 1)
        assert cached_days(con, MARKS) == [(DAY, "vision", "last")]
        (said,) = [note.getMessage() for note in caplog.records if note.name == "ckvd_sql"]
        assert said.endswith("in the archive, and REST can't decide; the last row is used")
        assert "2024-03-06" in said
        stand_in.requests.clear()
        assert read(con, CALL) == last_row_used(rows, 1)
        audit = con.sql("""SELECT "check", severity FROM ckvd_audit('BTCUSDT', '1h', '2024-03-06', '2024-03-07')""")
        assert ("duplicates", "warning") in audit.fetchall()
    assert stand_in.requests == []


@pytest.mark.parametrize("status", [451, 503])
def test_while_rest_cannot_be_asked_the_last_row_is_used_and_not_stored(
    exchange: Sandbox, tmp_path: Path, status: int, rows: list[Row], caplog: pytest.LogCaptureFixture
) -> None:
    exchange.add(Fault(r"\.zip", "anomaly", name="conflicting duplicates"))
    exchange.add(Fault(REST, "status", status=status))
    with connect(exchange, tmp_path) as con:
        assert len(read(con, CALL)) == len(rows)
        assert cached_days(con, MARKS) == []
        assert "the last row is used, and the day is not stored" in caplog.text
        exchange.clear_faults()
        assert read(con, CALL) == true_bars("BTCUSDT", "1h", "2024-03-06", "2024-03-07")


def test_a_short_answer_of_rest_does_not_replace_a_day_whose_archive_conflicts(
    exchange: Sandbox, tmp_path: Path, rows: list[Row]
) -> None:
    exchange.add(Fault(r"\.zip", "anomaly", name="conflicting duplicates"))
    exchange.add(Fault(REST, "anomaly", name="no bars"))
    with connect(exchange, tmp_path) as con:
        assert len(read(con, CALL)) == len(rows)
        assert cached_days(con, MARKS) == []


def test_a_day_that_rest_alone_has_and_that_conflicts_is_stored_once_no_archive_will_come(
    stand_in: StandIn, tmp_path: Path, rows: list[Row]
) -> None:
    stand_in.rows[HOURS] = copied(rows, 1)
    for now, stored in (("2024-03-10T12:00", []), ("2024-05-10", [(DAY, "rest", "last")])):
        with connect(stand_in, tmp_path, now=now) as con:
            assert read(con, CALL) == last_row_used(rows, 1)
            assert cached_days(con, MARKS) == stored
