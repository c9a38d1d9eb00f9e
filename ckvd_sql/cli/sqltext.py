"""Reads SQL text before it runs: where a statement ends, and which queries for bars it contains.

Finds only calls with constant arguments, in statements that read all days of their calls. Never fetches, and runs
nothing of the text but constant arguments, in an empty database of its own.
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
_PARAMETERS = ("symbol", "interval", "start", "until", "market", "include_open", "quote", "end")

# A condition on these columns alone excludes no day.
_VALUES = frozenset({
    "open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume",
})  # fmt: skip

# DuckDB reports syntax errors; those that sqlglot logs may be mistakes of its own.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)


def bare(statement: str) -> str:
    """A statement without its semicolon and anything after it, which DuckDB's relations do not accept."""
    text = statement.encode()
    for start, kind in duckdb.tokenize(statement):
        if kind.name == "operator" and text[start : start + 1] == b";":
            return text[:start].decode()
    return statement


def find_queries(statement: str, now: int) -> list[Query]:
    """The queries of a statement whose bars it reads in full, one per call.

    None for a statement that may not need all of them: one with a LIMIT or a sample, or with a condition on other
    columns than prices and volumes.

    Args:
        statement: One SQL statement.
        now: The end of a range that ends now, µs since the epoch.
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
    """Whether running the statement reads bars. Creating a view, DESCRIBE and EXPLAIN do not."""
    if isinstance(tree, exp.Create):
        return tree.kind == "TABLE"
    return isinstance(tree, exp.Query | exp.Insert | exp.Copy | exp.Summarize | exp.Pivot)


def _may_need_less(tree: exp.Expr) -> bool:
    """Whether the statement may not need all days of its calls."""
    if tree.find(exp.Limit, exp.Fetch, exp.TableSample):
        return True
    conditions: list[exp.Expr] = list(tree.find_all(exp.Where, exp.Having, exp.Qualify))
    conditions += [join.args["on"] for join in tree.find_all(exp.Join) if join.args.get("on")]
    return any(_may_exclude_days(column) for condition in conditions for column in condition.find_all(exp.Column))


def _may_exclude_days(column: exp.Column) -> bool:
    """Whether a condition on this column may exclude days. The equality of two columns, as in a join, does not."""
    pair = column.parent
    joins = isinstance(pair, exp.EQ) and isinstance(pair.left, exp.Column) and isinstance(pair.right, exp.Column)
    return column.name.lower() not in _VALUES and not joins


def _calls(tree: exp.Expr) -> Iterator[exp.Anonymous]:
    return (call for call in tree.find_all(exp.Anonymous) if call.name.lower() in _NAMES)


def _query(call: exp.Anonymous, now: int, scratch: duckdb.DuckDBPyConnection) -> Query | None:
    """The query of a call; None if its arguments are not constant or not valid."""
    given: dict[str, exp.Expr] = {}
    for position, argument in enumerate(call.expressions):
        if isinstance(argument, exp.PropertyEQ | exp.Kwarg):
            given[argument.this.name.lower()] = argument.expression
        elif position < len(_PARAMETERS):
            given[_PARAMETERS[position]] = argument
    try:
        return parse_query(**_values(given, scratch), now=now)
    except (InvalidArgumentError, TypeError, duckdb.Error, SqlglotError):
        return None


def _values(given: dict[str, exp.Expr], scratch: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Constant arguments, evaluated by DuckDB as in the call; raises `duckdb.Error` if one is not constant."""
    fields = [
        exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=value.copy())
        for name, value in given.items()
    ]
    text = exp.select(exp.Anonymous(this="to_json", expressions=[exp.Struct(expressions=fields)])).sql("duckdb")
    row = scratch.execute(text).fetchone()
    values: dict[str, Any] = json.loads(row[0]) if row else {}
    return values
