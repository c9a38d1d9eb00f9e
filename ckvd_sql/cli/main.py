"""The command `ckvd`: queries, fetches and plans from a shell.

Results go to stdout, everything else to stderr. Each command turns its options into calls of the library; it does not
know how results are formatted, which `output` and `terminal` do.
"""
# Each command imports what it needs, so that the others start quickly. \b keeps click from rewrapping a paragraph.
# ruff: noqa: PLC0415, D301

from __future__ import annotations

import json
import os
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from ckvd_sql.cli.audit import audit
from ckvd_sql.cli.cache import cache
from ckvd_sql.cli.charts import chart, view
from ckvd_sql.cli.options import Commands, cache_option, range_options, settings_options
from ckvd_sql.cli.shell import shell

if TYPE_CHECKING:
    from datetime import date

    from ckvd_sql import FetchReport, Settings
    from ckvd_sql.disk.files import Shared
    from ckvd_sql.scan.plan import DayPlan


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="ckvd-sql", prog_name="ckvd")
@click.pass_context
def main(context: click.Context) -> None:
    """Binance klines as a DuckDB table, from a shell.

    Settings come from CKVD_ environment variables such as CKVD_CACHE_DIR and CKVD_OFFLINE.

    \b
    Example:
      ckvd sql "SELECT * FROM ckvd_klines('BTCUSDT', '1h', '2024-01-01', '2024-01-08')"
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@main.command()
@click.argument("text", required=False, metavar="[SQL]")
@click.option("--file", "script", type=click.File(), metavar="FILE", help="Read the SQL from a file.")
@click.option(
    "-f", "--format", "format_", type=click.Choice(("table", "csv", "json", "jsonl", "parquet", "arrow")),
    help="[default: by the ending of -o, else table]",
)  # fmt: skip
@click.option(
    "-o", "--output", "file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write to a file, atomically.",
)  # fmt: skip
@click.option("--database", default=":memory:", metavar="FILE", help="The DuckDB database to use.")
@click.option("--no-fetch", is_flag=True, help="Fetch no missing days first; the query fetches them while it runs.")
@settings_options
def sql(
    text: str | None,
    script: TextIO | None,
    format_: str | None,
    file: Path | None,
    database: str,
    no_fetch: bool,
    settings: Settings,
) -> None:
    """Run SQL and show the last statement's result.

    Without SQL, or with -, it is read from stdin. Times are UTC. json is one array of records, jsonl a record a line,
    arrow an IPC file. Names for -o end in .csv, .json, .jsonl (each also with .gz), .parquet, .pq, .arrow or .feather.

    Days of ckvd_klines and ckvd_gaps calls that are missing from the cache are fetched first, with a progress bar on a
    terminal. A statement that may not need all days of its calls fetches those it needs while it runs: one with a
    LIMIT, or with a condition on other columns than prices and volumes.

    \b
    Examples:
      ckvd sql "SELECT * FROM ckvd_klines('BTCUSDT', '1h', '2024-01-01', '2024-01-08')"
      ckvd sql "FROM ckvd_klines(['BTCUSDT', 'ETHUSDT'], '1d', '2023-01-01')" -o days.parquet
      echo "FROM ckvd_gaps('BTCUSDT', '1m', '2020-01-01', '2021-01-01')" | ckvd sql -f csv
    """
    from ckvd_sql import connect
    from ckvd_sql.cli import output
    from ckvd_sql.cli.prefetch import fetch_first
    from ckvd_sql.cli.sqltext import bare

    code = _read_sql(text, script)
    chosen = output.choose_format(format_, file)
    with connect(database, cache_dir=settings.cache_dir, offline=settings.offline) as con:
        statements = con.extract_statements(code)
        result = None
        for statement in statements:
            if not no_fetch and not settings.offline:
                fetch_first(statement.query, settings)
            result = con.sql(bare(statement.query))
        if result is not None and not output.is_count(statements[-1], result):
            output.write(con, result, chosen, file)
        elif file is not None:
            raise click.ClickException("the last statement has no rows to write")


def _read_sql(text: str | None, script: TextIO | None) -> str:
    if text is not None and script is not None:
        raise click.UsageError("Give the SQL as text or with --file, not both.")
    if text is None and script is None and sys.stdin.isatty():
        raise click.UsageError("Give the SQL as text, with --file or on stdin.")
    if script is not None:
        return script.read()
    return sys.stdin.read() if text is None or text == "-" else text


@main.command()
@range_options
@settings_options
def fetch(asked: dict[str, Any], settings: Settings) -> None:
    """Fetch missing days into the cache, and count all days by source.

    A failed day is reported and does not stop the others; the exit status is then 1. Run again, after a failure or
    after Ctrl-C, the command continues from there.

    \b
    Example:
      ckvd fetch BTCUSDT ETHUSDT --interval 1m --start 2023-01-01 --end 2024-01-01
    """
    from ckvd_sql import CryptoKlineVisionData
    from ckvd_sql.cli import terminal

    _check_writable(settings.cache_dir, settings.cache_shared)
    totals = {symbol: len(days) for symbol, days in _planned(asked, settings).items()}
    with terminal.Bar(sum(totals.values())) as bar:
        report = CryptoKlineVisionData(settings).fetch(
            asked["symbol"],
            asked["start"],
            asked["end"],
            asked["interval"],
            asked["market"],
            progress=lambda day: bar.advance(day.symbol),
        )
    counts = Counter((day.symbol, day.outcome) for day in report.days)
    rows = [(symbol, *(counts[symbol, outcome] for outcome in report.counts)) for symbol in totals]
    click.echo(terminal.columns(("symbol", *report.counts), rows))
    if report.failed:
        _print_failures(report)
        sys.exit(1)


def _check_writable(folder: Path, shared: Shared) -> None:
    """Refuse a cache folder that can't be written: the library would serve bars without caching them."""
    from ckvd_sql.disk.files import make_folder

    try:
        make_folder(folder, folder, shared)
    except OSError as error:
        raise click.ClickException(f"the cache folder {folder} can't be created: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise click.ClickException(f"the cache folder {folder} is not writable")


def _print_failures(report: FetchReport) -> None:
    """Print a line per symbol and error, with all days that it concerns."""
    from ckvd_sql.market.periods import format_days

    reasons: defaultdict[tuple[str, str], list[date]] = defaultdict(list)
    for day in report.failed:
        reasons[day.symbol, day.error.sentence if day.error else ""].append(day.date)
    for (symbol, sentence), days in reasons.items():
        click.echo(f"failed: {symbol} {format_days(days)}: {sentence}", err=True)


def _planned(asked: dict[str, Any], settings: Settings) -> dict[str, list[DayPlan]]:
    """Each symbol's plan, offline: from the names of the cache's files alone."""
    from ckvd_sql.market.query import parse_query
    from ckvd_sql.scan.resolver import Resolver

    resolver = Resolver(settings)
    query = resolver.catalog.expand(parse_query(**asked, now=settings.clock()))
    return {series.symbol: days for series, days in resolver.plans(query)}


@main.command()
@range_options
@click.option("--days", "by_day", is_flag=True, help="Print one line per day instead of one per run of days.")
@click.option(
    "-f", "--format", "format_", type=click.Choice(("table", "csv", "json")), default="table", show_default=True,
    help="csv and json have one record per day.",
)  # fmt: skip
@cache_option
def plan(asked: dict[str, Any], by_day: bool, format_: str, cache_dir: Path | None) -> None:
    """Show where each UTC day would come from now, offline.

    cache: the day is cached. vision: the archive, else REST. rest: REST, because the day is not over. unlisted: no
    source, because the day is before the symbol's first bar.

    \b
    Example:
      ckvd plan BTCUSDT --interval 1h --start 2024-01-01 --end 2024-03-01
    """
    from ckvd_sql import Settings
    from ckvd_sql.cli import terminal

    plans = _planned(asked, Settings.load(cache_dir=cache_dir))
    days = [
        {"symbol": symbol, "date": str(day.day), "source": day.source.value}
        for symbol, planned in plans.items()
        for day in planned
    ]
    if format_ == "json":
        click.echo(json.dumps(days, indent=1, ensure_ascii=False))
    elif format_ == "csv":
        click.echo("\n".join(["symbol,date,source", *(",".join(day.values()) for day in days)]))
    elif not days:
        click.echo("no days: the range is empty")
    elif by_day:
        click.echo(terminal.columns(("symbol", "date", "source"), [tuple(day.values()) for day in days]))
    else:
        click.echo(terminal.plan_table(plans))


@main.command()
@click.argument("pattern", required=False, default="*", metavar="[PATTERN]")
@click.option("--market", default="spot", show_default=True, metavar="MARKET", help="spot, um or cm.")
@click.option("--quote", metavar="ASSET", help="Only symbols with this quote asset.")
@click.option(
    "-f", "--format", "format_", type=click.Choice(("table", "csv", "json")), default="table", show_default=True,
)  # fmt: skip
@settings_options
def symbols(pattern: str, market: str, quote: str | None, format_: str, settings: Settings) -> None:
    """List the symbols of a market, delisted ones too: those of the exchange, the archive and the cache.

    \b
    Examples:
      ckvd symbols
      ckvd symbols "BTC*" --quote USDT
    """
    from ckvd_sql import connect
    from ckvd_sql.cli import output

    values = {"market": market, "pattern": pattern.upper(), "quote": quote and quote.upper()}
    with connect(cache_dir=settings.cache_dir, offline=settings.offline) as con:
        found = con.sql(
            "FROM ckvd_symbols($market) WHERE symbol GLOB $pattern AND ($quote IS NULL OR quote = $quote)",
            params=values,
        )
        output.write(con, found, format_, None)


main.add_command(audit)
main.add_command(cache)
main.add_command(shell)
main.add_command(view)
main.add_command(chart)


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port on 127.0.0.1.  [default: a free one]")
@click.option("--now", metavar="TIME", help="A fixed time for the sandbox.  [default: the real time]")
@click.option(
    "--replay", type=click.Path(exists=True, file_okay=False), metavar="FOLDER",
    help="Serve this archive tree instead of the synthetic market.",
)  # fmt: skip
@click.option("--latency", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Wait before each answer.")
def sandbox(port: int, now: str | None, replay: str | None, latency: float) -> None:
    """Run a stand-in for Binance on loopback until Ctrl-C.

    Prints the environment variables that make ckvd, and all other programs that use the library, connect to the
    sandbox, with a separate cache folder for its bars.

    \b
    Example:
      ckvd sandbox --port 8420 --now 2024-06-15T12:00:00
    """
    from ckvd_sql.market.parse import parse_time
    from ckvd_sql.market.periods import moment_of
    from ckvd_sql.sandbox import serve

    moment = None if now is None else moment_of(parse_time(now, "now")).isoformat()

    def ready(url: str) -> None:
        click.echo(f"# The sandbox answers at {url} until Ctrl-C. Paste this into another terminal:")
        for name in ("VISION", "SPOT", "UM", "CM"):
            click.echo(f"export CKVD_{name}_URL={url}")
        if moment:
            click.echo(f"export CKVD_NOW={moment}")
        click.echo('export CKVD_CACHE_DIR="$(mktemp -d)"')

    try:
        serve(moment, port, replay, latency, on_ready=ready)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"the sandbox can't start: {error}") from error


@main.command()
def demo() -> None:
    """Run a query through archive, REST and cache, on a sandbox.

    \b
    Example:
      ckvd demo
    """
    from ckvd_sql.cli.demo import run

    run(click.echo)
