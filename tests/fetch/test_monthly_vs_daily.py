"""Archives of a month and of a day that disagree, as they do on outage days: the daily one is used (#475)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckvd_sql.sandbox import Fault, Sandbox
from tests.support.bars import read
from tests.support.connections import cached_days, connect
from tests.support.examples import thorough, tries
from tests.support.truth import NOW, true_bars

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A month with an outage on the 24th, whose monthly archive has lower volumes on that day.
MONTH = ("2023-03-01", "2023-04-01")
DISAGREES = Fault(r"/monthly/.*\.zip", "anomaly", name="lower volumes")
CALL = f"ckvd_klines('BTCUSDT', '1h', '{MONTH[0]}', '{MONTH[1]}')"
REST = r"/v\d/klines"

DAYS = [f"2023-{month:02d}-{day:02d}" for month in (2, 3, 4) for day in range(1, 29)]


@pytest.fixture(scope="module")
def market() -> Iterator[Sandbox]:
    with Sandbox(now=NOW) as exchange:
        yield exchange


def test_an_irregular_day_of_a_monthly_archive_comes_from_its_daily_archive(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(DISAGREES)
    with connect(exchange, tmp_path) as con:
        assert read(con, CALL) == true_bars("BTCUSDT", "1h", *MONTH)
        urls = con.sql("SELECT url LIKE '%/daily/%' AS daily, count(*) FROM ckvd_cache_days GROUP BY ALL ORDER BY ALL")
        assert urls.fetchall() == [(False, 30), (True, 1)]


def test_regular_days_send_no_request_for_daily_archives(exchange: Sandbox, tmp_path: Path) -> None:
    with connect(exchange, tmp_path) as con:
        read(con, "ckvd_klines('BTCUSDT', '1h', '2023-05-01', '2023-06-01')")
    assert [one.path for one in exchange.requests if "/daily/" in one.path] == []


@given(ranges=st.lists(st.tuples(st.sampled_from(DAYS), st.sampled_from(DAYS)), min_size=1, max_size=4))
@thorough(tries(15))
def test_the_order_of_queries_never_changes_an_answer(market: Sandbox, ranges: list[tuple[str, str]]) -> None:
    market.clear_faults()
    market.add(DISAGREES)
    market.add(Fault(r"/monthly/.*2023-02\.zip", "anomaly", name="conflicting duplicates"))
    with tempfile.TemporaryDirectory() as folder, connect(market, Path(folder)) as con:
        for one, other in ranges:
            start, end = min(one, other), max(one, other)
            found = read(con, f"ckvd_klines('BTCUSDT', '1h', '{start}', '{end}')")
            assert found == true_bars("BTCUSDT", "1h", start, end)


def test_a_monthly_archive_that_ends_within_a_day_gives_way_to_the_daily_one_though_rest_is_down(
    exchange: Sandbox, tmp_path: Path
) -> None:
    exchange.add(Fault(r"/monthly/.*\.zip", "anomaly", name="ends at 07:36"))
    exchange.add(Fault(REST, "status", status=503))
    with connect(exchange, tmp_path) as con:
        assert read(con, "ckvd_klines('BTCUSDT', '1h', '2023-05-01', '2023-06-01')") == true_bars(
            "BTCUSDT", "1h", "2023-05-01", "2023-06-01"
        )
        assert set(cached_days(con, "source")) == {("vision",)}


def test_a_day_that_only_a_monthly_archive_has_is_served_from_it(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"/daily/", "status", status=404))
    exchange.add(Fault(REST, "status", status=451))
    with connect(exchange, tmp_path) as con:
        assert read(con, CALL) == true_bars("BTCUSDT", "1h", *MONTH)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(REST, "status", status=451),
        Fault(REST, "status", status=400, body='{"code":-1121,"msg":"Invalid symbol."}'),
        Fault(REST, "status", status=400, body='{"code":-1122,"msg":"Invalid symbol status."}'),
        Fault(REST, "anomaly", name="no bars"),
    ],
    ids=["451", "-1121", "-1122", "no bars"],
)
@pytest.mark.parametrize("calls", [("day", "month"), ("month", "day")], ids=" then ".join)
def test_a_day_that_only_a_monthly_archive_has_is_served_from_it_whatever_was_asked_first(
    exchange: Sandbox, tmp_path: Path, fault: Fault, calls: tuple[str, str]
) -> None:
    exchange.add(Fault(r"/daily/", "status", status=404))
    exchange.add(fault)
    spans = {"day": ("2024-03-05", "2024-03-06"), "month": ("2024-03-01", "2024-04-01")}
    with connect(exchange, tmp_path) as con:
        for name in calls:
            start, end = spans[name]
            assert read(con, f"ckvd_klines('BTCUSDT', '1h', '{start}', '{end}')") == true_bars(
                "BTCUSDT", "1h", start, end
            )
        assert set(cached_days(con, "source")) == {("vision",)}


def test_while_the_daily_archive_fails_and_rest_has_no_bars_the_monthly_one_is_used_and_not_stored(
    exchange: Sandbox, tmp_path: Path
) -> None:
    exchange.add(Fault(r"/daily/", "status", status=503))
    exchange.add(Fault(REST, "anomaly", name="no bars"))
    with connect(exchange, tmp_path) as con:
        assert read(con, CALL) == true_bars("BTCUSDT", "1h", *MONTH)
        assert con.sql("SELECT count(*) FROM ckvd_cache_days WHERE date = '2023-03-24'").fetchall() == [(0,)]


def test_while_the_daily_archive_fails_an_irregular_day_comes_from_rest(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(DISAGREES)
    exchange.add(Fault(r"/daily/", "status", status=503))
    with connect(exchange, tmp_path) as con:
        assert read(con, CALL) == true_bars("BTCUSDT", "1h", *MONTH)
        assert con.sql("SELECT count(*) FROM ckvd_cache_days WHERE date = '2023-03-24'").fetchall() == [(0,)]
