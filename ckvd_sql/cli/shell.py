"""What all commands share: how they end, the options that stand for settings, and those that name a range of bars.

Turns words into `Settings` and the arguments of `parse_query`, which check them; accepts and refuses nothing itself.
"""
# ruff: noqa: PLC0415 (--help needs none of this)

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ckvd_sql.cli import interrupt
from ckvd_sql.errors import CkvdError

if TYPE_CHECKING:
    from collections.abc import Callable

    F = TypeVar("F", bound=Callable[..., Any])


class Commands(click.Group):
    """Ends every command the same way: an error is one line and status 1, Ctrl-C a line and status 130."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they are defined."""
        del ctx
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        from ckvd_sql.cli.terminal import shown_warnings

        with interrupt.Interruptible() as command:
            try:
                with shown_warnings():
                    return super().invoke(ctx)
            except (KeyboardInterrupt, Exception) as error:
                if command.seen:  # DuckDB makes an error of its own of it
                    command.tell()
                    ctx.exit(interrupt.STATUS)
                _explain(error)
                raise


def _explain(error: BaseException) -> None:
    """Raise an error that is expected as one that click shows as a line."""
    import duckdb

    if isinstance(error, CkvdError):
        raise click.ClickException(error.sentence) from error
    if isinstance(error, duckdb.Error):
        raise click.ClickException(_said(str(error))) from error
    # A broken pipe is no error: who read the output had enough. Click knows how to end then.
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        raise click.ClickException(str(error)) from error


def _said(text: str) -> str:
    """An error of this library without what DuckDB puts before it; DuckDB's own as it is."""
    from ckvd_sql import errors

    names = [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, CkvdError)]
    places = [place for name in names if (place := text.find(f"{name}: ")) >= 0]
    # Behind a sentence from the midst of a stream, Arrow says the same again.
    return text[min(places) :].splitlines()[0].partition(". Detail: ")[0] if places else text.strip()


def cache_option(command: F) -> F:
    """The option for the cache folder, passed on as `cache_dir`."""
    folder = click.Path(file_okay=False, path_type=Path)
    text = "Where the bars are kept.  [env: CKVD_CACHE_DIR; default: ~/.cache/ckvd]"
    return click.option("--cache-dir", type=folder, metavar="DIR", help=text)(command)


def settings_options(command: F) -> F:
    """The options that stand for settings; the command is given `settings`."""

    @functools.wraps(command)
    def with_settings(cache_dir: Path | None, offline: bool, **others: Any) -> Any:
        from ckvd_sql.settings import Settings

        return command(settings=Settings.load(cache_dir=cache_dir, offline=offline or None), **others)

    flag = click.option("--offline", is_flag=True, help="Ask nothing of the network.  [env: CKVD_OFFLINE]")
    kept: F = cache_option(flag(with_settings))  # type: ignore[assignment]
    return kept


def range_options(command: F) -> F:
    """The arguments of `ckvd_klines` as options; the command is given them as `asked`, named as there."""

    @functools.wraps(command)
    def with_range(symbols: tuple[str, ...], interval: str, start: str, end: str, market: str, **others: Any) -> Any:
        asked = {"symbol": list(symbols), "interval": interval, "start": start, "end": end, "market": market}
        return command(asked=asked, **others)

    wrapped: Any = with_range
    for option in (
        click.option("--market", default="spot", show_default=True, metavar="MARKET", help="spot, um or cm."),
        click.option("--end", default="now", show_default=True, metavar="TIME", help="The end, itself left out."),
        click.option("--start", required=True, metavar="TIME", help="The first open time in UTC, such as 2024-01-31."),
        click.option("--interval", default="1h", show_default=True, metavar="INTERVAL", help="1s (spot) to 1mo."),
        click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL..."),
    ):
        wrapped = option(wrapped)
    kept: F = wrapped
    return kept
