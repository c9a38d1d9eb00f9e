"""Anomalies of archive files and REST rows: what is repaired, kept as it is, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ckvd_sql.market.periods import HOUR, MINUTE
from ckvd_sql.sandbox import ANOMALIES, Fault, Sandbox
from ckvd_sql.sandbox.anomalies import RESTART
from tests.support.bars import Row, bars, read
from tests.support.connections import cached_days, connect, raises_in_sql
from tests.support.truth import at, true_bars, true_rows, with_anomaly

if TYPE_CHECKING:
    from pathlib import Path

REST = "/v[13]/klines"
DAY = "ckvd_klines('BTCUSDT', '1h', '2024-05-01', '2024-05-02')"

#: Days with missing bars.
SHORT = ("missing bars", "missing in places", "ends at 07:36")
#: Bars that are odd but kept as published.
KEPT_AS_IS = ("off grid", "early close", "close before open", "zero trades")
#: The same bars in another notation, or unchanged on a regular day.
REPAIRED = (
    "lower volumes", "duplicates", "unsorted", "mixed units", "header", "no header", "blank lines", "CRLF",
    "no last line end",
)  # fmt: skip
#: Files that are refused as a whole.
REFUSED = (
    "conflicting duplicates", "another day", "no bars", "field missing", "no number", "not finite", "no time",
    "wrong file", "two members", "same member twice", "member with a path", "member with a root",
    "member in a folder", "no member", "zip bomb",
)  # fmt: skip


def day_of(kind: str) -> tuple[str, list[Row]]:
    """A call for a day and its true rows: of spot in microseconds, or of futures with a header."""
    interval, market, day, end = {
        "spot": ("1h", "spot", "2025-03-03", "2025-03-04"),
        "um": ("15m", "um", "2024-05-01", "2024-05-02"),
    }[kind]
    call = f"ckvd_klines('BTCUSDT', '{interval}', '{day}', '{end}', market := '{market}')"
    return call, true_rows("BTCUSDT", interval, day, end, market=market)


def test_every_anomaly_belongs_to_one_group() -> None:
    assert sorted((*SHORT, *KEPT_AS_IS, *REPAIRED, *REFUSED)) == sorted(ANOMALIES)


@pytest.mark.parametrize("kind", ["spot", "um"])
@pytest.mark.parametrize("name", ANOMALIES)
def test_an_anomaly_in_the_archive_is_kept_repaired_or_replaced_by_rest(
    exchange: Sandbox, tmp_path: Path, kind: str, name: str
) -> None:
    exchange.set_now("2025-03-15")
    exchange.add(Fault(r"\.zip", "anomaly", name=name))
    call, found = day_of(kind)
    with connect(exchange, tmp_path, now="2025-03-15") as con:
        assert read(con, call) == (with_anomaly(name, found) if name in KEPT_AS_IS else bars(found))
        source = "rest" if name in SHORT + REFUSED else "vision"
        assert cached_days(con, "source") == [(source,)]
        exchange.forget()
        assert read(con, call) == (with_anomaly(name, found) if name in KEPT_AS_IS else bars(found))
    assert exchange.requests == ()


@pytest.mark.parametrize("kind", ["spot", "um"])
@pytest.mark.parametrize("name", [*KEPT_AS_IS, "duplicates", "unsorted"])
def test_anomalous_bars_are_the_same_rows_from_the_archive_and_from_rest(
    exchange: Sandbox, tmp_path: Path, kind: str, name: str
) -> None:
    exchange.set_now("2025-03-15")
    exchange.add(Fault(rf"\.zip|{REST}", "anomaly", name=name))
    call, found = day_of(kind)
    expected = with_anomaly(name, found) if name in KEPT_AS_IS else bars(found)
    with connect(exchange, tmp_path / "archive", now="2025-03-15") as con:
        assert read(con, call) == expected
        assert cached_days(con, "source") == [("vision",)]
    exchange.add(Fault(r"\.zip", "status", status=404))
    with connect(exchange, tmp_path / "REST", now="2025-03-15") as con:
        assert read(con, call) == expected
        assert cached_days(con, "source") == [("rest",)]


@pytest.mark.parametrize("name", ["field missing", "no number", "not finite", "no time"])
def test_a_day_that_is_malformed_in_both_sources_is_an_error_and_is_not_cached(
    exchange: Sandbox, tmp_path: Path, name: str
) -> None:
    exchange.add(Fault(rf"\.zip|{REST}", "anomaly", name=name))
    with connect(exchange, tmp_path) as con:
        with raises_in_sql("MalformedDataError"):
            read(con, DAY)
        assert cached_days(con) == []
        exchange.clear_faults()
        assert read(con, DAY) == true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-02")


def test_bars_off_the_grid_keep_their_open_time_and_are_no_gap(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"\.zip", "anomaly", name="off grid"))
    with connect(exchange, tmp_path) as con:
        found = read(con, DAY)
        opened = [(bar[0] - at("2024-05-01")) for bar in found]
        assert opened == [hour * HOUR for hour in range(9)] + [RESTART + hour * HOUR for hour in range(15)]
        assert found[9][6] - found[9][0] == HOUR - 1
        assert found[-1][6] == at("2024-05-02") - 1  # the grid is complete again at midnight
        assert con.sql(f"FROM {DAY.replace('klines', 'gaps')}").fetchall() == []
        inside = f"SELECT count(*) FROM {DAY} WHERE open_time BETWEEN '2024-05-01 09:00' AND '2024-05-01 10:30'"
        assert con.sql(inside).fetchall() == [(1,)] or con.sql(inside).fetchall() == [(2,)]


def test_close_times_are_kept_even_if_early_or_before_the_open_time(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"\.zip", "anomaly", name="early close"))
    exchange.add(Fault(r"\.zip", "anomaly", name="close before open"))
    with connect(exchange, tmp_path) as con:
        found = read(con, DAY)
    assert found[12][6] == at("2024-05-01 12:39:41.646") + 999
    assert found[14][6] == at("2024-05-01 14:00") - 1
    assert [bar[6] - bar[0] for number, bar in enumerate(found) if number not in (12, 14)] == [HOUR - 1] * 22


def test_a_bar_without_trades_is_kept(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"\.zip", "anomaly", name="zero trades"))
    with connect(exchange, tmp_path) as con:
        bar = read(con, DAY)[12]
    opened, price = at("2024-05-01 12:00"), bar[1]
    assert bar == (opened, price, price, price, price, 0.0, opened + 60 * MINUTE - 1, 0.0, 0, 0.0, 0.0)


def test_weeks_in_milliseconds_and_microseconds_can_be_mixed(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.set_now("2025-09-15")
    exchange.add(Fault(r"\.zip", "anomaly", name="mixed units"))
    with connect(exchange, tmp_path, now="2025-09-15") as con:
        found = read(con, "ckvd_klines('BTCUSDT', '1w', '2025-03-01', '2025-08-01')")
        assert found == true_bars("BTCUSDT", "1w", "2025-03-01", "2025-08-01")
        assert set(cached_days(con, "source")) == {("vision",)}
