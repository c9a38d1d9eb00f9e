"""SQLAlchemy: `create_engine("duckdb:///:memory:?plugin=ckvd&ckvd_cache_dir=/data/klines")`.

SQLAlchemy finds the plug-in by its entry point (`sqlalchemy.plugins`); every new connection is registered. Needs
a DuckDB dialect: duckdb-sqlalchemy or duckdb-engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.engine import CreateEnginePlugin

from ckvd_sql.sql import register

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

_PREFIX = "ckvd_"


class CkvdPlugin(CreateEnginePlugin):
    """Takes the settings out of the URL (`ckvd_...`) and registers each connection with them."""

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        super().__init__(url, kwargs)
        given = {name: value for name, value in url.query.items() if name.startswith(_PREFIX)}
        self._settings = {name.removeprefix(_PREFIX): value for name, value in given.items()}

    def update_url(self, url: URL) -> URL:
        """The URL without what is ours."""
        ours = ["plugin", *(name for name in url.query if name.startswith(_PREFIX))]
        return url.difference_update_query(ours)

    def engine_created(self, engine: Engine) -> None:
        """Register on every connection that the pool opens."""

        @event.listens_for(engine, "connect")
        def on_connect(connection: Any, _record: object) -> None:
            # The dialects wrap DuckDB's connection and pass its methods on; a method knows whose it is.
            register(connection.create_function.__self__, **self._settings)
