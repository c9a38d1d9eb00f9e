"""The session's time zone: UTC on a connection of ours, the user's own on a registered one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import ckvd_sql
from ckvd_sql import InvalidArgumentError

if TYPE_CHECKING:
    from pathlib import Path

ZONE = "SELECT current_setting('TimeZone')"
DAYS = """
    SELECT open_time::DATE::VARCHAR AS day, count(*) FROM ckvd_klines('BTCUSDT', '1h', '2024-06-01', '2024-06-03')
    GROUP BY day ORDER BY day
"""
ELSEWHERE = "Pacific/Auckland"


def zone(con: duckdb.DuckDBPyConnection) -> str:
    return str(con.sql(ZONE).fetchall()[0][0])


@pytest.fixture(autouse=True)
def _a_machine_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", ELSEWHERE)


def test_connect_groups_by_the_exchange_s_days_wherever_the_machine_is(settings: dict[str, Any]) -> None:
    with ckvd_sql.connect(**settings) as con:
        for one in (con, con.cursor(), con.cursor().cursor()):
            assert zone(one) == "UTC"
            assert one.sql(DAYS).fetchall() == [("2024-06-01", 24), ("2024-06-02", 24)]


def test_connect_takes_another_time_zone_for_its_cursors_too(settings: dict[str, Any]) -> None:
    with ckvd_sql.connect(time_zone="Asia/Tokyo", **settings) as con:
        assert zone(con) == zone(con.cursor()) == "Asia/Tokyo"
        assert con.sql(DAYS).fetchall() == [("2024-06-01", 15), ("2024-06-02", 24), ("2024-06-03", 9)]


def test_register_leaves_the_session_s_time_zone_alone(settings: dict[str, Any]) -> None:
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'America/New_York'")
        before = zone(con.cursor())
        ckvd_sql.register(con, **settings)
        assert zone(con) == "America/New_York"
        assert zone(con.cursor()) == before


@pytest.mark.parametrize("name", ["Nowhere/City", "it's", ""])
def test_a_time_zone_that_does_not_exist_is_refused_and_the_file_released(name: str, tmp_path: Path) -> None:
    database = tmp_path / "user.duckdb"
    with pytest.raises(InvalidArgumentError, match="time_zone"):
        ckvd_sql.connect(database, time_zone=name)
    with duckdb.connect(database) as con:
        assert con.sql("SELECT 1").fetchall() == [(1,)]
