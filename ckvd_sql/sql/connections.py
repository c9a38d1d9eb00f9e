"""`connect` and `register`: connections with the SQL names on them, and the cursors that those make.

The names are temporary on each connection and each cursor of it, so that a user's database never holds them.
"""

from __future__ import annotations

import atexit
import contextlib
import weakref
from typing import TYPE_CHECKING, Any

import duckdb
from duckdb import DuckDBPyConnection

from ckvd_sql.disk.locks import ThreadLock
from ckvd_sql.errors import CkvdError, InvalidArgumentError
from ckvd_sql.settings import Settings
from ckvd_sql.sql.registration import NAMES, Registration
from ckvd_sql.tables.names import PLACE, namesakes

if TYPE_CHECKING:
    from pathlib import Path

_registered: weakref.WeakKeyDictionary[DuckDBPyConnection, Registration] = weakref.WeakKeyDictionary()
_kept: set[DuckDBPyConnection] = set()
_lock = ThreadLock()


def connect(
    database: str | Path = ":memory:", *, read_only: bool = False, time_zone: str = "UTC", **settings: Any
) -> DuckDBPyConnection:
    """Open a DuckDB database with ckvd_sql on it.

    Args:
        database: A file, or `:memory:`.
        read_only: Open the file read-only.
        time_zone: The session's time zone, in which times are shown and cast to dates: `UTC`, so that
            `open_time::DATE` is the exchange's day on every machine, or another name such as `America/New_York`.
        settings: See `Settings`; what is not given comes from the environment (`CKVD_...`), then the defaults.

    Raises:
        SettingsError: A setting can't be used.
        InvalidArgumentError: DuckDB has no such time zone.
        CkvdError: The database has a table or view with the name of one of ours.
    """
    checked = Settings.load(**settings)
    con = duckdb.connect(database, read_only=read_only)
    try:
        _set_session(con, time_zone)
        _register(con, checked, time_zone)
    except BaseException:
        con.close()  # else the error's traceback would keep the file locked
        raise
    return con


def register(con: DuckDBPyConnection | None = None, **settings: Any) -> DuckDBPyConnection:
    """Create the SQL names on a connection, by default on the one that `duckdb.sql` uses; returns it.

    The names are temporary: nothing is written into a database, and EXPORT DATABASE and COPY FROM DATABASE never meet
    them. The session's time zone stays what it is. Cursors that the connection makes from then on have them too, with
    its settings, unless one is registered itself. Registering again replaces the settings, for its cursors as well.

    Raises:
        SettingsError: A setting can't be used.
        CkvdError: A table or view in the connection's search path has the name of one of ours.
    """
    checked = Settings.load(**settings)
    if con is None:
        con = duckdb.default_connection()
        _kept.add(con)  # the module makes a new object whenever there is no reference to the last one
    _register(con, checked)
    return con


def _set_session(con: DuckDBPyConnection, time_zone: str) -> None:
    """Set the time zone, and switch off DuckDB's progress bar, which knows nothing of a fetch and writes into pipes."""
    name = str(time_zone).replace("'", "''")
    try:
        con.execute(f"SET TimeZone = '{name}'")
    except duckdb.Error as error:
        allowed = "it is the name of a time zone such as 'UTC' or 'America/New_York'"
        raise InvalidArgumentError("time_zone", time_zone, allowed) from error
    with contextlib.suppress(duckdb.InvalidInputException):  # in Jupyter without ipywidgets there is no bar to set
        con.execute("SET enable_progress_bar = false")


def _register(con: DuckDBPyConnection, settings: Settings, time_zone: str | None = None) -> None:
    with _lock:
        _refuse_namesakes(con)
        registration = _registered.get(con)
        if registration is None or not registration.is_of(con):
            registration = Registration(con, settings, time_zone)
            registration.create(con)
        else:
            registration.use(settings)
            try:
                registration.name(con)
            except duckdb.CatalogException:  # the function was created in a transaction that was rolled back
                registration.create(con)
        _registered[con] = registration
        if type(con) is DuckDBPyConnection:
            con.__class__ = _RegisteredConnection


def _refuse_namesakes(con: DuckDBPyConnection) -> None:
    """Raise for a user's table or view that ours would hide; drop what an earlier version has left in its place."""
    database, path = con.execute(f"SELECT {', '.join(PLACE)}").fetchall()[0]
    for found in namesakes(con, database, path):
        if not found.ours:
            raise CkvdError(found.refusal)
        if found.database != "temp" and not _is_read_only(con, found.database):
            for kind, name, *_ in NAMES:
                what = "MACRO TABLE" if kind == "MACRO" else kind
                con.execute(f"DROP {what} IF EXISTS {found.beside(name)}")


def _is_read_only(con: DuckDBPyConnection, database: str) -> bool:
    rows = con.execute("SELECT readonly FROM duckdb_databases() WHERE database_name = ?", [database]).fetchall()
    return bool(rows[0][0])


class _RegisteredConnection(DuckDBPyConnection):
    """A connection whose cursors are registered too.

    DuckDB has no other place for names that a cursor sees: temporary ones belong to one connection, a cursor begins
    with the default search path, and what is in the database would be exported with it.
    """

    __slots__ = ()  # with the same layout, a connection's class can be changed
    __module__ = DuckDBPyConnection.__module__

    def cursor(self) -> DuckDBPyConnection:
        """A cursor with the names, settings and time zone of this connection."""
        made = super().cursor()
        with _lock:
            registration = _registered.get(self)
        if registration is not None:
            with contextlib.suppress(duckdb.CatalogException):  # within the transaction that registers the connection
                registration.name(made)
                if registration.time_zone is not None:
                    _set_session(made, registration.time_zone)
                with _lock:
                    _registered[made] = registration
                made.__class__ = _RegisteredConnection
        return made

    duplicate = cursor


@atexit.register
def _close_all() -> None:
    """Close what is still open when the process ends: DuckDB reports functions that outlive it as leaks."""
    for con in list(_registered):
        con.close()
