"""Tables and views of a user's database that have the name of one of ours, which a temporary view would hide.

Also finds the names that earlier versions left in a database. Knows nothing of klines, nor how the names are made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection

#: How the functions are called that bind our names; what calls one of them is ours.
BINDER = "__ckvd_bind_"

#: The views. A table may have the name of a table function: the two are never mistaken for one another.
VIEWS = ("ckvd_cache", "ckvd_cache_days")

#: A connection's current database and search path, as SQL expressions and as their values.
PLACE = ("current_database()", "current_setting('search_path')")

_FIND = f"""
    SELECT 'table', database_name, schema_name, table_name, NULL FROM duckdb_tables() WHERE lower(table_name) IN {VIEWS}
    UNION ALL
    SELECT 'view', database_name, schema_name, view_name, sql FROM duckdb_views() WHERE lower(view_name) IN {VIEWS}
"""  # noqa: S608 (constants)

_MAIN = "main"
_ENTRY = re.compile(r'(?:"(?:[^"]|"")*"|[^",])+')
_PART = re.compile(r'"((?:[^"]|"")*)"|([^".]+)')


@dataclass(frozen=True, slots=True)
class Namesake:
    """A table or view with the name of one of our views.

    Attributes:
        kind: `table` or `view`.
        database: Its database.
        schema: Its schema.
        name: Its name.
        ours: Whether this package made it.
    """

    kind: str
    database: str
    schema: str
    name: str
    ours: bool

    @property
    def qualified(self) -> str:
        """Its name in SQL, with database and schema."""
        return self.beside(self.name)

    def beside(self, name: str) -> str:
        """Another name of its schema in SQL, with database and schema."""
        return ".".join(_quoted(part) for part in (self.database, self.schema, name))

    @property
    def refusal(self) -> str:
        """Why it can't be there, and what to do."""
        return (
            f"the {self.kind} {self.qualified} has the name of a view of ckvd_sql, which would hide it; rename it "
            f"(ALTER {self.kind.upper()} {self.qualified} RENAME TO ...), or use another database"
        )


def _quoted(name: str) -> str:
    """A name as SQL has it, in quotes where it needs them."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


def namesakes(con: DuckDBPyConnection, database: str, path: str) -> list[Namesake]:
    """The tables and views in this search path that have the name of one of our views.

    Args:
        con: A connection.
        database: The current database of the statement that is looked at.
        path: Its search path, as `current_setting('search_path')` has it.
    """
    rows = con.execute(_FIND).fetchall()
    if not rows:
        return []
    searched = {("temp", _MAIN), (database.casefold(), _MAIN), *_searched(database, path)}
    return [
        Namesake(kind, catalog, schema, name, BINDER in (sql or ""))
        for kind, catalog, schema, name, sql in rows
        if (catalog.casefold(), schema.casefold()) in searched
    ]


def _searched(database: str, path: str) -> Iterator[tuple[str, str]]:
    """The databases and schemas that a search path names, in lower case."""
    for entry in _ENTRY.findall(path):
        parts = [(inner.replace('""', '"') or plain).strip().casefold() for inner, plain in _PART.findall(entry)]
        if len(parts) == 1:  # a schema of the current database, or a database
            yield database.casefold(), parts[0]
            yield parts[0], _MAIN
        elif len(parts) == 2:  # noqa: PLR2004 (database and schema)
            yield parts[0], parts[1]
