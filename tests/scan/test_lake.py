"""Queries through a lake: the rows of the cache from its Parquet, without day files and whatever is wrong with it."""

from __future__ import annotations

import logging
import socket
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, strategies
from hypothesis import settings as hypothesis_settings

import ckvd_sql
from ckvd_sql import CryptoKlineVisionData, errors
from ckvd_sql.market.bars import open_times
from tests.support.bars import read
from tests.support.lakes import files_of

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import MakeClient, Truth

HOURS = ("BTCUSDT", "2022-11-20", "2024-02-10", "1h")


@pytest.fixture(scope="module")
def lake(running_exchange: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake that queries of a module have filled with what was complete."""
    root = tmp_path_factory.mktemp("lake")
    filling: dict[str, Any] = {
        **running_exchange.settings,
        "cache_dir": tmp_path_factory.mktemp("cache"),
        "lake_url": str(root),
        "lake_write": True,
    }
    client = CryptoKlineVisionData(**filling)
    client.klines(*HOURS)
    client.klines("BTCUSDT", "2024-01-20", "2024-03-05", "15m")
    client.klines("BTCUSDT", "2022-12-01", "2024-02-10", "3d")
    client.klines("ETHUSDT", "2022-12-01", "2024-02-10", "1w")
    return root


@pytest.fixture
def reading(make_client: MakeClient, lake: Path) -> CryptoKlineVisionData:
    """A client with an empty cache that reads that lake."""
    return make_client(lake_url=str(lake))


def test_only_what_is_complete_was_written(lake: Path) -> None:
    names = [str(path.relative_to(lake / "binance/market=spot")) for path in files_of(lake)]
    assert names == [
        "interval=15m/symbol=BTCUSDT/2024-02.parquet",
        "interval=1h/symbol=BTCUSDT/2023.parquet",
        "interval=1w/symbol=ETHUSDT/2023.parquet",
        "interval=3d/symbol=BTCUSDT/2023.parquet",
    ]


def test_bars_of_the_lake_cost_no_request_and_make_no_day_file(
    reading: CryptoKlineVisionData, exchange: Sandbox, truth: Truth, tmp_path: Path
) -> None:
    bars = reading.klines("BTCUSDT", "2023-02-03T05:00", "2023-12-30T07:00")
    assert exchange.requests == ()
    assert not (tmp_path / "cache" / "binance").exists()
    assert open_times(bars.combine_chunks().to_batches()[0]).tolist() == [
        bar[0] for bar in truth("BTCUSDT", "1h", "2023-02-03T05:00", "2023-12-30T07:00")
    ]


@pytest.mark.parametrize(("symbol", "interval"), [("BTCUSDT", "3d"), ("ETHUSDT", "1w"), ("BTCUSDT", "1h")])
def test_rows_are_the_same_with_and_without_a_lake(
    reading: CryptoKlineVisionData, make_client: MakeClient, symbol: str, interval: str, tmp_path: Path
) -> None:
    plain = make_client(cache_dir=tmp_path / "plain")
    asked = (symbol, "2022-12-20", "2024-01-20", interval)
    assert reading.klines(*asked).to_pylist() == plain.klines(*asked).to_pylist()


@given(data=strategies.data())
@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_range_of_any_mixture_has_the_rows_of_the_cache(
    data: strategies.DataObject,
    lake: Path,
    make_client: MakeClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Some days are in the cache, others in the lake alone, others in neither; a filter keeps some in part."""
    first, last = date(2023, 10, 1), date(2024, 2, 8)
    days = strategies.dates(first, last)
    hours = strategies.integers(0, 23)
    shared = make_client(cache_dir=tmp_path_factory.mktemp("mixed")).settings
    arguments: dict[str, Any] = {
        "cache_dir": shared.cache_dir,
        "vision_url": shared.vision_url,
        "spot_url": shared.spot_url,
        "now": shared.now,
    }
    begin, end = sorted((data.draw(days), data.draw(days)))
    for _ in range(data.draw(strategies.integers(0, 2))):
        cached = data.draw(days)
        CryptoKlineVisionData(**arguments).klines("BTCUSDT", cached, cached + timedelta(days=3))
    low = f"TIMESTAMPTZ '{data.draw(days)} {data.draw(hours):02d}:30+00'"
    where = data.draw(strategies.sampled_from(["true", f"open_time >= {low}", f"open_time < {low}", "close > open"]))
    columns = data.draw(
        strategies.sampled_from(["*", "open_time, close", "count(*), sum(trades), max(volume)", "source, max(high)"])
    )
    grouped = " GROUP BY source ORDER BY source" if columns.startswith("source") else ""
    query = (
        f"SELECT {columns} FROM ckvd_klines('BTCUSDT', '1h', '{begin} {data.draw(hours):02d}:00', "
        f"'{end + timedelta(days=1)}') WHERE {where}{grouped}"
    )
    with ckvd_sql.connect(**arguments, lake_url=str(lake)) as through_lake:
        got = through_lake.sql(query).fetchall()
    with ckvd_sql.connect(**arguments) as plain:
        assert got == plain.sql(query).fetchall()


def test_the_plan_says_which_days_the_lake_has(reading: CryptoKlineVisionData, exchange: Sandbox) -> None:
    plan = reading.plan("BTCUSDT", "2023-12-30", "2024-01-02", "1h").to_pylist()
    assert [row["source"] for row in plan] == ["lake", "lake", "vision"]
    assert exchange.requests == ()


def test_a_fetch_reports_days_of_the_lake(reading: CryptoKlineVisionData) -> None:
    report = reading.fetch("BTCUSDT", "2023-12-30", "2024-01-02", "1h")
    assert report.counts == {"cached": 0, "lake": 2, "vision": 1, "rest": 0, "empty": 0, "failed": 0}


def test_a_lake_is_not_written_unless_that_is_wanted(make_client: MakeClient, tmp_path: Path) -> None:
    make_client(lake_url=str(tmp_path / "lake")).klines("BTCUSDT", "2023-03-01", "2023-04-01", "15m")
    assert not (tmp_path / "lake").exists()


def test_offline_a_lake_in_a_folder_is_read(make_client: MakeClient, lake: Path) -> None:
    client = make_client(lake_url=str(lake), offline=True)
    assert client.klines("BTCUSDT", "2023-05-01", "2023-06-01").num_rows == 31 * 24
    with pytest.raises(errors.OfflineError) as caught:
        client.klines("BTCUSDT", "2023-12-30", "2024-01-03")
    assert caught.value.days == (date(2024, 1, 1), date(2024, 1, 2))


def test_days_that_a_growing_period_lacks_are_fetched(
    lake: Path, exchange: Sandbox, truth: Truth, settings: dict[str, Any]
) -> None:
    with ckvd_sql.connect(**settings, lake_url=str(lake)) as con:
        got = read(con, "ckvd_klines('BTCUSDT', '15m', '2024-02-27', '2024-03-03')")
    assert got == truth("BTCUSDT", "15m", "2024-02-27", "2024-03-03")
    assert any("15m" in request.path for request in exchange.requests)


def test_a_damaged_file_is_passed_over_with_a_warning_and_replaced_where_that_is_wanted(
    make_client: MakeClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(lake_url=str(tmp_path / "lake"), lake_write=True)
    asked = ("BTCUSDT", "2023-03-01", "2023-04-01", "15m")
    whole = client.klines(*asked).to_pylist()
    (file,) = files_of(tmp_path / "lake")
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:2000] + bytes(500) + content[2500:])
    caplog.clear()
    reader = make_client(lake_url=str(tmp_path / "lake"), cache_dir=tmp_path / "other", lake_write=True)
    assert reader.klines(*asked).to_pylist() == whole
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "2023-03.parquet can't be used" in caplog.text
    caplog.clear()
    again = make_client(lake_url=str(tmp_path / "lake"), cache_dir=tmp_path / "third")
    assert again.klines(*asked).to_pylist() == whole
    assert caplog.text == ""
    assert again.plan(*asked).column("source").unique().to_pylist() == ["lake"]


def test_a_lake_that_is_down_is_left_alone_after_one_failure(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:  # bound and not listening: whoever connects is refused
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        client = make_client(lake_url="s3://down/lake")
        with caplog.at_level(logging.WARNING):
            assert client.klines("BTCUSDT", "2023-06-01", "2023-08-01").num_rows == 61 * 24
            assert client.klines("BTCUSDT", "2023-05-01", "2023-05-03").num_rows == 48
    assert len([record for record in caplog.records if "the lake is left alone" in record.getMessage()]) == 1


def test_a_bucket_as_cache_folder_is_refused_with_the_setting_that_is_meant() -> None:
    with pytest.raises(errors.SettingsError, match="lake_url"):
        CryptoKlineVisionData(cache_dir="s3://bucket/folder")


def test_the_archive_alone_is_asked_where_the_user_wants_that(make_client: MakeClient, exchange: Sandbox) -> None:
    client = make_client(sources="archive")
    assert client.klines("BTCUSDT", "2024-01-01", "2024-03-01").num_rows == 60 * 24
    with pytest.raises(errors.ProviderUnavailableError, match="CKVD_SOURCES=archive"):
        client.klines("BTCUSDT", "2024-06-14")
    assert all(request.path.startswith("/data/") for request in exchange.requests)
