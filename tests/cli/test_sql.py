"""`ckvd sql`: tables on a terminal and in a pipe, output files of every format, statements from every source."""

from __future__ import annotations

import csv
import gzip
import json
import os
import stat

import duckdb
import pyarrow.ipc
import pyarrow.parquet
import pytest

from ckvd_sql.sandbox import Fault, Sandbox
from tests.support.shell import BARS_OF_WEEK, PATIENCE, WEEK, Shell, on_terminal


def test_sql_shows_a_table_with_first_and_last_rows_and_the_number_of_all(shell: Shell) -> None:
    shown = shell.out("sql", f"SELECT open_time, close FROM {WEEK}")
    assert "2024-06-08 00:00:00+00" in shown
    assert "2024-06-15 11:00:00+00" in shown
    assert f"{BARS_OF_WEEK} rows (40 shown)" in shown
    assert len(shown.splitlines()) < 60


def test_sql_prints_all_columns_in_a_pipe(shell: Shell) -> None:
    shown = shell.out("sql", f"FROM {WEEK} LIMIT 1")
    assert all(name in shown for name in ("symbol", "open_time", "close_time", "taker_buy_quote_volume", "source"))
    assert "2024-06-08 00:59:59.999999+00" in shown
    assert "\x1b" not in shown


def test_sql_shows_the_first_columns_if_not_all_fit_the_terminal(shell: Shell) -> None:
    status, shown = on_terminal(shell, "sql", f"FROM {WEEK} LIMIT 1")
    assert status == 0
    assert all(name in shown for name in ("open_time", "open", "high", "low", "close"))
    assert "13 columns (7 shown)" in shown


def test_csv_json_parquet_and_arrow_hold_the_same_bars(shell: Shell) -> None:
    query = f"SELECT symbol, open_time, close FROM {WEEK} WHERE open_time < '2024-06-09'"
    for ending in ("csv", "json", "parquet", "arrow"):
        assert shell.out("sql", query, "-o", f"bars.{ending}") == ""
    with (shell.folder / "bars.csv").open() as file:
        of_csv = list(csv.DictReader(file))
    of_json = json.loads((shell.folder / "bars.json").read_text())
    of_parquet = pyarrow.parquet.read_table(shell.folder / "bars.parquet").to_pylist()
    with pyarrow.ipc.open_file(str(shell.folder / "bars.arrow")) as file:
        of_arrow = file.read_all().to_pylist()
    assert of_json[0]["open_time"] == "2024-06-08T00:00:00.000000Z"
    assert of_csv[0]["open_time"] == "2024-06-08 00:00:00+00"
    assert len(of_csv) == 24
    closes = [row["close"] for row in of_parquet]
    assert closes == [row["close"] for row in of_arrow] == [row["close"] for row in of_json]
    assert closes == [float(row["close"]) for row in of_csv]
    assert [row["open_time"] for row in of_parquet] == [row["open_time"] for row in of_arrow]


def test_the_format_option_overrides_the_file_extension(shell: Shell) -> None:
    shell.out("sql", "SELECT 1 AS a", "-f", "json", "-o", "a.csv")
    assert json.loads((shell.folder / "a.csv").read_text()) == [{"a": 1}]


@pytest.mark.parametrize(("format_", "start"), [("parquet", b"PAR1"), ("arrow", b"ARROW1"), ("json", b"[")])
def test_binary_formats_are_written_to_a_pipe(shell: Shell, format_: str, start: bytes) -> None:
    assert shell.run("sql", "SELECT 1 AS a", "-f", format_).stdout.startswith(start)


def test_a_closed_pipe_prints_no_error(shell: Shell) -> None:
    with shell.start("sql", "FROM range(1_000_000)", "-f", "csv") as process:
        assert process.stdout
        assert process.stdout.readline() == b"range\n"
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == b""


def test_binary_formats_are_refused_on_a_terminal(shell: Shell) -> None:
    status, shown = on_terminal(shell, "sql", "SELECT 1", "-f", "parquet")
    assert status == 2
    assert "not for a terminal" in shown


def test_sql_is_read_from_stdin_or_a_file(shell: Shell) -> None:
    (shell.folder / "query.sql").write_text("SELECT 7 AS seven -- no more\n")
    expected = "seven\n7\n"
    assert shell.out("sql", "-f", "csv", text="SELECT 7 AS seven;") == expected
    assert shell.out("sql", "-", "-f", "csv", text="SELECT 7 AS seven;") == expected
    assert shell.out("sql", "--file", "query.sql", "-f", "csv") == expected


def test_of_several_statements_the_last_is_shown(shell: Shell) -> None:
    text = f"CREATE TABLE week AS FROM {WEEK}; SELECT 1; SELECT count(*) AS bars FROM week; -- done"
    assert shell.out("sql", text, "-f", "csv") == f"bars\n{BARS_OF_WEEK}\n"


def test_a_statement_without_rows_shows_nothing(shell: Shell) -> None:
    assert shell.out("sql", "CREATE TABLE t (a INTEGER)") == ""
    assert shell.out("sql", "") == ""


def test_sql_works_in_a_database_file_and_adds_no_views_to_it(shell: Shell) -> None:
    shell.out("sql", f"CREATE TABLE week AS FROM {WEEK}", "--database", "own.duckdb")
    with duckdb.connect(shell.folder / "own.duckdb", read_only=True) as con:
        assert con.execute("SELECT count(*) FROM week").fetchall() == [(BARS_OF_WEEK,)]
        assert con.execute("SELECT count(*) FROM duckdb_views() WHERE view_name LIKE 'ckvd%'").fetchall() == [(0,)]


def test_a_failed_query_leaves_the_output_file_unchanged(shell: Shell, exchange: Sandbox) -> None:
    (shell.folder / "bars.csv").write_text("before")
    exchange.add(Fault(path="2024-06-12|startTime=17181", kind="status", status=503))
    errors = shell.error("sql", f"FROM {WEEK}", "-o", "bars.csv")
    assert "Error: ProviderUnavailableError: " in errors
    assert (shell.folder / "bars.csv").read_text() == "before"
    assert [path.name for path in shell.folder.iterdir() if path.name.startswith(".")] == []


def test_an_output_that_is_a_link_or_a_named_pipe_stays_one(shell: Shell) -> None:
    link, pipe = shell.folder / "link.csv", shell.folder / "pipe.csv"
    link.symlink_to(shell.folder / "target.csv")
    shell.out("sql", "SELECT 1 AS a", "-o", "link.csv")
    assert link.is_symlink()
    assert (shell.folder / "target.csv").read_text() == "a\n1\n"
    os.mkfifo(pipe)
    with shell.start("sql", "SELECT 1 AS a", "-o", "pipe.csv") as process:
        assert pipe.read_text() == "a\n1\n"
        assert process.wait(PATIENCE) == 0
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_the_output_dash_means_stdout(shell: Shell) -> None:
    assert shell.out("sql", "SELECT 1 AS a", "-f", "csv", "-o", "-") == "a\n1\n"


@pytest.mark.parametrize(
    ("name", "same_as"),
    [("a.pq", "a.parquet"), ("a.feather", "a.arrow"), ("a.ndjson", "a.jsonl"), ("a.CSV", "a.csv")],
)
def test_other_endings_of_a_format_are_known(shell: Shell, name: str, same_as: str) -> None:
    for file in (name, same_as):
        shell.out("sql", "FROM range(3)", "-o", file)
    assert (shell.folder / name).read_bytes() == (shell.folder / same_as).read_bytes()


def test_jsonl_is_a_record_a_line(shell: Shell) -> None:
    shell.out("sql", "SELECT range AS n FROM range(3)", "-o", "a.jsonl")
    assert [json.loads(line)["n"] for line in (shell.folder / "a.jsonl").read_text().splitlines()] == [0, 1, 2]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.json.gz", "a.jsonl.gz"])
def test_gz_compresses_text(shell: Shell, name: str) -> None:
    for file in (name, name.removesuffix(".gz")):
        shell.out("sql", "FROM range(3)", "-o", file)
    packed = gzip.decompress((shell.folder / name).read_bytes())
    assert packed == (shell.folder / name.removesuffix(".gz")).read_bytes()


@pytest.mark.parametrize(("name", "text"), [("a.parquet.gz", "compressed already"), ("a.xlsx", "ends in none of")])
def test_an_ending_without_a_format_is_refused(shell: Shell, name: str, text: str) -> None:
    assert text in shell.error("sql", "SELECT 1", "-o", name, status=2)
