"""The SQLAlchemy plug-in: `create_engine("duckdb:///:memory:?plugin=ckvd&ckvd_cache_dir=/data/klines")`.

SQLAlchemy finds it by its entry point (`sqlalchemy.plugins`). Needs a DuckDB dialect: duckdb-sqlalchemy or
duckdb-engine. Knows of the library only `register`.
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
    """Registers the SQL names on each connection of an engine, with the settings in its URL (`ckvd_...`).

    A setting that does not exist or is not valid raises `SettingsError` when the first connection is opened.
    """

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        super().__init__(url, kwargs)
        self._settings = {
            name.removeprefix(_PREFIX): value for name, value in url.query.items() if name.startswith(_PREFIX)
        }

    def update_url(self, url: URL) -> URL:
        """The URL without the plug-in's parameters, which the dialect would not accept."""
        own = ["plugin", *(name for name in url.query if name.startswith(_PREFIX))]
        return url.difference_update_query(own)

    def engine_created(self, engine: Engine) -> None:
        """Register each connection that the pool opens."""

        @event.listens_for(engine, "connect")
        def on_connect(connection: Any, _record: object) -> None:
            # Dialects wrap DuckDB's connection and delegate its methods; a bound method leads to the connection.
            register(connection.create_function.__self__, **self._settings)
