"""What all commands share: how they end, and the options for settings and for a range of bars.

Turns options into `Settings` and the arguments of `parse_query`, and leaves their validation to those. Knows no
command.
"""
# ruff: noqa: PLC0415 (imported late, so that --help starts quickly)

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ckvd_sql import errors
from ckvd_sql.cli import interrupt

if TYPE_CHECKING:
    from collections.abc import Callable

    F = TypeVar("F", bound=Callable[..., Any])


class Commands(click.Group):
    """A group whose commands all end the same way: an error is one line and status 1, Ctrl-C one line and 130."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they are defined."""
        del ctx
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. Expected errors are raised as `click.ClickException`, others as they are."""
        from ckvd_sql.cli.terminal import shown_warnings

        with interrupt.Interruptible() as command:
            try:
                with shown_warnings():
                    result = super().invoke(ctx)
                    sys.stdout.flush()  # here, so that a reader that has left is noticed
                    return result
            except BrokenPipeError:
                _drop_output()
                ctx.exit(0)
            except (KeyboardInterrupt, Exception) as error:
                if command.seen:  # an error too may be due to Ctrl-C: DuckDB raises its own
                    command.report()
                    ctx.exit(interrupt.STATUS)
                if isinstance(error, click.ClickException | click.exceptions.Exit | click.Abort | KeyboardInterrupt):
                    raise
                raise shown_error(error) from error


def _drop_output() -> None:
    """Send what is still written to stdout nowhere: its reader, such as `head`, has what it wanted."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def shown_error(error: BaseException) -> click.ClickException:
    """An expected error as one that click shows as a line; any other is raised as it is."""
    import duckdb

    if isinstance(error, click.ClickException):
        return error
    ours = errors.of(error)
    if ours:
        return click.ClickException(ours.sentence)
    if isinstance(error, duckdb.Error | OSError):
        return click.ClickException(str(error).strip())
    raise error


def cache_option(command: F) -> F:
    """Add the option for the cache folder; the command gets `cache_dir`."""
    folder = click.Path(file_okay=False, path_type=Path)
    text = "The cache folder.  [env: CKVD_CACHE_DIR; default: ~/.cache/ckvd]"
    return click.option("--cache-dir", type=folder, metavar="DIR", help=text)(command)


def settings_options(command: F) -> F:
    """Add the options for settings; the command gets `settings`."""

    @functools.wraps(command)
    def with_settings(cache_dir: Path | None, offline: bool, **others: Any) -> Any:
        from ckvd_sql.settings import Settings

        return command(settings=Settings.load(cache_dir=cache_dir, offline=offline or None), **others)

    flag = click.option("--offline", is_flag=True, help="Do not use the network.  [env: CKVD_OFFLINE]")
    wrapped: F = cache_option(flag(with_settings))  # type: ignore[assignment]
    return wrapped


def range_options(command: F) -> F:
    """Add the arguments of `ckvd_klines` as options; the command gets them as `asked`, by their names there."""

    @functools.wraps(command)
    def with_range(symbols: tuple[str, ...], interval: str, start: str, end: str, market: str, **others: Any) -> Any:
        asked = {"symbol": list(symbols), "interval": interval, "start": start, "end": end, "market": market}
        return command(asked=asked, **others)

    wrapped: Any = with_range
    for option in (
        click.option("--market", default="spot", show_default=True, metavar="MARKET", help="spot, um or cm."),
        click.option("--end", default="now", show_default=True, metavar="TIME", help="The end, exclusive."),
        click.option("--start", required=True, metavar="TIME", help="The first open time in UTC, such as 2024-01-31."),
        click.option("--interval", default="1h", show_default=True, metavar="INTERVAL", help="1s (spot) to 1mo."),
        click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL..."),
    ):
        wrapped = option(wrapped)
    typed: F = wrapped
    return typed
