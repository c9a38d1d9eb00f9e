"""A sandbox that replays a folder of archive files."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import httpx
import pytest

from ckvd_sql.market.periods import Month
from ckvd_sql.market.series import Market
from ckvd_sql.sandbox import Sandbox
from tests.support.exchange import (
    ZIP,
    expected_rows,
    klines,
    ms,
    rest_rows,
    zip_path,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(client: httpx.Client, exchange: Sandbox, tmp_path: Path) -> Path:
    """An archive tree: a month of spot hours in microseconds, the two days after it, and a day of um."""
    exchange.set_now("2025-03-15")
    for where in (
        zip_path(Market.SPOT, "1h", Month(2025, 1)),
        zip_path(Market.SPOT, "1h", date(2025, 2, 1)),
        zip_path(Market.SPOT, "1h", date(2025, 2, 2)),
        zip_path(Market.UM, "1h", date(2025, 2, 1)),
    ):
        for name in (where, f"{where}.CHECKSUM"):
            file = tmp_path / name[1:]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(client.get(name).content)
    return tmp_path


def test_a_replay_serves_the_files_of_its_folder_unchanged(tree: Path) -> None:
    files = [file for file in tree.rglob("*") if file.is_file()]
    assert len(files) == 8
    with Sandbox(now="2025-03-15", replay=tree) as exchange, httpx.Client(base_url=exchange.url) as client:
        for file in files:
            assert client.get("/" + file.relative_to(tree).as_posix()).content == file.read_bytes()
        assert client.get(ZIP).status_code == 404
        assert client.get("/data/%2e%2e/%2e%2e/etc/passwd").status_code == 404
        (tree / "secret").write_text("x")
        assert client.get("/data/..%2fsecret").status_code == 404


def test_a_replay_answers_rest_from_the_rows_of_its_zips(tree: Path) -> None:
    with Sandbox(now="2025-03-15", replay=tree) as exchange, httpx.Client(base_url=exchange.url) as client:
        start, end = ms("2025-01-31"), ms("2025-02-02") - 1
        assert rest_rows(client, Market.SPOT, startTime=start, endTime=end) == expected_rows(
            Market.SPOT, "1h", "2025-01-31", "2025-02-02"
        )
        assert rest_rows(client, Market.SPOT, limit=30) == expected_rows(
            Market.SPOT, "1h", "2025-02-01T18:00", "2025-02-03"
        )
        assert rest_rows(client, Market.UM) == expected_rows(Market.UM, "1h", "2025-02-01", "2025-02-02")
        assert rest_rows(client, Market.SPOT, interval="1d") == []
        assert klines(client, Market.SPOT, symbol="ETHUSDT").json()["code"] == -1121
        assert klines(client, Market.CM).json()["code"] == -1121
        symbols = client.get("/api/v3/exchangeInfo").json()["symbols"]
        assert [(one["symbol"], one["baseAsset"], one["quoteAsset"]) for one in symbols] == [("BTCUSDT", "BTC", "USDT")]


def test_a_folder_without_an_archive_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="archive tree"):
        Sandbox(replay=tmp_path)
