"""The SQLAlchemy plug-in: an engine whose URL names it has the SQL functions and views on every connection."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.dialects import plugins

import ckvd_sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.conftest import Truth

# An installed package registers the plug-in by its entry point.
plugins.register("ckvd", "ckvd_sql.plugins.sqlalchemy", "CkvdPlugin")

SPAN = ("BTCUSDT", "1h", "2024-06-03", "2024-06-05")


def url_for(settings: dict[str, Any], database: str) -> str:
    query = {"plugin": "ckvd", **{f"ckvd_{name}": str(value) for name, value in settings.items()}}
    return f"duckdb:///{database}?{urlencode(query)}"


@pytest.fixture
def engine(settings: dict[str, Any]) -> Iterator[Engine]:
    engine = create_engine(url_for(settings, ":memory:"))
    yield engine
    engine.dispose()


def test_a_query_returns_the_bars(engine: Engine, truth: Truth) -> None:
    with engine.connect() as connection:
        rows = connection.execute(text(f"SELECT close FROM ckvd_klines{SPAN} ORDER BY open_time")).fetchall()
    assert [row[0] for row in rows] == [bar[4] for bar in truth(*SPAN)]


def test_bound_parameters_are_arguments_of_the_table_function(engine: Engine, truth: Truth) -> None:
    query = text("SELECT count(*) FROM ckvd_klines(:symbol, :interval, :start, :end)")
    values = dict(zip(("symbol", "interval", "start", "end"), SPAN, strict=True))
    with engine.connect() as connection:
        assert connection.execute(query, values).scalar() == len(truth(*SPAN))


@pytest.mark.parametrize("view", ["ckvd_cache", "ckvd_cache_days"])
def test_views_are_found_by_reflection(engine: Engine, view: str) -> None:
    inspector = inspect(engine)
    assert view in inspector.get_temp_view_names()
    assert view in inspector.get_view_names(schema="temp.main")
    columns = {column["name"] for column in inspector.get_columns(view)}
    assert columns >= {"provider", "market", "symbol", "interval", "date"}


def test_connections_of_a_pool_query_concurrently(settings: dict[str, Any], truth: Truth, tmp_path: Any) -> None:
    engine = create_engine(url_for(settings, str(tmp_path / "user.duckdb")), pool_size=3)
    counts: list[Any] = []
    barrier = threading.Barrier(3)

    def work() -> None:
        with engine.connect() as connection:
            barrier.wait()
            counts.append(connection.execute(text(f"SELECT count(*) FROM ckvd_klines{SPAN}")).scalar())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()
    assert counts == [len(truth(*SPAN))] * 3


def test_a_bad_setting_is_named(settings: dict[str, Any]) -> None:
    engine = create_engine(url_for({**settings, "retries": "many"}, ":memory:"))
    with pytest.raises(ckvd_sql.SettingsError, match="retries"):
        engine.connect()
