"""The SQL interface: `connect` and `register` create the SQL names on a DuckDB connection.

A call such as `ckvd_klines(...)` is a table macro over `query(<function>(<arguments as JSON>))`. DuckDB folds the
function while it binds: it validates the arguments, makes a lazy dataset and returns the text of a SELECT over it.
So EXPLAIN and CREATE VIEW neither read nor fetch, and the optimizer pushes filters and columns into the scan.
"""

from __future__ import annotations

import atexit
import itertools
import json
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import duckdb
from duckdb.func import FunctionNullHandling

from ckvd_sql.disk.locks import ThreadLock
from ckvd_sql.errors import CkvdError
from ckvd_sql.market.parse import parse_flag, parse_market
from ckvd_sql.market.query import parse_query
from ckvd_sql.scan.resolver import Resolver
from ckvd_sql.settings import Settings
from ckvd_sql.tables.cache import cache_dataset, cache_days_dataset
from ckvd_sql.tables.klines import klines_dataset
from ckvd_sql.tables.reports import gaps_dataset, plan_dataset, symbols_dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow.dataset as ds
    from duckdb import DuckDBPyConnection

    from ckvd_sql.market.query import Query

#: How many relations of different calls are held. One is needed only from bind to execution.
_KEPT_RELATIONS = 1024

_ARGUMENTS = "symbol, interval, \"start\", \"end\" := 'now', market := 'spot', include_open := false"
_AS_JSON = (
    '"symbol": symbol, "interval": interval, "start": "start", "end": "end", market: market, include_open: include_open'
)
_AUDIT_ARGUMENTS = _ARGUMENTS.replace("include_open", "remote")
_AUDIT_AS_JSON = _AS_JSON.replace("include_open", "remote")

#: The SQL names: kind, name, parameters, and the fields that reach the function as JSON.
_NAMES = (
    ("MACRO", "ckvd_klines", f"({_ARGUMENTS})", _AS_JSON),
    ("MACRO", "ckvd_plan", f"({_ARGUMENTS})", _AS_JSON),
    ("MACRO", "ckvd_gaps", f"({_ARGUMENTS})", _AS_JSON),
    ("MACRO", "ckvd_audit", f"({_AUDIT_ARGUMENTS})", _AUDIT_AS_JSON),
    ("MACRO", "ckvd_symbols", "(market := 'spot')", "market: market"),
    ("VIEW", "ckvd_cache", "", ""),
    ("VIEW", "ckvd_cache_days", "", ""),
)

_CLOSED = "the connection that ckvd_sql was registered on is closed; call ckvd_sql.register on this one"

_numbers = itertools.count(1)
_registered: weakref.WeakKeyDictionary[DuckDBPyConnection, _Registration] = weakref.WeakKeyDictionary()
_kept: set[DuckDBPyConnection] = set()
_binders: list[Callable[[str, str], str]] = []
_lock = ThreadLock()


def connect(database: str | Path = ":memory:", *, read_only: bool = False, **settings: Any) -> DuckDBPyConnection:
    """Open a DuckDB database with ckvd_sql on it.

    Args:
        database: A file, or `:memory:`.
        read_only: Open the file read-only.
        settings: See `Settings`; what is not given comes from the environment (`CKVD_...`), then the defaults.

    Raises:
        SettingsError: A setting can't be used.
    """
    checked = Settings.load(**settings)
    con = duckdb.connect(database, read_only=read_only)
    con.execute(
        "SET enable_progress_bar = false"
    )  # it does not know the progress of a fetch, and writes even into pipes
    _register(con, checked)
    return con


def register(con: DuckDBPyConnection | None = None, **settings: Any) -> DuckDBPyConnection:
    """Create the SQL names on a connection, by default on the one that `duckdb.sql` uses; returns it.

    Registering again replaces the settings. In a file database the names are temporary, so nothing is written into
    the file, and each cursor has to be registered itself; cursors of an in-memory database see them at once.

    Raises:
        SettingsError: A setting can't be used.
    """
    checked = Settings.load(**settings)
    if con is None:
        con = duckdb.default_connection()
        _kept.add(con)  # the module makes a new object whenever there is no reference to the last one
    _register(con, checked)
    return con


def _register(con: DuckDBPyConnection, settings: Settings) -> None:
    with _lock:
        before = _registered.get(con)
        registration = _Registration(con, settings, shared=before.shared if before else _can_share(con))
        registration.install(con)
        _registered[con] = registration
        if before:
            con.remove_function(before.function)


def _can_share(con: DuckDBPyConnection) -> bool:
    """Whether the names may be created in the database: one in memory, where no other connection has created them."""
    in_memory = "SELECT path IS NULL AND NOT readonly FROM duckdb_databases() WHERE database_name = current_database()"
    taken = "SELECT count(*) > 0 FROM duckdb_functions() WHERE function_name = 'ckvd_klines'"
    rows = con.cursor().execute(f"SELECT ({in_memory}) AND NOT ({taken})").fetchall()
    return bool(rows[0][0])


@atexit.register
def _close_all() -> None:
    """Close what is still open when the process ends: DuckDB reports functions that outlive it as leaks."""
    for con in list(_registered):
        con.close()


def _binder(registration: weakref.ref[_Registration]) -> Callable[[str, str], str]:
    """The function that DuckDB calls while binding.

    DuckDB frees it with the connection that it was created on, although cursors may still call it. So a reference is
    held here for as long as the process lives, and the function itself refers only weakly to anything.
    """

    def bind(name: str, arguments: str) -> str:
        alive = registration()
        if alive is None:
            raise CkvdError(_CLOSED)
        return alive.bind(name, arguments)

    return bind


class _Registration:
    """The resolver of one connection, and the function that turns the arguments of a call into SQL text."""

    def __init__(self, con: DuckDBPyConnection, settings: Settings, *, shared: bool) -> None:
        # A weak reference: the user's connection must be free to close, which releases its database's lock.
        self._con = weakref.ref(con)
        self._resolver = Resolver(settings)
        self._bound: OrderedDict[str, tuple[duckdb.DuckDBPyRelation, str]] = OrderedDict()
        self._lock = ThreadLock()
        self.shared = shared
        self.function = f"__ckvd_bind_{next(_numbers)}"

    def install(self, con: DuckDBPyConnection) -> None:
        """Create the function and the names over it."""
        binder = _binder(weakref.ref(self))
        _binders.append(binder)
        con.create_function(
            self.function,
            binder,
            ["VARCHAR", "VARCHAR"],
            "VARCHAR",
            null_handling=FunctionNullHandling.SPECIAL,
        )
        for kind, name, parameters, fields in _NAMES:
            arguments = f"to_json({{{fields}}})::VARCHAR" if fields else "'{}'"
            table = "TABLE " if kind == "MACRO" else ""
            call = f"query({self.function}('{name}', {arguments}))"
            text = f"{kind} {name}{parameters} AS {table}FROM {call}"
            if self.shared:  # visible to this database's cursors
                con.execute(f"CREATE OR REPLACE {text}")
            con.execute(f"CREATE OR REPLACE TEMP {text}")  # visible to this connection, whatever database it uses

    def bind(self, name: str, arguments: str) -> str:
        """The text of a SELECT over the dataset of a call; DuckDB calls it while binding."""
        key = f"{name} {arguments}"
        with self._lock:
            bound = self._bound.pop(key, None) or self._bind(name, json.loads(arguments))
            self._bound[key] = bound
            while len(self._bound) > _KEPT_RELATIONS:
                self._bound.popitem(last=False)
        return bound[1]

    def _bind(self, name: str, given: dict[str, Any]) -> tuple[duckdb.DuckDBPyRelation, str]:
        """A relation over the dataset of a call, and its SQL text, which is valid for as long as the relation lives."""
        con = self._con()
        if con is None:
            raise CkvdError(_CLOSED)
        dataset = self._dataset(name, given)
        with con.cursor() as cursor:  # a connection can't bind while it binds, and a cursor serves one thread
            relation = cursor.from_arrow(dataset)
            return relation, relation.sql_query()

    def _dataset(self, name: str, given: dict[str, Any]) -> ds.Dataset:
        resolver = self._resolver
        if name == "ckvd_cache":
            return cache_dataset(resolver.store)
        if name == "ckvd_cache_days":
            return cache_days_dataset(resolver.store)
        if name == "ckvd_symbols":
            return symbols_dataset(resolver, parse_market(given["market"]))

        remote = parse_flag(given.pop("remote", False), "remote")

        def make_query() -> Query:
            return parse_query(**given, now=resolver.settings.clock())

        make_query()  # invalid arguments raise now, before any I/O
        datasets: dict[str, Callable[[Resolver, Callable[[], Query]], ds.Dataset]] = {
            "ckvd_klines": klines_dataset,
            "ckvd_plan": plan_dataset,
            "ckvd_gaps": gaps_dataset,
        }
        if name == "ckvd_audit":
            from ckvd_sql.tables.audit import audit_dataset  # noqa: PLC0415 (most sessions audit nothing)

            return audit_dataset(resolver, make_query, remote=remote)
        return datasets[name](resolver, make_query)
