"""A query's result on its way out: a table to look at, or csv, json, parquet and arrow to go on with.

An output file appears whole or not at all, and so does what goes to a pipe: the result is written aside first.
Knows DuckDB relations and files; what was asked is not its business.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pyarrow as pa
from pyarrow import ipc

from ckvd_sql.cli.interrupt import on_sudden_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import duckdb
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

FORMATS = ("table", "csv", "json", "parquet", "arrow")
_BINARY = frozenset({"parquet", "arrow"})

#: ISO 8601 in UTC; a TIMESTAMP without a zone is UTC here, as in the calls.
_COPY = {
    "csv": "FORMAT csv, HEADER",
    "json": "FORMAT json, ARRAY true, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%fZ'",
    "parquet": "FORMAT parquet, COMPRESSION zstd",
}

_WIDEST = 100_000
_CELL = 40
_BATCH_ROWS = 100_000


def is_stdout(file: Path) -> bool:
    """Whether a name means stdout. A file of that name must not take its place."""
    return str(file) in {"-", "/dev/stdout"}


def choose_format(given: str | None, file: Path | None) -> str:
    """The format that is asked for, else the one that the file's ending names, else `table`."""
    if file is None or is_stdout(file):
        if given in _BINARY and sys.stdout.isatty():
            raise click.UsageError(f"{given} is not for a terminal; write it to a file with -o, or to a pipe.")
        return given or "table"
    if not file.parent.is_dir():
        raise click.UsageError(f"There is no folder {str(file.parent)!r} to write {file.name!r} into.")
    ending = file.suffix.lower().removeprefix(".")
    if given:
        return given
    if ending not in FORMATS[1:]:
        raise click.UsageError(f"The ending of {str(file)!r} names no format; add -f csv, json, parquet or arrow.")
    return ending


def is_count(statement: duckdb.Statement, result: DuckDBPyRelation) -> bool:
    """Whether a result only says that something was done, such as a table made."""
    kinds = {kind.name for kind in statement.expected_result_type}
    return kinds != {"QUERY_RESULT"} and result.columns in (["Count"], ["Success"])


def write(con: DuckDBPyConnection, result: DuckDBPyRelation, format_: str, file: Path | None) -> None:
    """Put a result into a file, or on stdout without one."""
    if file is not None and not is_stdout(file):
        with _whole(file.resolve()) as aside:
            _write(con, result, format_, aside)
    elif format_ == "table":
        click.echo(draw(con, result, table_width()))
    else:
        with _aside() as aside:
            _write(con, result, format_, aside)
            with aside.open("rb") as source:
                shutil.copyfileobj(source, sys.stdout.buffer)
            sys.stdout.buffer.flush()


def table_width() -> int:
    """How wide a table on stdout may be; without a terminal no column is left out."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDEST


def _write(con: DuckDBPyConnection, result: DuckDBPyRelation, format_: str, path: Path) -> None:
    if format_ == "table":
        path.write_text(draw(con, result, _WIDEST) + "\n", encoding="utf-8")
    elif format_ == "arrow":
        reader = result.to_arrow_reader(_BATCH_ROWS)
        with ipc.new_file(str(path), reader.schema) as sink:
            for batch in reader:
                sink.write_batch(batch)
    else:
        target = str(path).replace("'", "''")
        result.query("result", f"COPY result TO '{target}' ({_COPY[format_]})")


@contextlib.contextmanager
def _whole(file: Path) -> Iterator[Path]:
    """A path beside the file to write to, which takes the file's name once all went well."""
    if file.exists() and not file.is_file():  # a named pipe or a device, which has to stay
        with _aside() as aside:
            yield aside
            with aside.open("rb") as source, file.open("ab") as sink:
                shutil.copyfileobj(source, sink)
        return
    aside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with _tidied(partial(aside.unlink, missing_ok=True)):
        yield aside
        aside.replace(file)


@contextlib.contextmanager
def _aside() -> Iterator[Path]:
    """A path to write to for a while."""
    folder = Path(tempfile.mkdtemp(prefix="ckvd-"))
    with _tidied(partial(shutil.rmtree, folder, ignore_errors=True)):
        yield folder / "result"


@contextlib.contextmanager
def _tidied(tidy: Callable[[], object]) -> Iterator[None]:
    """Tidy up in the end, even if the process is ended while DuckDB works."""
    on_sudden_end.append(tidy)
    try:
        yield
    finally:
        on_sudden_end.remove(tidy)
        tidy()


def draw(con: DuckDBPyConnection, result: DuckDBPyRelation, width: int, rows: int = 40) -> str:
    """The result as DuckDB draws it, but with its first columns where not all fit, and with its true last rows.

    Args:
        con: The result's connection.
        result: The result.
        width: The widest that a line may be.
        rows: How many rows to show, half of them the first and half the last.
    """
    if result.columns == ["explain_key", "explain_value"]:
        return "\n".join(str(row[1]) for row in result.fetchall()).rstrip()
    head, tail, total = _ends(result, rows)
    ends = pa.concat_tables([head, tail])
    shown = ends.num_columns
    text = _drawn(con, ends, rows, width)
    while shown > 1 and _lacks_columns(text):
        shown -= 1
        text = _drawn(con, ends.select(range(shown)), rows, width)
    body, _, footer = text.rpartition("\n")  # in which DuckDB counts what it was given to draw
    if total > ends.num_rows:
        footer = re.sub(rf"\b{ends.num_rows} rows", f"{total} rows", footer, count=1)
    if shown == ends.num_columns:
        return f"{body}\n{footer}"
    if "\u2518" in footer:  # the table's lower edge
        body, footer = text, ""
    counted = re.split(r"  +\d+ columns", footer.strip())[0]
    return f"{body}\n  {counted}{'  ' if counted else ''}{ends.num_columns} columns ({shown} shown)"


def _drawn(con: DuckDBPyConnection, table: pa.Table, rows: int, width: int) -> str:
    drawn = io.StringIO()
    cell = _WIDEST if width == _WIDEST else max(1, min(width - 4, _CELL))
    with contextlib.redirect_stdout(drawn):
        con.from_arrow(table).show(max_width=width, max_rows=rows, max_col_width=cell)
    return drawn.getvalue().rstrip()


def _lacks_columns(text: str) -> bool:
    """Whether DuckDB left columns out, in the middle, where it puts dots for a name."""
    names = text.split("\n", 2)[1]
    return "\u2502 \u2026 \u2502" in names


def _ends(result: DuckDBPyRelation, rows: int) -> tuple[pa.Table, pa.Table, int]:
    """The first and the last rows, each at most so many and none twice, and the number of all rows."""
    reader = result.to_arrow_reader(_BATCH_ROWS)
    head = tail = reader.schema.empty_table()
    total = 0
    for batch in reader:
        total += batch.num_rows
        more = pa.Table.from_batches([batch])
        lacking = rows - head.num_rows
        if lacking > 0:
            head = pa.concat_tables([head, more.slice(0, lacking)])
            more = more.slice(lacking)
        tail = pa.concat_tables([tail, more])
        tail = tail.slice(max(0, tail.num_rows - rows))
    return head, tail, total
