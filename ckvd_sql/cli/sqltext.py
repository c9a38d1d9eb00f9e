"""SQL text: where a statement ends, and which bars it will read, before it runs.

Only what is plain is found: a call whose arguments are constants, in a statement that reads all of its days. Whatever
else a text says is left to DuckDB. Nothing here fetches, and nothing of the text is run except constant arguments,
on an empty database of their own.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import duckdb
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from ckvd_sql.errors import InvalidArgumentError
from ckvd_sql.market.query import parse_query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckvd_sql.market.query import Query

_NAMES = frozenset({"ckvd_klines", "ckvd_gaps"})
_PARAMETERS = ("symbol", "interval", "start", "end", "market", "include_open")
_DEFAULTS = {"end": "now", "market": "spot", "include_open": False}

#: Columns that say nothing about a bar's day: a condition on these alone needs every day.
_VALUES = frozenset({
    "open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume",
})  # fmt: skip

# Statements that sqlglot can't read are DuckDB's to judge.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)


def bare(statement: str) -> str:
    """A statement up to its semicolon; DuckDB's relations can't have one, nor what may come after it."""
    text = statement.encode()
    for place, kind in duckdb.tokenize(statement):
        if kind.name == "operator" and text[place : place + 1] == b";":
            return text[:place].decode()
    return statement


def find_queries(statement: str, now: int) -> list[Query]:
    """The bars that a statement reads in full, one `Query` per call.

    A statement that might need less is passed over whole: one with a LIMIT or a sample, or with a condition on
    anything but prices and volumes. So is one that names the column `source`, which fetching first would change.

    Args:
        statement: One SQL statement.
        now: The moment for a range that ends now, in microseconds since the epoch.
    """
    if not any(name in statement.lower() for name in _NAMES):
        return []
    try:
        tree = sqlglot.parse_one(statement, dialect="duckdb")
    except (SqlglotError, RecursionError):
        return []
    if not _reads(tree) or _may_need_less(tree):
        return []
    with duckdb.connect(config={"enable_external_access": False}) as scratch:
        scratch.execute("SET TimeZone = 'UTC'")
        found = [_query(call, now, scratch) for call in _calls(tree)]
    return [query for query in found if query]


def _reads(tree: exp.Expr) -> bool:
    """Whether running the statement reads bars; making a view or describing does not."""
    if isinstance(tree, exp.Create):
        return tree.kind == "TABLE"
    return isinstance(tree, exp.Query | exp.Insert | exp.Copy | exp.Summarize | exp.Pivot)


def _may_need_less(tree: exp.Expr) -> bool:
    if tree.find(exp.Limit, exp.Fetch, exp.TableSample):
        return True
    if any(column.name.lower() == "source" for column in tree.find_all(exp.Column)):
        return True
    conditions: list[exp.Expr] = list(tree.find_all(exp.Where, exp.Having, exp.Qualify))
    conditions += [join.args["on"] for join in tree.find_all(exp.Join) if join.args.get("on")]
    return any(_narrows(column) for condition in conditions for column in condition.find_all(exp.Column))


def _narrows(column: exp.Column) -> bool:
    """Whether a condition on this column may rule days out. Two columns that must be equal don't."""
    pair = column.parent
    joins = isinstance(pair, exp.EQ) and isinstance(pair.left, exp.Column) and isinstance(pair.right, exp.Column)
    return column.name.lower() not in _VALUES and not joins


def _calls(tree: exp.Expr) -> Iterator[exp.Anonymous]:
    return (call for call in tree.find_all(exp.Anonymous) if call.name.lower() in _NAMES)


def _query(call: exp.Anonymous, now: int, scratch: duckdb.DuckDBPyConnection) -> Query | None:
    """What a call asks for; None where its arguments aren't constants, or not accepted."""
    given: dict[str, exp.Expr] = {}
    for position, argument in enumerate(call.expressions):
        if isinstance(argument, exp.PropertyEQ | exp.Kwarg):
            given[argument.this.name.lower()] = argument.expression
        elif position < len(_PARAMETERS):
            given[_PARAMETERS[position]] = argument
    try:
        return parse_query(**(_DEFAULTS | _values(given, scratch)), now=now)
    except (InvalidArgumentError, TypeError, duckdb.Error, SqlglotError):
        return None


def _values(given: dict[str, exp.Expr], scratch: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Constant arguments, evaluated by DuckDB as it would in the call; raises `duckdb.Error` where one is not."""
    fields = [
        exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=value.copy())
        for name, value in given.items()
    ]
    text = exp.select(exp.Anonymous(this="to_json", expressions=[exp.Struct(expressions=fields)])).sql("duckdb")
    row = scratch.execute(text).fetchone()
    values: dict[str, Any] = json.loads(row[0]) if row else {}
    return values
