"""Connections to a sandbox or a stand-in server, and short queries for what tests check over and over."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import ckvd_sql
from tests.support.truth import NOW

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from duckdb import DuckDBPyConnection

    from ckvd_sql.sandbox import Sandbox
    from tests.support.stand_in import StandIn


def settings_for(source: Sandbox | StandIn, cache: Path, **more: Any) -> dict[str, Any]:
    """Settings that send every request to this source, without retries; `more` overrides them."""
    return {"now": NOW, **source.settings, "retries": 0, "timeout": 10, "cache_dir": cache, **more}


def connect(source: Sandbox | StandIn, cache: Path, **more: Any) -> DuckDBPyConnection:
    """A connection with `settings_for` that source."""
    return ckvd_sql.connect(**settings_for(source, cache, **more))


def sources(con: DuckDBPyConnection, call: str) -> set[str]:
    """The values of `source` in a call such as `ckvd_klines(...)` or in a table of days."""
    return {name for (name,) in con.sql(f"SELECT DISTINCT source FROM {call}").fetchall()}


def cached_days(con: DuckDBPyConnection, columns: str = "source, checksum, gaps") -> list[Any]:
    """Columns of `ckvd_cache_days`, in order of the days."""
    return con.sql(f"SELECT {columns} FROM ckvd_cache_days ORDER BY date").fetchall()


@contextmanager
def raises_in_sql(name: str) -> Iterator[None]:
    """The block must end with an SQL error that has the sentence of this exception of the package once."""
    with pytest.raises(duckdb.Error) as caught:
        yield
    error = ckvd_sql.errors.of(caught.value)
    assert error is not None
    assert type(error).__name__ == name
    assert str(caught.value).count(error.sentence) == 1
