"""`ckvd shell`: a prompt for SQL with history and completion, and dot commands for plans, gaps and the cache.

prompt_toolkit was chosen because it is what IPython and the field's other database shells are built on. A statement
runs in a thread of its own, so that Ctrl-C can interrupt it and the shell goes on.
"""
# ruff: noqa: PLC0415, D301 (as in the other commands)

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ckvd_sql.cli.options import settings_options, shown_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from duckdb import DuckDBPyConnection
    from prompt_toolkit import PromptSession

    from ckvd_sql import Settings

_PROMPT, _MORE = "ckvd> ", "  ... "
_MODES = ("table", "csv", "json", "jsonl")

_HELP = """\
A statement ends with a semicolon; Ctrl-C drops or interrupts it, Ctrl-D leaves.
.plan SQL                             where the days of its calls would come from, such as .plan ckvd_klines(...)
.gaps SYMBOL INTERVAL START [END]     bars that are missing at the exchange
.cache                                what is cached, by series
.tables                               the names that can be queried
.mode table|csv|json|jsonl            how results are shown
.quit                                 leave"""


@click.command()
@click.option("--database", default=":memory:", metavar="FILE", help="The DuckDB database to use.")
@settings_options
def shell(database: str, settings: Settings) -> None:
    """Ask queries at a prompt, with history and completion; .help lists the commands.

    Without a terminal, statements are read from stdin.

    \b
    Example:
      ckvd shell
    """
    from ckvd_sql import connect

    with connect(database, cache_dir=settings.cache_dir, offline=settings.offline) as con:
        session = _Session(con, settings)
        if sys.stdin.isatty():
            click.echo("ckvd_sql: SQL over Binance klines. Enter .help for commands.")
            with _own_interrupts():
                session.run_all(_typed(_prompt(con, settings)))
        elif not session.run_all(_statements(sys.stdin)):
            raise SystemExit(1)


class _Session:
    """Runs statements and dot commands."""

    def __init__(self, con: DuckDBPyConnection, settings: Settings) -> None:
        self._con = con
        self._settings = settings
        self._mode = "table"
        self._commands: dict[str, Callable[[str], None]] = {
            ".help": lambda _: click.echo(_HELP),
            ".plan": self._plan,
            ".gaps": self._gaps,
            ".cache": lambda _: self._sql(
                "SELECT market, symbol, interval, min(date) AS first, max(date) AS last, count(*) AS days, "
                "sum(bytes)::BIGINT AS bytes FROM ckvd_cache_days GROUP BY ALL ORDER BY ALL"
            ),
            ".tables": self._tables,
            ".mode": self._set_mode,
        }

    def run_all(self, texts: Iterator[str]) -> bool:
        """Run each text until the end or `.quit`; whether all went well."""
        well = True
        for text in texts:
            if text.strip().rstrip(";") in (".quit", ".exit"):
                break
            well &= self._run(text)
        return well

    def _run(self, text: str) -> bool:
        import duckdb

        from ckvd_sql.errors import CkvdError

        name, _, rest = text.strip().rstrip(";").partition(" ")
        try:
            if not name.startswith("."):
                self._interruptible(lambda: self._sql(text))
            elif name in self._commands:
                self._interruptible(lambda: self._commands[name](rest.strip()))
            else:
                raise click.ClickException(f"there is no {name}; .help lists the commands")  # noqa: TRY301
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
        except (click.ClickException, CkvdError, duckdb.Error, OSError) as error:
            shown_error(error).show()
        else:
            return True
        return False

    def _interruptible(self, work: Callable[[], None]) -> None:
        """Do work in a thread; Ctrl-C interrupts its query and is raised when that has ended."""
        failed: list[BaseException] = []

        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 (raised again in the main thread)
                failed.append(error)

        thread = threading.Thread(target=run, name="ckvd-statement")
        thread.start()
        interrupted = False
        while thread.is_alive():
            try:
                thread.join(0.1)
            except KeyboardInterrupt:
                interrupted = True
                self._con.interrupt()
        if interrupted:
            raise KeyboardInterrupt
        if failed:
            raise failed[0]

    def _sql(self, code: str) -> None:
        from ckvd_sql.cli import output
        from ckvd_sql.cli.prefetch import fetch_first
        from ckvd_sql.cli.sqltext import bare

        for statement in self._con.extract_statements(code):
            if not self._settings.offline:
                fetch_first(statement.query, self._settings)
            result = self._con.sql(bare(statement.query))
            if result is not None and not output.is_count(statement, result):
                output.write(self._con, result, self._mode, None)

    def _plan(self, text: str) -> None:
        from ckvd_sql.cli import terminal
        from ckvd_sql.cli.sqltext import find_queries
        from ckvd_sql.scan.resolver import Resolver

        resolver = Resolver(self._settings)
        statement = f"FROM {text}" if text.lower().startswith("ckvd_") else text
        queries = find_queries(statement, self._settings.clock())
        if not queries:
            raise click.ClickException("no call of ckvd_klines or ckvd_gaps there reads all of its days")
        for query in queries:
            plans = resolver.plans(resolver.catalog.expand(query))
            click.echo(terminal.plan_table({series.symbol: days for series, days in plans}))

    def _gaps(self, text: str) -> None:
        arguments = shlex.split(text)
        if len(arguments) not in (3, 4):
            raise click.ClickException("it takes a symbol, an interval, a start and perhaps an end")
        quoted = ", ".join("'{}'".format(one.replace("'", "''")) for one in arguments)
        self._sql(f"FROM ckvd_gaps({quoted})")

    def _tables(self, _: str) -> None:
        from ckvd_sql.sql.registration import NAMES

        tables = self._con.execute("SELECT table_name FROM duckdb_tables() ORDER BY ALL").fetchall()
        click.echo("\n".join([f"{name}{arguments}" for _, name, arguments, _ in NAMES] + [name for (name,) in tables]))

    def _set_mode(self, mode: str) -> None:
        if mode not in _MODES:
            raise click.ClickException(f"a mode is one of {', '.join(_MODES)}")
        self._mode = mode


@contextlib.contextmanager
def _own_interrupts() -> Iterator[None]:
    """Have Ctrl-C raise `KeyboardInterrupt` and not end the process, as it does in the other commands."""
    wakeup = signal.set_wakeup_fd(-1)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.set_wakeup_fd(wakeup)


def _typed(session: PromptSession[str]) -> Iterator[str]:
    """What is entered at the prompt, until Ctrl-D."""
    while True:
        try:
            text = session.prompt(_PROMPT)
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text.strip():
            yield text


def _statements(lines: Iterator[str]) -> Iterator[str]:
    """Statements and dot commands out of lines."""
    text = ""
    for line in lines:
        text += line
        if _is_complete(text):
            yield text
            text = ""
    if text.strip():
        yield text


def _is_complete(text: str) -> bool:
    """Whether a text is a whole statement or a dot command."""
    stripped = text.strip()
    return stripped.endswith(";") or stripped.startswith(".")


def _prompt(con: DuckDBPyConnection, settings: Settings) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.lexers import PygmentsLexer
    from pygments.lexers.sql import SqlLexer

    bindings = KeyBindings()

    @Condition
    def is_complete() -> bool:
        text = session.default_buffer.text
        return not text.strip() or _is_complete(text)

    @bindings.add("enter", filter=is_complete)
    def _(_: object) -> None:
        session.default_buffer.validate_and_handle()

    session: PromptSession[str] = PromptSession(
        history=FileHistory(str(_history_file())),
        completer=WordCompleter(_words(con, settings), ignore_case=True),
        complete_while_typing=False,
        lexer=PygmentsLexer(SqlLexer),
        key_bindings=bindings,
        multiline=True,
        prompt_continuation=lambda *_: _MORE,
    )
    return session


def _history_file() -> Path:
    """Where what was entered is kept, by the XDG convention."""
    folder = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "ckvd"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "history"


def _words(con: DuckDBPyConnection, settings: Settings) -> list[str]:
    """What can be completed: our names and their parameters, intervals, markets, cached symbols and SQL's keywords."""
    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.market.series import INTERVALS, Market
    from ckvd_sql.sql.registration import NAMES
    from ckvd_sql.tables.klines import KLINES_SCHEMA

    ours = [name for _, name, *_ in NAMES] + ["until", "market", "include_open", "quote", "bars", "remote"]
    symbols = {one.symbol for one in DayStore(settings.cache_dir).series()}
    values = [*INTERVALS, *(market.value for market in Market), *symbols]
    keywords = [word.upper() for (word,) in con.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()]
    dotted = [line.split()[0] for line in _HELP.splitlines() if line.startswith(".")]
    return sorted({*ours, *values, *KLINES_SCHEMA.names, *keywords, *dotted})
