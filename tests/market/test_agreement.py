"""Bars beside the sum of a shorter interval, and beside another source's."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql.market.agreement import check_sum, differences, finer_intervals
from ckvd_sql.market.audit import AuditedDay, Check, Finding, Severity
from ckvd_sql.market.bars import NO_BARS
from ckvd_sql.market.periods import HOUR, day_start
from ckvd_sql.market.provenance import Source
from ckvd_sql.market.series import INTERVALS
from tests.support.bars import series
from tests.support.days import day_rows, to_arrow
from tests.support.truth import true_rows

if TYPE_CHECKING:
    from tests.support.bars import Row

DATE = date(2024, 6, 3)  # a Monday
START = day_start(DATE)
OPEN, HIGH, LOW, CLOSE, VOLUME, CLOSE_TIME, QUOTE, TRADES = range(1, 9)


def true_day(interval: str, day: int = 3, days: int = 1, symbol: str = "BTCUSDT", market: str = "spot") -> list[Row]:
    return true_rows(symbol, interval, f"2024-06-{day:02d}", f"2024-06-{day + days:02d}", market=market)


def audited(rows: list[Row], interval: str = "1h", market: str = "spot") -> AuditedDay:
    return AuditedDay(series(market, "BTCUSDT", interval), DATE, to_arrow(rows), Source.VISION)


def sums(longer: list[Row], shorter: list[Row], interval: str = "1h", finer: str = "5m") -> list[Finding]:
    return check_sum(audited(longer, interval), INTERVALS[finer], to_arrow(shorter))


# The sum of a shorter interval.


@pytest.mark.parametrize(
    ("interval", "shortest"),
    [
        ("1s", None),
        ("1m", "1s"),
        ("15m", "1s"),
        ("30m", "1m"),
        ("1h", "1m"),
        ("1d", "1m"),
        ("3d", "3m"),
        ("1w", "15m"),
        ("1mo", "1h"),
    ],
)
def test_the_shortest_interval_has_no_more_than_1440_bars_in_one(interval: str, shortest: str | None) -> None:
    found = [one.name for one in finer_intervals(INTERVALS[interval])]
    assert next(iter(found), None) == shortest


def test_intervals_that_do_not_divide_each_other_are_not_compared() -> None:
    assert "8h" not in [one.name for one in finer_intervals(INTERVALS["12h"])]
    assert "3d" not in [one.name for one in finer_intervals(INTERVALS["1w"])]


@pytest.mark.parametrize(("interval", "finer"), [("1h", "1m"), ("1h", "30m"), ("5m", "1m"), ("1d", "1h"), ("1m", "1s")])
@pytest.mark.parametrize(("symbol", "market"), [("BTCUSDT", "spot"), ("DOGEUSDT", "um"), ("BTCUSD_PERP", "cm")])
def test_bars_that_are_the_sum_of_shorter_ones_have_no_finding(
    interval: str, finer: str, symbol: str, market: str
) -> None:
    if finer == "1s" and market != "spot":
        return
    longer, shorter = (true_day(one, symbol=symbol, market=market) for one in (interval, finer))
    assert sums(longer, shorter, interval, finer) == []


@pytest.mark.parametrize(("interval", "days", "finer"), [("1w", 7, "1h"), ("1w", 7, "1d")])
def test_a_week_is_the_sum_of_its_days(interval: str, days: int, finer: str) -> None:
    longer, shorter = true_day(interval), true_day(finer, days=days)
    assert sums(longer, shorter, interval, finer) == []
    longer[0][TRADES] += 1
    assert [one.check for one in sums(longer, shorter, interval, finer)] == [Check.SUM]


@pytest.mark.parametrize(
    ("column", "name"),
    [(OPEN, "open"), (HIGH, "high"), (LOW, "low"), (CLOSE, "close"), (VOLUME, "volume"), (QUOTE, "quote_volume")],
)
def test_a_bar_that_is_not_the_sum_is_an_error(column: int, name: str) -> None:
    rows = true_day("1h")
    right = float(rows[6][column])
    rows[6][column] = str(right * 1.001)
    (found,) = sums(rows, true_day("5m"))
    assert (found.check, found.severity, found.open_time) == (Check.SUM, Severity.ERROR, START + 6 * HOUR)
    assert found.found == f"{name} {right * 1.001}"
    assert found.expected == f"{name} {right}: the sum of 12 bars of 5m"


def test_a_difference_is_a_warning_where_shorter_bars_are_missing() -> None:
    shorter = [row for number, row in enumerate(true_day("5m")) if number != 75]
    (found,) = sums(true_day("1h"), shorter)
    assert (found.severity, found.open_time) == (Severity.WARNING, START + 6 * HOUR)
    assert found.expected.endswith("the sum of 11 bars of 5m")


def test_a_bar_of_which_every_shorter_one_is_missing_is_a_warning() -> None:
    shorter = [row for number, row in enumerate(true_day("5m")) if number // 12 != 6]
    (found,) = sums(true_day("1h"), shorter)
    assert (found.severity, found.expected) == (Severity.WARNING, "no trades: 5m has no bar")
    assert {one.severity for one in sums(true_day("1h"), [])} == {Severity.WARNING}


def test_a_missing_bar_of_which_there_are_shorter_ones_with_trades_is_an_error() -> None:
    rows, shorter = true_day("1h"), true_day("5m")
    trades = rows.pop(6)[TRADES]
    (found,) = sums(rows, shorter)
    assert (found.severity, found.open_time, found.found) == (Severity.ERROR, START + 6 * HOUR, "no bar")
    assert found.expected == f"a bar: 5m has 12 bars with {trades} trades"


def test_prices_of_shorter_bars_without_trades_may_count_or_not() -> None:
    longer, shorter = true_day("1h"), true_day("5m")
    repeated = "1"  # no trade was at this price
    for row in shorter[72:74]:
        row[OPEN:CLOSE_TIME] = [repeated] * 4 + ["0"]
        row[QUOTE:] = ["0", 0, "0", "0", "0"]
    volumes = {column: sum(float(row[column]) for row in shorter[72:84]) for column in (VOLUME, QUOTE, 9, 10)}
    for column, total in volumes.items():
        longer[6][column] = str(total)
    longer[6][TRADES] = sum(row[TRADES] for row in shorter[72:84])
    longer[6][HIGH] = str(max(float(row[HIGH]) for row in shorter[74:84]))
    longer[6][LOW] = str(min(float(row[LOW]) for row in shorter[74:84]))
    longer[6][OPEN] = shorter[74][OPEN]
    assert sums(longer, shorter) == []
    longer[6][OPEN] = longer[6][LOW] = repeated
    assert sums(longer, shorter) == []


def test_bars_off_the_grid_are_not_added_up() -> None:
    rows = true_day("1h")
    rows[6][0] += 14_789
    rows[6][TRADES] += 1
    assert sums(rows, true_day("5m")) == []


# Another source.


def compare(mine: list[Row], theirs: list[Row], missing: Severity = Severity.WARNING) -> list[Finding]:
    return differences(audited(mine), to_arrow(theirs), Check.DAILY_ARCHIVE, "the daily archive", missing=missing)


def test_equal_bars_have_no_difference() -> None:
    rows = day_rows(series("spot", "BTCUSDT", "1h"), DATE)
    assert compare(rows, rows) == []
    assert compare([], []) == []


def test_a_bar_with_other_values_is_an_error_that_names_them() -> None:
    rows, other = true_day("1h"), true_day("1h")
    other[6][TRADES], other[6][CLOSE_TIME] = 5, other[6][CLOSE_TIME] - 1
    (found,) = compare(rows, other)
    assert (found.check, found.severity, found.open_time) == (Check.DAILY_ARCHIVE, Severity.ERROR, START + 6 * HOUR)
    assert found.found == f"close_time 2024-06-03 06:59:59.999999+00:00, trades {rows[6][TRADES]}"
    assert found.expected == "close_time 2024-06-03 06:59:59.998999+00:00, trades 5 in the daily archive"


@pytest.mark.parametrize("missing", [Severity.WARNING, Severity.ERROR])
def test_a_bar_that_only_one_of_them_has_is_found(missing: Severity) -> None:
    rows = true_day("1h")
    (found,) = compare(rows, rows[:20], missing)
    assert (found.severity, found.open_time) == (missing, START + 20 * HOUR)
    assert (found.found, found.expected) == ("a bar, and 3 more bars after it", "no bar in the daily archive")
    (found,) = compare(rows[1:], rows, missing)
    assert (found.severity, found.open_time, found.found) == (Severity.ERROR, START, "no bar")
    assert found.expected == f"a bar with trades {rows[0][TRADES]} in the daily archive"


def test_a_day_without_bars_is_compared_too() -> None:
    rows = true_day("1h")
    assert [one.found for one in compare([], rows)] == ["no bar, and 23 more bars after it"]
    nothing: Any = differences(audited(rows), NO_BARS, Check.REST, "REST", missing=Severity.WARNING)
    assert [(one.check, one.severity) for one in nothing] == [(Check.REST, Severity.WARNING)]
