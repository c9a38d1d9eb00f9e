"""`ckvd cache`: list, verify, refresh and clear the cached days. Prints results; what they mean is known elsewhere."""
# ruff: noqa: PLC0415, D301 (as in the other commands)

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from ckvd_sql.cli.options import cache_option, settings_options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ckvd_sql import Settings
    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.market.periods import Span
    from ckvd_sql.market.series import Series

_SHOWN = 10  # changed bars listed by their time


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of records, sizes in bytes.")
@cache_option
@click.pass_context
def cache(context: click.Context, as_json: bool, cache_dir: Path | None) -> None:
    """Show the cache by series, verify it, refresh it or clear it.

    \b
    Examples:
      ckvd cache
      ckvd cache verify --remote
      ckvd cache refresh
      ckvd cache clear BTCUSDT --interval 1m --end 2023-01-01
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


@cache.command()
@click.argument("symbols", nargs=-1, metavar="[SYMBOL]...")
@click.option("--interval", metavar="INTERVAL", help="Only this interval.")
@click.option("--market", metavar="MARKET", help="Only this market: spot, um or cm.")
@click.option("--start", metavar="TIME", help="Only days from this one on.")
@click.option("--end", metavar="TIME", help="Only days before this one.")
@click.option("--packs", is_flag=True, help="Only the packs, which are made again from the day files.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cache_option
def clear(
    symbols: tuple[str, ...],
    interval: str | None,
    market: str | None,
    start: str | None,
    end: str | None,
    packs: bool,
    yes: bool,
    cache_dir: Path | None,
) -> None:
    """Delete cached days: of some symbols, an interval, a market or a range, or all. Asks first.

    Symbols may be patterns. Days that are needed later are fetched again. Other files in the folder stay.

    \b
    Examples:
      ckvd cache clear BTCUSDT --interval 1m --end 2023-01-01
      ckvd cache clear --packs
    """
    from ckvd_sql import Settings
    from ckvd_sql.cache.clearing import plan_clearing
    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.cli import terminal

    settings = Settings.load(cache_dir=cache_dir)
    store = DayStore(settings.cache_dir)
    chosen = _selected(store, symbols, interval, market)
    if packs and (start or end):
        raise click.UsageError("Packs hold months and years: --packs takes no --start or --end.")
    planned = list(plan_clearing(store, chosen, _span(start, end, settings.clock()), packs_only=packs))
    if not planned:
        click.echo(f"nothing of that is cached in {settings.cache_dir}")
        return
    rows = [
        (
            one.series.market.value,
            one.series.symbol,
            one.series.interval.name,
            len(one.days),
            terminal.human_size(one.size),
        )
        for one in planned
    ]
    click.echo(terminal.columns(("market", "symbol", "interval", "days", "size"), rows))
    days, size = sum(len(one.days) for one in planned), sum(one.size for one in planned)
    what = "packs" if packs else f"{days:,} days"
    question = f"Delete {what} of {len(planned)} series ({terminal.human_size(size)}) from {settings.cache_dir}?"
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("There is no terminal to ask on; add --yes.")
        click.confirm(question, abort=True)
    for one in planned:
        one.carry_out()
    click.echo(f"deleted {what} of {len(planned)} series, {terminal.human_size(size)}")


def _selected(store: DayStore, symbols: tuple[str, ...], interval: str | None, market: str | None) -> Iterator[Series]:
    """The cached series that the arguments name; all of them without arguments."""
    from fnmatch import fnmatchcase

    from ckvd_sql.market.parse import parse_interval, parse_market, parse_symbol_or_pattern
    from ckvd_sql.market.series import Market

    place = parse_market(market) if market else None
    step = parse_interval(interval, place or Market.SPOT).name if interval else None
    names = [parse_symbol_or_pattern(symbol, place or Market.SPOT) for symbol in symbols]
    for one in store.series():
        named = not names or any(fnmatchcase(one.symbol, name) for name in names)
        if named and place in (None, one.market) and step in (None, one.interval.name):
            yield one


def _span(start: str | None, end: str | None, now: int) -> Span | None:
    from ckvd_sql.market.parse import parse_span

    if start is None and end is None:
        return None
    return parse_span(start or "2017-01-01", end, now)
