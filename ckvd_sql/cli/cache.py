"""`ckvd cache`: list, verify and refresh the cached days. Knows how to print results, not how to verify or fetch."""
# ruff: noqa: PLC0415, D301 (as in the other commands)

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ckvd_sql.cli.shell import cache_option, settings_options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ckvd_sql import Settings

_SHOWN = 10  # changed bars listed by their time


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of records, sizes in bytes.")
@cache_option
@click.pass_context
def cache(context: click.Context, as_json: bool, cache_dir: Path | None) -> None:
    """Show the cache by series, verify it or refresh it.

    \b
    Examples:
      ckvd cache
      ckvd cache verify --remote
      ckvd cache refresh
    """
    if context.invoked_subcommand is None:
        _show(as_json, cache_dir)
    elif as_json or cache_dir:
        raise click.UsageError(f"Put options after {context.invoked_subcommand}.")


def _show(as_json: bool, cache_dir: Path | None) -> None:
    from ckvd_sql import Settings
    from ckvd_sql.cli import terminal

    root = Settings.load(cache_dir=cache_dir).cache_dir
    if root.exists() and not root.is_dir():
        raise click.ClickException(f"{root} is not a folder")
    records = list(_records(root))
    if as_json:
        click.echo(json.dumps(records, indent=1, ensure_ascii=False))
    elif not records:
        click.echo(f"nothing is cached in {root}")
    else:
        rows = [tuple((record | {"bytes": terminal.human_size(record["bytes"])}).values()) for record in records]
        click.echo(terminal.columns(("market", "symbol", "interval", "first", "last", "days", "size"), rows))
        days, size = (sum(record[name] for record in records) for name in ("days", "bytes"))
        click.echo(f"{len(records)} series, {days:,} days, {terminal.human_size(size)} in {root}")


def _records(root: Path) -> Iterator[dict[str, Any]]:
    """A record per series: its days, by the names of their files, and its size on disk. Opens no file."""
    from ckvd_sql.cache.store import DayStore

    store = DayStore(root)
    for series in store.series():
        days = sorted(store.days(series))
        if days:
            yield {
                "market": series.market.value,
                "symbol": series.symbol,
                "interval": series.interval.name,
                "first": str(days[0]),
                "last": str(days[-1]),
                "days": len(days),
                "bytes": sum(file.stat().st_size for file in store.folder(series).rglob("*") if file.is_file()),
            }


@cache.command()
@click.option("--remote", is_flag=True, help="Also compare the bars with archives that were replaced or added.")
@settings_options
def verify(remote: bool, settings: Settings) -> None:
    """Read and validate every day file.

    Problems are printed, and the exit status is then 1. No day file is changed.

    \b
    Example:
      ckvd cache verify --remote
    """
    from ckvd_sql.maintenance import verify as verify_all
    from ckvd_sql.scan.resolver import Resolver

    days = problems = 0
    for finding in verify_all(Resolver(settings), remote=remote):
        days += 1
        if finding.problem:
            problems += 1
            click.echo(f"{finding.series} {finding.day}: {finding.problem}")
    click.echo(f"{days:,} days read, {problems:,} with problems")
    if problems:
        raise SystemExit(1)


@cache.command()
@settings_options
def refresh(settings: Settings) -> None:
    """Fetch damaged days again, and days of which the archive has other bars now.

    Prints which bars have changed. The exit status is 1 if a day could not be fetched.

    \b
    Example:
      ckvd cache refresh
    """
    from ckvd_sql.maintenance import refresh as refresh_all
    from ckvd_sql.scan.resolver import Resolver

    days = failed = 0
    for fetched in refresh_all(Resolver(settings)):
        days += 1
        if fetched.error:
            failed += 1
            result = fetched.error.sentence
        elif fetched.changed:
            opens = ", ".join(f"{moment:%H:%M:%S}" for moment in fetched.changed[:_SHOWN])
            more = f" and {len(fetched.changed) - _SHOWN} more" if len(fetched.changed) > _SHOWN else ""
            result = f"{len(fetched.changed)} bars changed, at {opens}{more}"
        else:
            result = "no bar changed"
        click.echo(f"{fetched.series} {fetched.day}: {result}")
    click.echo(f"{days:,} days fetched again, {failed:,} failed")
    if failed:
        raise SystemExit(1)
