"""The SQL names of one connection: macros and views over a function that DuckDB calls while it binds.

A call such as `ckvd_klines(...)` is a table macro over `query(<function>(<arguments as JSON>))`. DuckDB folds the
function while it binds: it validates the arguments, makes a lazy dataset and returns the text of a SELECT over it.
So EXPLAIN and CREATE VIEW neither read nor fetch, and the optimizer pushes filters and columns into the scan.
"""

from __future__ import annotations

import itertools
import json
import threading
import weakref
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any

from duckdb import DuckDBPyConnection
from duckdb.func import FunctionNullHandling

from ckvd_sql.disk.locks import ThreadLock
from ckvd_sql.errors import CkvdError, remember
from ckvd_sql.market.parse import parse_count, parse_flag, parse_market
from ckvd_sql.market.periods import FIRST_DAY
from ckvd_sql.market.query import parse_query
from ckvd_sql.scan.resolver import Resolver
from ckvd_sql.tables.cache import cache_dataset, cache_days_dataset
from ckvd_sql.tables.klines import klines_dataset
from ckvd_sql.tables.latest import latest_dataset
from ckvd_sql.tables.names import BINDER, PLACE, VIEWS, namesakes
from ckvd_sql.tables.reports import gaps_dataset, plan_dataset, symbols_dataset

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb
    import pyarrow.dataset as ds

    from ckvd_sql.market.query import Query
    from ckvd_sql.settings import Settings

#: How many relations of different calls are held. One is needed only from bind to execution.
_KEPT_RELATIONS = 1024

# NULL is now. `until` needs no quotes, as "end" does.
_ARGUMENTS = """
    symbol, interval, "start", until := NULL, market := 'spot', include_open := false, quote := NULL, "end" := NULL
""".strip()
_AS_JSON = """
    "symbol": symbol, "interval": interval, "start": "start", until: until, market: market, include_open: include_open,
    quote: quote, "end": "end"
""".strip()
_AUDIT_ARGUMENTS = _ARGUMENTS.replace("include_open", "remote")
_AUDIT_AS_JSON = _AS_JSON.replace("include_open", "remote")

_PLACE_AS_JSON = f"database: {PLACE[0]}, path: {PLACE[1]}"

#: The SQL names: kind, name, parameters, and the fields that reach the function as JSON.
NAMES = (
    ("MACRO", "ckvd_klines", f"({_ARGUMENTS})", _AS_JSON),
    (
        "MACRO",
        "ckvd_latest",
        "(symbol, interval, bars := 1, market := 'spot', include_open := false, quote := NULL)",
        "symbol: symbol, interval: interval, bars: bars, market: market, include_open: include_open, quote: quote",
    ),
    ("MACRO", "ckvd_plan", f"({_ARGUMENTS})", _AS_JSON),
    ("MACRO", "ckvd_gaps", f"({_ARGUMENTS})", _AS_JSON),
    ("MACRO", "ckvd_audit", f"({_AUDIT_ARGUMENTS})", _AUDIT_AS_JSON),
    ("MACRO", "ckvd_symbols", "(market := 'spot')", "market: market"),
    *(("VIEW", name, "", _PLACE_AS_JSON) for name in VIEWS),
)

_CLOSED = "the connection that ckvd_sql was registered on is closed; call ckvd_sql.register on this one"

_numbers = itertools.count(1)
_binders: list[Callable[[str, str], str]] = []


def _binder(registration: weakref.ref[Registration]) -> Callable[[str, str], str]:
    """The function that DuckDB calls while binding.

    DuckDB frees it with the connection that it was created on, although cursors may still call it. So a reference is
    held here for as long as the process lives, and the function itself refers only weakly to anything.
    """

    def bind(name: str, arguments: str) -> str:
        alive = registration()
        try:
            if alive is None:
                raise CkvdError(_CLOSED)  # noqa: TRY301
            return alive.bind(name, arguments)
        except CkvdError as error:
            return _raising(error)

    return bind


def _raising(error: CkvdError) -> str:
    """SQL text that DuckDB refuses to bind with an error's sentence; raised here, it would come in other words."""
    remember(error)
    return "FROM query(error('{}'))".format(error.sentence.replace("'", "''"))


class Registration:
    """The resolver of one connection and its cursors, and the function that turns a call's arguments into SQL text.

    Args:
        con: The connection.
        settings: Its settings.
        time_zone: The time zone of its cursors; None where the connection's user sets that.
    """

    def __init__(self, con: DuckDBPyConnection, settings: Settings, time_zone: str | None) -> None:
        self.time_zone = time_zone
        # A weak reference: the user's connection must be free to close, which releases its database's lock.
        self._con = weakref.ref(con)
        self._bound: OrderedDict[tuple[Resolver, str, str], tuple[duckdb.DuckDBPyRelation, str]] = OrderedDict()
        self._lock = ThreadLock()
        self._naming = threading.local()
        self.use(settings)

    def is_of(self, con: DuckDBPyConnection) -> bool:
        """Whether this was registered on the connection itself, and not on the one that it is a cursor of."""
        return self._con() is con

    def use(self, settings: Settings) -> None:
        """Have calls from now on use these settings."""
        self._resolver = Resolver(settings)

    def create(self, con: DuckDBPyConnection) -> None:
        """Create the function, which all connections of the database see, and the names on this one."""
        function = f"{BINDER}{next(_numbers)}"
        self._statements = ";".join(
            f"CREATE OR REPLACE TEMP {kind} {name}{parameters} AS {'TABLE ' if kind == 'MACRO' else ''}"
            f"FROM query({function}('{name}', to_json({{{fields}}})::VARCHAR))"
            for kind, name, parameters, fields in NAMES
        )
        binder = _binder(weakref.ref(self))
        _binders.append(binder)
        con.create_function(
            function,
            binder,
            ["VARCHAR", "VARCHAR"],
            "VARCHAR",
            null_handling=FunctionNullHandling.SPECIAL,
        )
        self.name(con)

    def name(self, con: DuckDBPyConnection) -> None:
        """Create the names over the function on a connection or a cursor of it."""
        self._naming.now = True
        try:
            con.execute(self._statements)
        finally:
            self._naming.now = False

    def bind(self, name: str, arguments: str) -> str:
        """The text of a SELECT over the dataset of a call; DuckDB calls it while binding."""
        given = json.loads(arguments)
        if name in VIEWS:
            self._refuse_hiding(name, **given)
            arguments, given = "", {}
        key = (self._resolver, name, arguments)
        with self._lock:
            bound = self._bound.pop(key, None) or self._bind(name, given)
            self._bound[key] = bound
            while len(self._bound) > _KEPT_RELATIONS:
                self._bound.popitem(last=False)
        return bound[1]

    def _refuse_hiding(self, name: str, database: str, path: str) -> None:
        """Raise for a table or view that was created since the connection was registered, and that ours hides."""
        if getattr(self._naming, "now", False):
            return
        with self._cursor() as cursor:
            for found in namesakes(cursor, database, path):
                if found.name.casefold() == name and not found.ours:
                    raise CkvdError(found.refusal)

    def _bind(self, name: str, given: dict[str, Any]) -> tuple[duckdb.DuckDBPyRelation, str]:
        """A relation over the dataset of a call, and its SQL text, which is valid for as long as the relation lives."""
        dataset = self._dataset(name, given)
        with self._cursor() as cursor:
            relation = cursor.from_arrow(dataset)
            return relation, relation.sql_query()

    def _cursor(self) -> DuckDBPyConnection:
        """A plain cursor: a connection can't bind while it binds, and a cursor serves one thread."""
        con = self._con()
        if con is None:
            raise CkvdError(_CLOSED)
        return DuckDBPyConnection.cursor(con)

    def _dataset(self, name: str, given: dict[str, Any]) -> ds.Dataset:
        resolver = self._resolver
        if name == "ckvd_cache":
            return cache_dataset(resolver.store)
        if name == "ckvd_cache_days":
            return cache_days_dataset(resolver.store)
        if name == "ckvd_symbols":
            return symbols_dataset(resolver, parse_market(given["market"]))

        remote = parse_flag(given.pop("remote", False), "remote")
        bars = parse_count(given.pop("bars", 1), "bars")
        if name == "ckvd_latest":
            given["start"] = FIRST_DAY

        def parsed() -> Query:
            return parse_query(**given, now=resolver.settings.clock())

        def make_query() -> Query:
            return resolver.catalog.expand(parsed())

        parsed()  # invalid arguments raise now, before any I/O
        datasets: dict[str, Callable[[Resolver, Callable[[], Query]], ds.Dataset]] = {
            "ckvd_klines": klines_dataset,
            "ckvd_plan": plan_dataset,
            "ckvd_gaps": gaps_dataset,
            "ckvd_latest": partial(latest_dataset, bars=bars),
        }
        if name == "ckvd_audit":
            from ckvd_sql.tables.audit import audit_dataset  # noqa: PLC0415 (most sessions audit nothing)

            return audit_dataset(resolver, make_query, remote=remote)
        return datasets[name](resolver, make_query)
