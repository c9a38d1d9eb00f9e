"""Cached days that are damaged, gone or cannot be written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ckvd_sql
from ckvd_sql import CacheError, CryptoKlineVisionData, OfflineError
from tests.support.bars import read
from tests.support.damage import writable
from tests.support.faults import NOWHERE
from tests.support.logs import warnings
from tests.support.requests import zips

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import Truth


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
    writable(path).write_bytes(broken)
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
    writable(path).write_bytes(b"")
    with pytest.raises(CacheError, match=path.name) as error:
        CryptoKlineVisionData(**settings, offline=True).get_data("BTCUSDT", "2024-06-01", "2024-06-03")
    assert error.value.path == str(path)
    assert path.exists()


def test_offline_a_deleted_day_file_is_a_missing_day(settings: dict[str, Any], client: CryptoKlineVisionData) -> None:
    client.fetch("BTCUSDT", "2024-06-01", "2024-06-03")
    offline = CryptoKlineVisionData(**settings, offline=True)
    assert offline.get_data("BTCUSDT", "2024-06-01", "2024-06-03").height == 48
    (client.settings.cache_dir / "binance/spot/BTCUSDT/1h/2024-06-02.arrow").unlink()
    with pytest.raises(OfflineError, match="2024-06-02"):
        offline.get_data("BTCUSDT", "2024-06-01", "2024-06-03")


@pytest.mark.parametrize("trouble", ["offline", "no network"])
def test_fetch_reports_a_damaged_day_that_it_cannot_replace_and_continues(
    settings: dict[str, Any], client: CryptoKlineVisionData, trouble: str
) -> None:
    client.fetch("BTCUSDT", "2024-06-01", "2024-06-05")
    writable(client.settings.cache_dir / "binance/spot/BTCUSDT/1h/2024-06-02.arrow").write_bytes(b"")
    unreachable = dict.fromkeys(("vision_url", "spot_url"), NOWHERE)
    more = {"offline": True} if trouble == "offline" else {**unreachable, "retries": 0}
    report = CryptoKlineVisionData(**{**settings, **more}).fetch("BTCUSDT", "2024-06-01", "2024-06-05")
    assert [str(day.date) for day in report.failed] == ["2024-06-02"]
    assert report.counts["cached"] == 3


def test_an_unwritable_cache_still_serves_queries_and_warns_once(
    settings: dict[str, Any], truth: Truth, caplog: pytest.LogCaptureFixture
) -> None:
    Path(settings["cache_dir"]).write_text("a file where the folder should be")
    frame = CryptoKlineVisionData(**settings).get_data("BTCUSDT", "2024-06-01", "2024-06-04")
    assert frame.height == len(truth("BTCUSDT", "1h", "2024-06-01", "2024-06-04"))
    assert len([warning for warning in warnings(caplog) if "not stored" in warning]) == 1
