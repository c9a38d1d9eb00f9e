"""The audit of one stored day by itself: each defect is found, and whole days have no finding."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ckvd_sql.market.audit import MOST_FINDINGS, AuditedDay, Check, Finding, Severity, check_day, runs
from ckvd_sql.market.periods import DAY, HOUR, MINUTE, day_start
from ckvd_sql.market.provenance import GapCheck, Source
from ckvd_sql.market.series import INTERVALS
from tests.support.bars import series
from tests.support.days import day_rows, to_arrow

if TYPE_CHECKING:
    from tests.support.bars import Row

SATURDAY = date(2024, 6, 1)
MONDAY = date(2024, 6, 3)
START = day_start(SATURDAY)
SOON, LATER = START + 2 * DAY, START + 100 * DAY

OPEN, HIGH, LOW, CLOSE, VOLUME, CLOSE_TIME, QUOTE, TRADES, TAKER, TAKER_QUOTE = range(1, 11)


def audited(rows: list[Row], interval: str = "1h", market: str = "spot", **more: Any) -> AuditedDay:
    day = more.pop("day", SATURDAY)
    return AuditedDay(
        series(market, "BTCUSDT", interval), day, to_arrow(rows), more.pop("source", Source.VISION), **more
    )


def hours(market: str = "spot") -> list[Row]:
    return day_rows(series(market, "BTCUSDT", "1h"), SATURDAY)


def changed(number: int, cells: dict[int, object]) -> list[Row]:
    """The hours of the day, with some cells of one of them replaced."""
    rows = hours()
    rows[number] = [cells.get(column, cell) for column, cell in enumerate(rows[number])]
    return rows


def summary(findings: list[Finding]) -> list[tuple[str, str, int | None]]:
    """The check, the severity and the hour of each finding."""
    return [
        (one.check.value, one.severity.value, None if one.open_time is None else (one.open_time - START) // HOUR)
        for one in findings
    ]


@pytest.mark.parametrize("interval", ["1s", "1m", "5m", "1h", "8h", "1d"])
def test_a_whole_day_has_no_finding(interval: str) -> None:
    rows = day_rows(series("spot", "BTCUSDT", interval), SATURDAY)
    assert check_day(audited(rows, interval), LATER) == []


@pytest.mark.parametrize(("interval", "day"), [("1w", MONDAY), ("1mo", SATURDAY)])
def test_a_long_bar_has_no_finding(interval: str, day: date) -> None:
    one = series("spot", "BTCUSDT", interval)
    rows = day_rows(one, day)
    assert len(rows) == 1
    assert check_day(audited(rows, interval, day=day), LATER) == []


BROKEN: dict[str, tuple[str, dict[int, object]]] = {
    "the high is below the close": ("prices", {HIGH: "1"}),
    "the low is above the open": ("prices", {LOW: "100000"}),
    "more quote volume than at the high": ("quote_volume", {QUOTE: "100000"}),
    "less quote volume than at the low": ("quote_volume", {QUOTE: "50", TAKER_QUOTE: "1"}),
    "takers bought more than there was": ("taker_volume", {TAKER: "10"}),
    "takers paid more than there was": ("taker_volume", {TAKER_QUOTE: "1000000"}),
    "volume without trades": ("trades", {TRADES: 0}),
    "trades without volume": ("trades", {VOLUME: "0", QUOTE: "0", TAKER: "0", TAKER_QUOTE: "0"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_bar_that_contradicts_itself_is_an_error(name: str) -> None:
    check, cells = BROKEN[name]
    found = check_day(audited(changed(5, cells)), LATER)
    assert (check, "error", 5) in summary(found)
    assert {one.open_time for one in found} == {START + 5 * HOUR}


def test_a_finding_says_the_values_that_were_found_and_what_was_expected() -> None:
    (found,) = check_day(audited(changed(5, {TRADES: 0})), LATER)
    assert (found.found, found.expected) == (
        "trades 0, volume 9.5",
        "no trades exactly where there is no volume",
    )


def test_rounding_breaks_no_rule() -> None:
    price = 100 / 3
    cells = dict.fromkeys((OPEN, HIGH, LOW, CLOSE), str(price))
    quote = f"{9.5 * price:.8f}"
    assert check_day(audited(changed(5, {**cells, QUOTE: quote, TAKER: "9.5", TAKER_QUOTE: quote})), LATER) == []


@pytest.mark.parametrize("size", [10, 100])
def test_on_coin_margined_futures_the_quote_volume_is_what_the_contracts_are_worth(size: int) -> None:
    rows = hours("cm")
    for row in rows:
        price = float(row[OPEN])
        row[VOLUME], row[TAKER] = "950", "300"
        row[QUOTE], row[TAKER_QUOTE] = f"{950 * size / price:.8f}", f"{300 * size / price:.8f}"
    assert check_day(audited(rows, market="cm"), LATER) == []
    rows[5][QUOTE] = str(float(rows[5][QUOTE]) * 2)
    assert summary(check_day(audited(rows, market="cm"), LATER)) == [("quote_volume", "error", 5)]


def shifted(row: Row, opened: int, closed: int) -> Row:
    return [row[0] + opened // 1000, *row[1:CLOSE_TIME], row[CLOSE_TIME] + closed // 1000, *row[QUOTE:]]


def test_a_run_of_bars_off_the_grid_is_one_finding() -> None:
    rows = hours()
    rows[10:12] = [shifted(row, 14_789_000, 14_789_000) for row in rows[10:12]]
    (found,) = check_day(audited(rows), LATER)
    assert (found.check, found.severity) == (Check.OFF_GRID, Severity.WARNING)
    assert found.open_time == START + 10 * HOUR + 14_789_000
    assert found.found == "a bar that opens at 2024-06-01T10:00:14.789000, and 1 more bars after it"
    assert found.expected == "a bar that opens at 2024-06-01T10:00:00"


@pytest.mark.parametrize(
    ("moved", "severity"), [(-20 * MINUTE, "warning"), (1000, "warning"), (-2 * HOUR, "error")], ids=str
)
def test_a_close_time_that_is_not_the_last_of_its_bar_is_found(moved: int, severity: str) -> None:
    rows = hours()
    rows[7] = shifted(rows[7], 0, moved)
    assert summary(check_day(audited(rows), LATER)) == [("close_time", severity, 7)]


def test_a_gap_says_until_when_no_bar_opens() -> None:
    (found,) = check_day(audited(hours()[:13] + hours()[15:]), LATER)
    assert (found.check, found.found, found.expected) == (Check.GAP, "no bar until 2024-06-01T15:00:00", "2 bars")
    assert found.open_time == START + 13 * HOUR


@pytest.mark.parametrize(
    ("check", "severity"), [(GapCheck.CONFIRMED, "info"), (GapCheck.UNCONFIRMED, "warning"), (None, "warning")]
)
def test_a_gap_that_rest_has_confirmed_is_for_information(check: GapCheck | None, severity: str) -> None:
    found = summary(check_day(audited(hours()[:20], gaps=check), LATER))
    assert ("gap", severity, 20) in found
    assert (("gap_check", "warning", None) in found) == (check is GapCheck.UNCONFIRMED)


def test_a_day_without_a_bar_is_a_gap_of_the_day() -> None:
    assert summary(check_day(audited([]), LATER)) == [("gap", "warning", None)]
    assert summary(check_day(audited([]), LATER, last=date(2024, 5, 31))) == [("gap", "info", None)]
    assert summary(check_day(audited([], "1mo"), LATER)) == [("gap", "warning", None)]
    assert check_day(audited([], "1w"), LATER) == []  # a Saturday


@pytest.mark.parametrize(("first_open", "gaps"), [(None, [0]), (START + 2 * HOUR, [2]), (START + 4 * HOUR, [])])
def test_no_bar_is_missing_before_the_first_one(first_open: int | None, gaps: list[int]) -> None:
    found = check_day(audited(hours()[4:]), LATER, first_open)
    assert summary(found) == [("gap", "warning", hour) for hour in gaps]


def quiet(rows: list[Row], *numbers: int) -> list[Row]:
    """The rows, some of them without a trade."""
    out = []
    for number, row in enumerate(rows):
        flat = [row[0], *[row[OPEN]] * 4, "0", row[CLOSE_TIME], "0", 0, "0", "0", "0"]
        out.append(flat if number in numbers else row)
    return out


def test_an_hour_without_volume_is_for_information() -> None:
    found = check_day(audited(quiet(hours(), 3, 12, 13)), LATER)
    assert summary(found) == [("zero_volume", "info", 3), ("zero_volume", "info", 12)]
    assert [one.found for one in found] == [
        "1 bar without volume until 2024-06-01T04:00:00",
        "2 bars without volume until 2024-06-01T14:00:00",
    ]


def test_minutes_without_volume_are_usual_up_to_an_hour() -> None:
    minutes = day_rows(series("spot", "BTCUSDT", "1m"), SATURDAY)
    assert check_day(audited(quiet(minutes, *range(100, 159)), "1m"), LATER) == []
    assert summary(check_day(audited(quiet(minutes, *range(120, 180)), "1m"), LATER)) == [("zero_volume", "info", 2)]


def test_a_day_whose_checksum_is_wrong_is_unverified() -> None:
    assert summary(check_day(audited(hours(), checksum="unverified"), LATER)) == [("checksum", "warning", None)]
    assert check_day(audited(hours(), checksum="verified"), LATER) == []


@pytest.mark.parametrize(("now", "found"), [(SOON, []), (LATER, [("source", "info", None)])])
def test_a_day_from_rest_is_found_once_archives_of_its_age_are_out(now: int, found: list[Any]) -> None:
    assert summary(check_day(audited(hours(), source=Source.REST), now)) == found
    month = audited(day_rows(series("spot", "BTCUSDT", "1mo"), SATURDAY), "1mo", source=Source.REST)
    assert summary(check_day(month, now)) == found


def test_the_findings_of_a_check_and_day_are_bounded_and_the_last_counts_the_others() -> None:
    minutes = day_rows(series("spot", "BTCUSDT", "1m"), SATURDAY)
    for row in minutes[::2]:
        row[TRADES] = 0
    found = check_day(audited(minutes, "1m"), LATER)
    assert len(found) == MOST_FINDINGS
    assert found[-1].found.endswith("; 700 more findings of this check on this day")


def test_three_day_bars_are_on_the_grid_of_their_symbol() -> None:
    one = series("spot", "SOLUSDT", "3d").with_bar_at(START)
    rows = [[*hours()[0][:CLOSE_TIME], (START + 3 * DAY) // 1000 - 1, *hours()[0][QUOTE:]]]
    day = AuditedDay(one, SATURDAY, to_arrow(rows), Source.VISION)
    assert check_day(day, LATER) == []
    other = replace(day, series=series("spot", "SOLUSDT", "3d").with_bar_at(START + DAY))
    assert [one.check for one in check_day(other, LATER)] == [Check.OFF_GRID]
    unknown = replace(day, series=series("spot", "SOLUSDT", "3d"))
    assert not INTERVALS["3d"].grid_known
    assert check_day(unknown, LATER) == []


def test_runs_are_given_by_their_first_index_and_length() -> None:
    found = [runs(np.array([letter == "x" for letter in text], dtype=bool)) for text in ("", "..xx.x", "xxx")]
    assert found == [[], [(2, 2), (5, 1)], [(0, 3)]]
