"""`ckvd cache`: what is kept, whether it is sound, and what the archive has replaced since."""
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


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="One array of records, sizes in bytes.")
@cache_option
@click.pass_context
def cache(context: click.Context, as_json: bool, cache_dir: Path | None) -> None:
    """Show what is in the cache, by series; verify it; refresh it.

    \b
    Examples:
      ckvd cache
      ckvd cache verify --remote
      ckvd cache refresh
    """
    if context.invoked_subcommand is None:
        _show(as_json, cache_dir)
    elif as_json or cache_dir:
        raise click.UsageError(f"Options stand behind {context.invoked_subcommand}.")


def _show(as_json: bool, cache_dir: Path | None) -> None:
    from ckvd_sql import Settings
    from ckvd_sql.cli import terminal

    root = Settings.load(cache_dir=cache_dir).cache_dir
    if root.exists() and not root.is_dir():
        raise click.ClickException(f"{root} is no folder")
    found = list(_cached(root))
    if as_json:
        click.echo(json.dumps(found, indent=1, ensure_ascii=False))
    elif not found:
        click.echo(f"nothing is cached in {root}")
    else:
        rows = [tuple((one | {"bytes": terminal.human_size(one["bytes"])}).values()) for one in found]
        click.echo(terminal.columns(("market", "symbol", "interval", "first", "last", "days", "size"), rows))
        days, size = (sum(one[name] for one in found) for name in ("days", "bytes"))
        click.echo(f"{len(found)} series, {days:,} days, {terminal.human_size(size)} in {root}")


def _cached(root: Path) -> Iterator[dict[str, Any]]:
    """What is cached of each series, by file names, and all that it takes on the disk; no file is opened."""
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
@click.option("--remote", is_flag=True, help="Also ask the archive whether it has replaced or added something.")
@settings_options
def verify(remote: bool, settings: Settings) -> None:
    """Read every day file to the last byte.

    What is not as it should be is printed, and the exit status is then 1. No day file is changed.

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
    click.echo(f"{days:,} days read, {problems:,} not as they should be")
    if problems:
        raise SystemExit(1)


@cache.command()
@settings_options
def refresh(settings: Settings) -> None:
    """Fetch again what is damaged or replaced.

    That is also a day that came from REST before its archive was there.

    Prints the bars that are different now. The exit status is 1 if a day could not be had.

    \b
    Example:
      ckvd cache refresh
    """
    from ckvd_sql.maintenance import refresh as refresh_all
    from ckvd_sql.scan.resolver import Resolver

    days = failed = 0
    for one in refresh_all(Resolver(settings)):
        days += 1
        if one.error:
            failed += 1
            click.echo(f"{one.series} {one.day}: {one.error.sentence}")
        elif one.changed:
            opens = ", ".join(f"{moment:%H:%M:%S}" for moment in one.changed[:10])
            more = f" and {len(one.changed) - 10} more" if len(one.changed) > 10 else ""  # noqa: PLR2004 (a line's worth)
            click.echo(f"{one.series} {one.day}: {len(one.changed)} bars changed, at {opens}{more}")
        else:
            click.echo(f"{one.series} {one.day}: no bar changed")
    click.echo(f"{days:,} days fetched again, {failed:,} failed")
    if failed:
        raise SystemExit(1)
