"""The failover, day by day: what is kept, what is remembered, long bars, the first day, and damaged files."""

from __future__ import annotations

import hashlib
import zipfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ckvd_sql
from ckvd_sql import CacheError, CryptoKlineVisionData, OfflineError
from ckvd_sql.market.series import INTERVALS, Month, Span, day_start, parse_time
from ckvd_sql.sandbox import Fault
from ckvd_sql.scan.plan import DayPlan, Origin, blocks, plan
from tests.support.bars import read, series
from tests.support.faults import NOWHERE
from tests.support.logs import warnings
from tests.support.requests import asked, zips

if TYPE_CHECKING:
    from collections.abc import Callable

    from duckdb import DuckDBPyConnection

    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import Truth

ONE_HOUR = series("spot", "BTCUSDT", "1h")


def day_files(settings: dict[str, Any]) -> set[str]:
    return {path.stem for path in Path(settings["cache_dir"]).rglob("*.arrow")}


def test_today_is_never_kept(client: CryptoKlineVisionData, settings: dict[str, Any], exchange: Sandbox) -> None:
    for _ in range(2):
        exchange.forget()
        client.get_data("BTCUSDT", "2024-06-14", include_open=True)
        assert asked(exchange, "/api/")
    assert day_files(settings) == {"2024-06-14"}


def test_a_day_is_kept_whole_whatever_part_of_it_was_asked(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth
) -> None:
    assert len(read(con, "ckvd_klines('BTCUSDT', '1h', '2024-06-01 05:00', '2024-06-01 07:00')")) == 2
    exchange.forget()
    whole = ("BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    assert read(con, f"ckvd_klines{whole}") == truth(*whole)
    assert not exchange.requests


@pytest.mark.parametrize("interval", ["1d", "3d", "1w", "1mo"])
@pytest.mark.parametrize(("market", "symbol"), [("spot", "BTCUSDT"), ("um", "ETHUSDT"), ("cm", "BTCUSD_PERP")])
def test_long_bars_on_every_market_cold_and_warm(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth, interval: str, market: str, symbol: str
) -> None:
    span = ("2024-01-10", "2024-06-15T12:00:30")
    call = f"ckvd_klines('{symbol}', '{interval}', '{span[0]}', market := '{market}')"
    assert read(con, call) == truth(symbol, interval, *span, market)
    exchange.forget()
    assert read(con, call) == truth(symbol, interval, *span, market)
    assert not exchange.requests


@pytest.mark.parametrize("interval", ["3d", "1w", "1mo"])
def test_long_bars_without_an_archive(con: DuckDBPyConnection, exchange: Sandbox, truth: Truth, interval: str) -> None:
    exchange.add(Fault(r"\.zip", "status", status=404))
    call = f"ckvd_klines('BTCUSD_PERP', '{interval}', '2023-01-01', market := 'cm')"
    assert read(con, call) == truth("BTCUSD_PERP", interval, "2023-01-01", "2024-06-15T12:00:30", "cm")


@pytest.mark.parametrize("interval", ["3d", "1w", "1mo"])
def test_the_long_bar_that_is_forming_is_there_on_request_and_not_kept(
    con: DuckDBPyConnection, settings: dict[str, Any], truth: Truth, interval: str
) -> None:
    call = f"ckvd_klines('BTCUSDT', '{interval}', '2024-04-01', include_open := true)"
    bars = read(con, call)
    assert bars[:-1] == truth("BTCUSDT", interval, "2024-04-01", "2024-06-15T12:00:30")
    assert bars[-1][6] > parse_time("2024-06-15T12:00:30", "now")
    forming = INTERVALS[interval].opens(INTERVALS[interval].slot(bars[-1][0]))
    assert str(date.fromtimestamp(forming / 1e6)) not in day_files(settings)  # noqa: DTZ012 (midnight UTC)


@pytest.mark.parametrize(("market", "symbol"), [("um", "BTCUSDT"), ("cm", "BTCUSD_PERP")])
def test_futures_are_paged_whole_whichever_end_comes_first(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth, market: str, symbol: str
) -> None:
    exchange.add(Fault(r"\.zip", "status", status=404))
    call = f"ckvd_klines('{symbol}', '1m', '2024-06-12', '2024-06-15T09:30', market := '{market}')"
    assert read(con, call) == truth(symbol, "1m", "2024-06-12", "2024-06-15T09:30", market)


@pytest.mark.parametrize(
    ("market", "symbol", "listed"),
    [("spot", "1000SATSUSDT", "2023-12-12"), ("um", "SOLUSDT", "2020-09-14"), ("cm", "ETHUSD_PERP", "2020-08-18")],
)
def test_days_before_the_listing_cost_a_few_requests_once(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth, market: str, symbol: str, listed: str
) -> None:
    start, end = f"{int(listed[:4]) - 2}-01-01", f"{listed[:4]}-{listed[5:7]}-28"
    call = f"ckvd_klines('{symbol}', '1d', '{start}', '{end}', market := '{market}')"
    assert read(con, call) == truth(symbol, "1d", start, end, market)
    before = [path for path in asked(exchange, "/data/") if f"-{listed[:7]}" not in path]
    assert len(before) <= 8
    exchange.forget()
    assert read(con, call) == truth(symbol, "1d", start, end, market)
    assert not exchange.requests


def test_a_range_wholly_before_the_listing_is_empty_and_remembered(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    call = "ckvd_klines('1000SATSUSDT', '1h', '2023-11-01', '2023-12-01')"
    assert read(con, call) == []
    exchange.forget()
    assert read(con, call) == []
    assert not exchange.requests


def test_an_outage_has_no_bars_and_is_not_asked_for_again(
    con: DuckDBPyConnection, exchange: Sandbox, truth: Truth
) -> None:
    span = ("BTCUSDT", "1m", "2023-03-24", "2023-03-25")
    assert read(con, f"ckvd_klines{span}") == truth(*span)
    exchange.forget()
    assert read(con, f"ckvd_klines{span}") == truth(*span)
    assert not exchange.requests


# Damaged day files.

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "text": lambda _: b"not arrow at all",
    "zeros": lambda content: b"\0" * len(content),
}


@pytest.mark.parametrize("damage", [*DAMAGES, "another day's"])
def test_a_damaged_day_file_is_set_aside_and_fetched_again_with_a_warning(
    settings: dict[str, Any],
    client: CryptoKlineVisionData,
    exchange: Sandbox,
    truth: Truth,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    client.fetch("BTCUSDT", "2024-06-01", "2024-06-05")
    path = client.settings.cache_dir / "binance/spot/BTCUSDT/1h/2024-06-02.arrow"
    other = path.with_name("2024-06-03.arrow").read_bytes()
    broken = other if damage == "another day's" else DAMAGES[damage](path.read_bytes())
    path.write_bytes(broken)
    exchange.forget()
    con = ckvd_sql.connect(**settings)
    span = ("BTCUSDT", "1h", "2024-06-01", "2024-06-05")
    assert read(con, f"ckvd_klines{span}") == truth(*span)
    con.close()
    assert [path[-14:] for path in zips(exchange)] == ["2024-06-02.zip"]
    assert any(str(path) in warning and "set aside" in warning for warning in warnings(caplog))
    assert broken in [one.read_bytes() for one in path.parent.iterdir()]


def test_offline_a_damaged_day_file_is_an_error_that_names_it(
    settings: dict[str, Any], client: CryptoKlineVisionData
) -> None:
    client.fetch("BTCUSDT", "2024-06-01", "2024-06-03")
    path = client.settings.cache_dir / "binance/spot/BTCUSDT/1h/2024-06-02.arrow"
    path.write_bytes(b"")
    with pytest.raises(CacheError, match=path.name) as error:
        CryptoKlineVisionData(**settings, offline=True).get_data("BTCUSDT", "2024-06-01", "2024-06-03")
    assert error.value.path == str(path)
    assert path.exists()


def test_offline_a_day_file_that_vanishes_is_a_day_that_lacks(
    settings: dict[str, Any], client: CryptoKlineVisionData
) -> None:
    client.fetch("BTCUSDT", "2024-06-01", "2024-06-03")
    offline = CryptoKlineVisionData(**settings, offline=True)
    assert offline.get_data("BTCUSDT", "2024-06-01", "2024-06-03").height == 48
    (client.settings.cache_dir / "binance/spot/BTCUSDT/1h/2024-06-02.arrow").unlink()
    with pytest.raises(OfflineError, match="2024-06-02"):
        offline.get_data("BTCUSDT", "2024-06-01", "2024-06-03")


@pytest.mark.parametrize("trouble", ["offline", "no network"])
def test_a_fetch_reports_a_damaged_day_it_can_t_replace_and_goes_on(
    settings: dict[str, Any], client: CryptoKlineVisionData, trouble: str
) -> None:
    client.fetch("BTCUSDT", "2024-06-01", "2024-06-05")
    (client.settings.cache_dir / "binance/spot/BTCUSDT/1h/2024-06-02.arrow").write_bytes(b"")
    nobody = dict.fromkeys(("vision_url", "spot_url"), NOWHERE)
    more = {"offline": True} if trouble == "offline" else {**nobody, "retries": 0}
    report = CryptoKlineVisionData(**{**settings, **more}).fetch("BTCUSDT", "2024-06-01", "2024-06-05")
    assert [str(day.date) for day in report.failed] == ["2024-06-02"]
    assert report.counts["cached"] == 3


def test_a_cache_that_can_t_be_written_serves_and_says_so_once(
    settings: dict[str, Any], truth: Truth, caplog: pytest.LogCaptureFixture
) -> None:
    Path(settings["cache_dir"]).write_text("a file where the folder should be")
    frame = CryptoKlineVisionData(**settings).get_data("BTCUSDT", "2024-06-01", "2024-06-04")
    assert frame.height == len(truth("BTCUSDT", "1h", "2024-06-01", "2024-06-04"))
    assert len([warning for warning in warnings(caplog) if "not kept" in warning]) == 1


# Bars that are longer than a day and off the grid, as Binance may have them for other symbols.


@pytest.fixture
def off_grid(settings: dict[str, Any], exchange: Sandbox, tmp_path: Path) -> DuckDBPyConnection:
    """An archive whose 3d bars open a day before the grid's, and an exchange that has no others."""
    month, three_days = Month(2024, 5), series("spot", "BTCUSDT", "3d")
    opens = [day_start(date(2024, 5, number)) // 1000 for number in range(2, 30, 3)]
    rows = [[one, "1", "2", "0.5", "1.5", "10", one + 3 * 86_400_000 - 1, "15", 3, "5", "7", "0"] for one in opens]
    path = tmp_path / "mirror" / three_days.archive_path(month)
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        text = "".join(f"{','.join(map(str, row))}\n" for row in rows)
        archive.writestr(f"{three_days.archive_stem(month)}.csv", text)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.CHECKSUM").write_text(f"{digest}  {path.name}")
    exchange.add(Fault(r"/klines\?", "status", status=200, body="[]"))
    return ckvd_sql.connect(**{**settings, "vision_url": str(tmp_path / "mirror")})


def test_bars_off_the_grid_are_filtered_cold_as_they_are_warm(off_grid: DuckDBPyConnection) -> None:
    query = (
        "SELECT strftime(open_time AT TIME ZONE 'UTC', '%d') "
        "FROM ckvd_klines('BTCUSDT', '3d', '2024-05-04', '2024-06-01')"
        " WHERE open_time >= '2024-05-13 00:00:00+00' AND open_time < '2024-05-20 00:00:00+00' ORDER BY ALL"
    )
    cold = off_grid.sql(query).fetchall()
    warm = off_grid.sql(query).fetchall()
    off_grid.close()
    assert cold == warm == [("14",), ("17",)]


# The plan, which asks nobody.


def planned(start: str, end: str, **known: Any) -> list[DayPlan]:
    now = parse_time("2024-06-15T12:00:30", "now")
    span = Span(parse_time(start, "start"), parse_time(end, "end")).until(now)
    return plan(known.pop("of", ONE_HOUR), span, now, **known)


def test_a_plan_takes_days_from_the_cache_then_the_archive_then_the_exchange() -> None:
    known = {"cached": {date(2024, 6, 13)}, "first_open": parse_time("2024-06-12T05:00", "listed")}
    found = planned("2024-06-10", "2024-06-16", **known)
    assert [one.origin for one in found] == ["unlisted", "unlisted", "vision", "cache", "vision", "rest"]


def test_a_plan_has_no_day_that_can_have_no_bar() -> None:
    assert [str(one.day) for one in planned("2024-06-14", "2024-06-16", of=series("spot", "BTCUSDT", "1d"))] == [
        "2024-06-14"
    ]
    assert planned("2024-06-16", "2024-06-17") == []


def test_a_plan_wants_the_forming_day_where_its_bar_is_wanted() -> None:
    of = series("spot", "BTCUSDT", "1w")
    assert planned("2024-06-10", "2024-06-16", of=of) == []
    assert planned("2024-06-10", "2024-06-16", of=of, include_open=True) == [DayPlan(date(2024, 6, 10), Origin.REST)]


def test_every_day_of_a_plan_is_in_one_block_and_every_lacking_one_in_one_job() -> None:
    cached = {date(2024, 5, number) for number in (3, 4, 20)}
    found = planned("2024-03-10", "2024-06-16", cached=cached)
    made = list(blocks(ONE_HOUR, found))
    assert [day for block in made for day in block.days] == [one.day for one in found]
    fetched = [day for block in made if block.job for day in block.job.days]
    assert fetched == [one.day for one in found if one.origin is not Origin.CACHE]
    assert [str(block.job.month) for block in made if block.job and block.job.monthly] == ["2024-04"]
