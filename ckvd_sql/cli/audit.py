"""`ckvd audit`: what is wrong or doubtful about cached days. Knows how to print findings, not how to find them."""
# ruff: noqa: PLC0415, D301 (as in the other commands)

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from ckvd_sql.cli.options import range_options, settings_options

if TYPE_CHECKING:
    from ckvd_sql import Settings

_COLUMNS = ("symbol", "date", "open_time", "check", "severity", "found", "expected")


@click.command()
@range_options
@click.option("--remote", is_flag=True, help="Also compare with the archives and with REST, within bounds.")
@click.option(
    "-f", "--format", "format_", type=click.Choice(("table", "csv", "json")), default="table", show_default=True,
    help="csv and json have the findings alone, times in ISO 8601.",
)  # fmt: skip
@settings_options
def audit(asked: dict[str, Any], remote: bool, format_: str, settings: Settings) -> None:
    """Look for what is wrong or doubtful in the cached days of a range.

    Missing, misplaced and impossible bars; bars that are not the sum of a cached shorter interval's; days that were
    not verified or confirmed. Nothing is fetched. The exit status is 1 if a finding is an error.

    With --remote, days are also compared with their daily and monthly archives, published checksums and REST: at most
    12 months, 31 days, 100 checksums and 12 calls of REST for each symbol, days with findings first. The number of
    requests is printed before the first one.

    \b
    Example:
      ckvd audit BTCUSDT --interval 1h --start 2024-01-01 --end 2024-03-01
    """
    from ckvd_sql.cli import terminal
    from ckvd_sql.market.query import parse_query
    from ckvd_sql.scan.resolver import Resolver
    from ckvd_sql.tables.audit import audit_rows

    resolver = Resolver(settings)
    query = resolver.catalog.expand(parse_query(**asked, now=settings.clock()))
    with terminal.shown_notes():
        found = list(audit_rows(resolver, query, remote=remote))
    rows = [{name: _text(row[name], name) for name in _COLUMNS} for row in found]
    if format_ == "json":
        click.echo(
            json.dumps([row | {"open_time": row["open_time"] or None} for row in rows], indent=1, ensure_ascii=False)
        )
    elif format_ == "csv":
        click.echo(_csv(rows), nl=False)
    else:
        if rows:
            click.echo(terminal.columns(_COLUMNS, [tuple(row.values()) for row in rows]))
        days = sum(query.span.touches(day) for series in query.series() for day in resolver.store.days(series))
        severities = Counter(row["severity"] for row in rows)
        counts = ", ".join(f"{severities[name]:,} {name}" for name in ("error", "warning", "info"))
        click.echo(f"{days:,} cached days audited: {counts}")
    if any(row["severity"] == "error" for row in rows):
        raise SystemExit(1)


def _text(value: Any, name: str) -> str:
    if name != "open_time":
        return str(value)
    from ckvd_sql.market.periods import moment_of

    return "" if value is None else moment_of(value).isoformat().replace("+00:00", "Z")


def _csv(rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
