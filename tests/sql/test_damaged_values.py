"""A damaged value is found by the query that reads its column, in a process that has not used that file before."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import duckdb
import pytest

import ckvd_sql
from ckvd_sql import CryptoKlineVisionData
from ckvd_sql.market.bars import BAR_SCHEMA
from tests.support.cache_state import sandbox_settings
from tests.support.damage import replace, values_begin

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox

SPAN = ("2024-03-01", "2024-05-01")
COLUMNS = BAR_SCHEMA.names


@pytest.fixture
def cache(exchange: Sandbox, tmp_path: Path) -> Path:
    """Two months of hours."""
    CryptoKlineVisionData(cache_dir=tmp_path, **sandbox_settings(exchange)).klines("BTCUSDT", *SPAN, "1h")
    return tmp_path


def damage(path: Path, column: str, rows: int, row: int = 7) -> None:
    """Flip a bit of one value."""
    content = bytearray(path.read_bytes())
    content[values_begin(bytes(content)) + 8 * (COLUMNS.index(column) * rows + row) + 3] ^= 4
    replace(path, bytes(content))


def day_file(cache: Path) -> Path:
    return cache / "binance" / "spot" / "BTCUSDT" / "1h" / "2024-03-12.arrow"


def total(exchange: Sandbox, cache: Path, expression: str, where: str = "", *, offline: bool = False) -> float:
    with ckvd_sql.connect(cache_dir=cache, **sandbox_settings(exchange), offline=offline) as con:
        statement = f"SELECT sum({expression}) FROM ckvd_klines('BTCUSDT', '1h', ?, ?) {where}"
        found = con.execute(statement, SPAN).fetchone()
        assert found
        return float(found[0])


@pytest.mark.parametrize("column", [name for name in COLUMNS if name not in {"open_time", "close_time"}])
def test_the_day_is_fetched_again_with_a_warning(
    exchange: Sandbox, cache: Path, caplog: pytest.LogCaptureFixture, column: str
) -> None:
    before = total(exchange, cache, column)
    damage(day_file(cache), column, 24)
    with caplog.at_level(logging.WARNING, "ckvd_sql"):
        assert total(exchange, cache, column) == before
    assert f"its values of {column} are not those that were written; it is set aside" in caplog.text
    assert day_file(cache).with_suffix(".damaged").exists()


@pytest.mark.parametrize(
    ("expression", "where"),
    [
        ("open", "WHERE close > 0"),
        ("open", "WHERE open + close > 0"),
        ("close - open", ""),
    ],
)
def test_a_column_that_only_a_filter_or_an_expression_reads_is_checked(
    exchange: Sandbox, cache: Path, expression: str, where: str
) -> None:
    before = total(exchange, cache, expression, where)
    damage(day_file(cache), "close", 24)
    assert total(exchange, cache, expression, where) == before
    assert day_file(cache).with_suffix(".damaged").exists()


def test_a_damaged_time_is_found_by_a_filter_on_time(exchange: Sandbox, cache: Path) -> None:
    where = "WHERE open_time >= '2024-03-12' AND open_time < '2024-03-13'"
    before = total(exchange, cache, "open", where)
    damage(day_file(cache), "open_time", 24)
    assert total(exchange, cache, "open", where) == before
    assert day_file(cache).with_suffix(".damaged").exists()


def test_a_column_that_is_not_read_is_not_checked(exchange: Sandbox, cache: Path) -> None:
    before = total(exchange, cache, "open", offline=True)
    damage(day_file(cache), "close", 24)
    assert total(exchange, cache, "open", offline=True) == before
    with pytest.raises(duckdb.Error, match="its values of close are not those that were written"):
        total(exchange, cache, "close", offline=True)


def test_a_damaged_pack_is_deleted_and_the_days_are_read(
    exchange: Sandbox, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = max(total(exchange, cache, "volume") for _ in range(2))
    (pack,) = cache.rglob("*.pack")
    damage(pack, "volume", 24 * 61)
    with caplog.at_level(logging.WARNING, "ckvd_sql"):
        assert total(exchange, cache, "volume", offline=True) == before
    assert f"pack {pack} can't be used: its values of volume are not those that were written" in caplog.text
    assert total(exchange, cache, "volume", offline=True) == before
