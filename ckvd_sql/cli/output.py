"""Writes a query's result to stdout or a file, as a table, csv, json, jsonl, parquet or arrow.

Files and pipes get the complete result or nothing: it is written to a temporary file first. Knows DuckDB relations,
not queries.
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

FORMATS = ("table", "csv", "json", "jsonl", "parquet", "arrow")

#: The format that the ending of a file's name stands for; `.gz` after one of text compresses it.
ENDINGS = {
    "csv": "csv",
    "json": "json",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "parquet": "parquet",
    "pq": "parquet",
    "arrow": "arrow",
    "feather": "arrow",
}
_TEXT = frozenset({"csv", "json", "jsonl"})
_NAMED = ".csv, .json, .jsonl (each also with .gz), .parquet, .pq, .arrow or .feather"
_BINARY = frozenset({"parquet", "arrow"})

# Times in JSON are ISO 8601 in UTC; a TIMESTAMP without a zone is taken as UTC, as in the arguments of calls.
_COPY = {
    "csv": "FORMAT csv, HEADER",
    "json": "FORMAT json, ARRAY true, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%fZ'",
    "jsonl": "FORMAT json, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%fZ'",
    "parquet": "FORMAT parquet, COMPRESSION zstd",
}

_UNLIMITED = 100_000  # columns; a width that leaves no column of a table out
_CELL_WIDTH = 40
_BATCH_ROWS = 100_000


def is_stdout(file: Path) -> bool:
    """Whether a path stands for stdout, and so must not be replaced by a file."""
    return str(file) in {"-", "/dev/stdout"}


def choose_format(given: str | None, file: Path | None) -> str:
    """The format: the given one, else by the file's extension, else `table`.

    Raises:
        click.UsageError: The extension names no format, the file's folder does not exist, or a binary format would
            be written to a terminal.
    """
    if file is None or is_stdout(file):
        if given in _BINARY and sys.stdout.isatty():
            raise click.UsageError(f"{given} is binary, not for a terminal; write it to a file with -o, or to a pipe.")
        return given or "table"
    if not file.parent.is_dir():
        raise click.UsageError(f"There is no folder {str(file.parent)!r} to write {file.name!r} into.")
    by_ending = ENDINGS.get((file.with_suffix("") if is_gzip(file) else file).suffix.lower().removeprefix("."))
    chosen = given or by_ending
    if chosen is None:
        raise click.UsageError(f"The name of {str(file)!r} ends in none of {_NAMED}; add -f.")
    if is_gzip(file) and chosen not in _TEXT:
        raise click.UsageError(f"{chosen} is compressed already; write {file.stem!r} instead of {file.name!r}.")
    return chosen


def is_gzip(file: Path) -> bool:
    """Whether a file's name ends in `.gz`, so that what is written is compressed."""
    return file.suffix.lower() == ".gz"


def is_count(statement: duckdb.Statement, result: DuckDBPyRelation) -> bool:
    """Whether a result is only DuckDB's report that a statement was executed, such as the count of rows inserted."""
    kinds = {kind.name for kind in statement.expected_result_type}
    return kinds != {"QUERY_RESULT"} and result.columns in (["Count"], ["Success"])


def write(con: DuckDBPyConnection, result: DuckDBPyRelation, format_: str, file: Path | None) -> None:
    """Write a result in one of `FORMATS` to a file, or to stdout without one."""
    if file is not None and not is_stdout(file):
        with _atomic(file.resolve()) as temporary:
            _write(con, result, format_, temporary, packed=is_gzip(file))
    elif format_ == "table":
        click.echo(draw(con, result, table_width()))
    else:
        with _temporary_file() as temporary:
            _write(con, result, format_, temporary)
            with temporary.open("rb") as source:
                shutil.copyfileobj(source, sys.stdout.buffer)
            sys.stdout.buffer.flush()


def table_width() -> int:
    """The widest line that a table on stdout may have, in characters; unlimited without a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED


def _write(
    con: DuckDBPyConnection, result: DuckDBPyRelation, format_: str, path: Path, *, packed: bool = False
) -> None:
    if format_ == "table":
        path.write_text(draw(con, result, _UNLIMITED) + "\n", encoding="utf-8")
    elif format_ == "arrow":
        reader = result.to_arrow_reader(_BATCH_ROWS)
        with ipc.new_file(str(path), reader.schema) as sink:
            for batch in reader:
                sink.write_batch(batch)
    else:
        target = str(path).replace("'", "''")
        compression = ", COMPRESSION gzip" if packed else ""
        result.query("result", f"COPY result TO '{target}' ({_COPY[format_]}{compression})")


@contextlib.contextmanager
def _atomic(file: Path) -> Iterator[Path]:
    """A path to write to, which replaces the file when the block ends without an error."""
    if file.exists() and not file.is_file():  # a named pipe or a device: append to it instead
        with _temporary_file() as temporary:
            yield temporary
            with temporary.open("rb") as source, file.open("ab") as sink:
                shutil.copyfileobj(source, sink)
        return
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with _cleaned_up(partial(temporary.unlink, missing_ok=True)):
        yield temporary
        temporary.replace(file)


@contextlib.contextmanager
def _temporary_file() -> Iterator[Path]:
    """A path to write to, which is deleted in the end."""
    folder = Path(tempfile.mkdtemp(prefix="ckvd-"))
    with _cleaned_up(partial(shutil.rmtree, folder, ignore_errors=True)):
        yield folder / "result"


@contextlib.contextmanager
def _cleaned_up(clean_up: Callable[[], object]) -> Iterator[None]:
    """Call `clean_up` in the end, also if Ctrl-C ends the process while DuckDB works."""
    on_sudden_end.append(clean_up)
    try:
        yield
    finally:
        on_sudden_end.remove(clean_up)
        clean_up()


def draw(con: DuckDBPyConnection, result: DuckDBPyRelation, width: int, rows: int = 40) -> str:
    """The result as DuckDB draws tables, but with the first columns that fit, the last rows and the number of all.

    DuckDB itself leaves out columns in the middle, and treats the first 10,000 rows as the whole.

    Args:
        con: The result's connection.
        result: The result.
        width: The widest that a line may be, in characters.
        rows: The most rows to show: half of them the first, half the last.
    """
    if result.columns == ["explain_key", "explain_value"]:
        return "\n".join(str(row[1]) for row in result.fetchall()).rstrip()
    head, tail, total = _ends(result, rows)
    ends = pa.concat_tables([head, tail])
    shown = ends.num_columns
    text = _drawn(con, ends, rows, width)
    while shown > 1 and _omits_columns(text):
        shown -= 1
        text = _drawn(con, ends.select(range(shown)), rows, width)
    body, _, footer = text.rpartition("\n")  # the footer counts the rows and columns of `ends`
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
    cell = _UNLIMITED if width == _UNLIMITED else max(1, min(width - 4, _CELL_WIDTH))
    with contextlib.redirect_stdout(drawn):
        con.from_arrow(table).show(max_width=width, max_rows=rows, max_col_width=cell)
    return drawn.getvalue().rstrip()


def _omits_columns(text: str) -> bool:
    """Whether DuckDB left columns out, for which it draws a column named `…`."""
    names = text.split("\n", 2)[1]
    return "\u2502 \u2026 \u2502" in names


def _ends(result: DuckDBPyRelation, rows: int) -> tuple[pa.Table, pa.Table, int]:
    """The first rows, the last rows (at most `rows` each, none in both) and the number of all rows."""
    reader = result.to_arrow_reader(_BATCH_ROWS)
    head = tail = reader.schema.empty_table()
    total = 0
    for batch in reader:
        total += batch.num_rows
        added = pa.Table.from_batches([batch])
        missing = rows - head.num_rows
        if missing > 0:
            head = pa.concat_tables([head, added.slice(0, missing)])
            added = added.slice(missing)
        tail = pa.concat_tables([tail, added])
        tail = tail.slice(max(0, tail.num_rows - rows))
    return head, tail, total
