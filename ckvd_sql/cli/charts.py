"""`ckvd view` and `ckvd chart`: bars in a browser and in the terminal. Knows options, not how pictures are drawn."""
# ruff: noqa: PLC0415, D301 (as in the other commands)

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from ckvd_sql.cli.options import settings_options

if TYPE_CHECKING:
    from ckvd_sql import Settings

_LINES = 24


@click.command()
@click.argument("symbol", required=False, metavar="[SYMBOL]")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port on 127.0.0.1.  [default: a free one]")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@settings_options
def view(symbol: str | None, port: int, no_browser: bool, settings: Settings) -> None:
    """Show candles, gaps and what the cache holds in a browser, until Ctrl-C.

    The page is served on this machine alone, and its address has a token that nobody else knows.

    \b
    Example:
      ckvd view BTCUSDT
    """
    from ckvd_sql.charts.server import ViewServer
    from ckvd_sql.market.parse import parse_symbol
    from ckvd_sql.scan.resolver import Resolver

    try:
        server = ViewServer(Resolver(settings), symbol and parse_symbol(symbol), port)
    except OSError as error:
        raise click.ClickException(f"port {port} can't be used: {error.strerror}") from error
    with server:
        click.echo(server.url)
        sys.stdout.flush()
        if not no_browser:
            import webbrowser

            webbrowser.open(server.url)
        click.echo("Ctrl-C ends it.", err=True)
        server.serve_forever(poll_interval=0.2)


@click.command()
@click.argument("symbol", metavar="SYMBOL")
@click.option("--interval", default="1d", show_default=True, metavar="INTERVAL", help="1s (spot) to 1mo.")
@click.option("--start", default="-3mo", show_default=True, metavar="TIME", help="The first open time.")
@click.option("--end", default="now", show_default=True, metavar="TIME", help="The end, exclusive.")
@click.option("--market", default="spot", show_default=True, metavar="MARKET", help="spot, um or cm.")
@settings_options
def chart(symbol: str, interval: str, start: str, end: str, market: str, settings: Settings) -> None:
    """Draw candles in the terminal: the last ones that fit.

    \b
    Example:
      ckvd chart BTCUSDT --interval 4h --start -7d
    """
    from ckvd_sql import CryptoKlineVisionData
    from ckvd_sql.charts.columns import columns_of, table_of
    from ckvd_sql.charts.terminal import draw

    table = CryptoKlineVisionData(settings).klines(symbol, start, end, interval, market)
    if table.num_rows == 0:
        raise click.ClickException(f"there are no bars of {symbol} in this range")
    title = f"{table.column('symbol')[0].as_py()} {interval} ({market}), UTC"
    size = shutil.get_terminal_size((100, _LINES + 2))
    height = min(_LINES, size.lines - 2) if sys.stdout.isatty() else _LINES
    click.echo(draw(columns_of(table_of(table)), title, size.columns, height, colour=sys.stdout.isatty()))
