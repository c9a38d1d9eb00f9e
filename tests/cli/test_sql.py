"""The command line: real processes against a sandbox exchange, with pipes, a terminal and Ctrl-C."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import signal
import stat
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow.ipc
import pyarrow.parquet
import pytest
from click.testing import CliRunner

import ckvd_sql
from ckvd_sql.cache.store import DayStore
from ckvd_sql.cli.main import main
from ckvd_sql.cli.sqltext import find_queries
from ckvd_sql.cli.terminal import human_size
from ckvd_sql.market.series import parse_time
from ckvd_sql.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = "2024-06-15T12:00:00"
WEEK = "ckvd_klines('BTCUSDT', '1h', '2024-06-08')"
BARS_OF_WEEK = 7 * 24 + 12
PATIENCE = 60
COMMANDS = ("sql", "fetch", "plan", "cache", "sandbox", "demo")

Done = subprocess.CompletedProcess[bytes]


@pytest.fixture(scope="module")
def clock() -> str:
    return NOW


class Shell:
    """Runs `ckvd` with a cache of its own and the sandbox as the exchange."""

    def __init__(self, exchange: Sandbox, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("CKVD_")}
        self.env |= {f"CKVD_{name.upper()}": value for name, value in exchange.settings.items()}
        self.env |= {"CKVD_CACHE_DIR": str(self.cache), "CKVD_RETRIES": "0", "TERM": "xterm", "COLUMNS": "100"}
        self.env |= {"PYTHONPATH": str(Path(ckvd_sql.__file__).parents[1])}

    def start(self, *words: str, out: int = subprocess.PIPE, err: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        """A process of its own, where pipes, a terminal or signals matter."""
        command = [sys.executable, "-m", "ckvd_sql.cli", *words]
        return subprocess.Popen(
            command, env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )

    def run(self, *words: str, text: str = "", **env: str) -> Done:
        with contextlib.chdir(self.folder):
            ran = CliRunner().invoke(main, words, input=text, env=self.env | env, prog_name="ckvd")
        if ran.exception and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        return Done(words, ran.exit_code, ran.stdout_bytes, ran.stderr_bytes)

    def out(self, *words: str, text: str = "") -> str:
        done = self.run(*words, text=text)
        assert (done.returncode, done.stderr.decode()) == (0, "")
        return done.stdout.decode()

    def error(self, *words: str, status: int = 1, **env: str) -> str:
        done = self.run(*words, **env)
        assert done.returncode == status, done
        return done.stderr.decode()

    def cached(self) -> list[Path]:
        return sorted(self.cache.rglob("*.arrow"))


@pytest.fixture
def shell(exchange: Sandbox, tmp_path: Path) -> Shell:
    return Shell(exchange, tmp_path)


def on_terminal(shell: Shell, *words: str) -> tuple[int, str]:
    """What a command shows to a terminal, and its status."""
    ours, theirs = pty.openpty()
    process = shell.start(*words, out=theirs, err=theirs)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # Linux says so when the other side is gone
        pass
    os.close(ours)
    return process.wait(PATIENCE), shown.decode()


def interrupt(shell: Shell, *words: str) -> tuple[int, str]:
    """Start a command, press Ctrl-C once it has cached a day, and say how it ended."""
    process = shell.start(*words)
    deadline = time.monotonic() + PATIENCE
    while not shell.cached() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    return process.returncode, said.decode()


def rows_of(table: str) -> list[list[str]]:
    """The cells of a table of plain columns, without its header."""
    return [line.split() for line in table.splitlines()[1:]]


# --- sql


def test_sql_shows_a_table_with_first_and_last_rows_and_the_number_of_all(shell: Shell) -> None:
    shown = shell.out("sql", f"SELECT open_time, close FROM {WEEK}")
    assert "2024-06-08 00:00:00+00" in shown
    assert "2024-06-15 11:00:00+00" in shown
    assert f"{BARS_OF_WEEK} rows (40 shown)" in shown
    assert len(shown.splitlines()) < 60


def test_sql_leaves_no_column_out_in_a_pipe(shell: Shell) -> None:
    shown = shell.out("sql", f"FROM {WEEK} LIMIT 1")
    assert all(name in shown for name in ("symbol", "open_time", "close_time", "taker_buy_quote_volume", "source"))
    assert "2024-06-08 00:59:59.999999+00" in shown
    assert "\x1b" not in shown


def test_sql_shows_the_first_columns_where_not_all_fit_a_terminal(shell: Shell) -> None:
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
    with pyarrow.ipc.open_file(shell.folder / "bars.arrow") as file:
        of_arrow = file.read_all().to_pylist()
    assert of_json[0]["open_time"] == "2024-06-08T00:00:00.000000Z"
    assert of_csv[0]["open_time"] == "2024-06-08 00:00:00+00"
    assert len(of_csv) == 24
    closes = [row["close"] for row in of_parquet]
    assert closes == [row["close"] for row in of_arrow] == [row["close"] for row in of_json]
    assert closes == [float(row["close"]) for row in of_csv]
    assert [row["open_time"] for row in of_parquet] == [row["open_time"] for row in of_arrow]


def test_a_format_wins_over_the_ending(shell: Shell) -> None:
    shell.out("sql", "SELECT 1 AS a", "-f", "json", "-o", "a.csv")
    assert json.loads((shell.folder / "a.csv").read_text()) == [{"a": 1}]


@pytest.mark.parametrize(("format_", "start"), [("parquet", b"PAR1"), ("arrow", b"ARROW1"), ("json", b"[")])
def test_bytes_go_to_a_pipe(shell: Shell, format_: str, start: bytes) -> None:
    assert shell.run("sql", "SELECT 1 AS a", "-f", format_).stdout.startswith(start)


def test_a_reader_that_had_enough_is_no_error_to_speak_of(shell: Shell) -> None:
    with shell.start("sql", "FROM range(1_000_000)", "-f", "csv") as process:
        assert process.stdout
        assert process.stdout.readline() == b"range\n"
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == b""


def test_bytes_do_not_go_to_a_terminal(shell: Shell) -> None:
    status, shown = on_terminal(shell, "sql", "SELECT 1", "-f", "parquet")
    assert status == 2
    assert "not for a terminal" in shown


def test_sql_comes_from_stdin_or_a_file_too(shell: Shell) -> None:
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


def test_sql_works_in_a_database_file_and_writes_no_names_into_it(shell: Shell) -> None:
    shell.out("sql", f"CREATE TABLE week AS FROM {WEEK}", "--database", "own.duckdb")
    with duckdb.connect(shell.folder / "own.duckdb", read_only=True) as con:
        assert con.execute("SELECT count(*) FROM week").fetchall() == [(BARS_OF_WEEK,)]
        assert con.execute("SELECT count(*) FROM duckdb_views() WHERE view_name LIKE 'ckvd%'").fetchall() == [(0,)]


def test_a_failed_query_leaves_the_output_file_as_it_was(shell: Shell, exchange: Sandbox) -> None:
    (shell.folder / "bars.csv").write_text("before")
    exchange.add(Fault(path="2024-06-12|startTime=17181", kind="status", status=503))
    said = shell.error("sql", f"FROM {WEEK}", "-o", "bars.csv")
    assert "Error: ProviderUnavailableError: " in said
    assert (shell.folder / "bars.csv").read_text() == "before"
    assert [path.name for path in shell.folder.iterdir() if path.name.startswith(".")] == []


def test_an_output_may_be_a_link_or_a_named_pipe_and_stays_one(shell: Shell) -> None:
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


def test_a_dash_is_stdout(shell: Shell) -> None:
    assert shell.out("sql", "SELECT 1 AS a", "-f", "csv", "-o", "-") == "a\n1\n"


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["sql", "FROM ckvd_klines('btc', '1h', '2024-06-01')"], 1, "Error: InvalidSymbolError: symbol 'btc'"),
        (["sql", "FROM ckvd_klines('NOPEUSDT', '1h', '2024-06-01')"], 1, "Error: InvalidSymbolError: symbol 'NOPE"),
        (["sql", "--no-fetch", "FROM ckvd_klines('NOPEUSDT', '1h', '2024-06-01')"], 1, "Error: InvalidSymbolError: "),
        (["sql", "--offline", f"FROM {WEEK}"], 1, "Error: OfflineError: "),
        (["fetch", "BTCUSDT", "--start", "2024-06-01", "--interval", "7h"], 1, "Error: InvalidIntervalError: "),
        (["fetch", "BTCUSDT", "--start", "soon"], 1, "Error: InvalidTimeError: start 'soon'"),
        (["plan", "BTCUSDT", "--start", "2024-06-01", "--market", "x"], 1, "Error: InvalidMarketError: market 'x'"),
        (["sandbox", "--now", "soon"], 1, "Error: InvalidTimeError: now 'soon'"),
        (["sandbox", "--replay", "."], 1, "Error: the sandbox can't start: "),
    ],
)
def test_an_error_is_one_plain_line(shell: Shell, words: Sequence[str], status: int, sentence: str) -> None:
    said = shell.error(*words, status=status)
    assert said.startswith(sentence)
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["fetch", "BTCUSDT"],
        ["fetch", "--start", "2024-01-01"],
        ["sql", "SELECT 1", "-o", "bars.xlsx"],
        ["sql", "SELECT 1", "-o", "nowhere/bars.csv"],
        ["sql", "SELECT 1", "-f", "xml"],
        ["nonsense"],
    ],
)
def test_bad_usage_is_status_2(shell: Shell, words: Sequence[str]) -> None:
    assert "Usage: ckvd" in shell.error(*words, status=2)


def test_an_error_of_a_process_is_no_traceback(shell: Shell) -> None:
    with shell.start("sql", "FROM ckvd_klines('btc', '1h', '2024-06-01')") as process:
        out, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, b"")
    assert said.startswith(b"Error: InvalidSymbolError: ")
    assert said.count(b"\n") == 1


def test_an_error_of_duckdb_keeps_its_own_words(shell: Shell) -> None:
    assert shell.error("sql", "SELEC 1").startswith('Error: Parser Error: syntax error at or near "SELEC"')


def test_a_bad_setting_is_said(shell: Shell) -> None:
    assert shell.error("plan", "BTCUSDT", "--start", "2024-06-01", CKVD_TIMEOUT="x").startswith(
        "Error: SettingsError: "
    )


def test_a_warning_is_one_line_on_stderr(shell: Shell) -> None:
    shell.out("fetch", "BTCUSDT", "--start", "2024-06-12", "--end", "2024-06-13")
    shell.cached()[0].write_bytes(b"torn")
    done = shell.run("sql", "SELECT count(*) AS n FROM ckvd_klines('BTCUSDT', '1h', '2024-06-12', '2024-06-13')")
    assert done.returncode == 0
    said = done.stderr.decode().splitlines()
    assert len(said) == 1
    assert said[0].startswith("warning: day file ")


# --- what a statement is fetched for


def found(statement: str) -> list[tuple[tuple[str, ...], str, str]]:
    queries = find_queries(statement, parse_time(NOW, "now"))
    return [(query.symbols, query.interval.name, query.market.value) for query in queries]


BTC = (("BTCUSDT",), "1h", "spot")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (f"SELECT * FROM {WEEK}", [BTC]),
        ("FROM CKVD_KLINES('BTCUSDT', '1h', DATE '2024-06-08', TIMESTAMP '2024-06-09 12:00')", [BTC]),
        ("FROM ckvd_klines('BTCUSDT', '1h', now() - INTERVAL 3000 DAY)", [BTC]),
        (
            "FROM ckvd_klines(['BTCUSDT', 'ETHUSDT'], '1d', '2024-06-08'::DATE, market := 'um')",
            [(("BTCUSDT", "ETHUSDT"), "1d", "um")],
        ),
        ("FROM ckvd_klines(symbol := 'BTCUSDT', interval => '1h', \"start\" := '2024-06-08')", [BTC]),
        (f"WITH a AS (FROM {WEEK}) SELECT * FROM a JOIN ckvd_gaps('BTCUSDT', '1h', '2024-06-08') ON true", [BTC, BTC]),
        (f"SELECT max(close) FROM {WEEK} a JOIN {WEEK} b ON a.open_time = b.open_time WHERE a.volume > 9", [BTC, BTC]),
        (f"CREATE TABLE t AS SELECT (SELECT count(*) FROM {WEEK})", [BTC]),
        (f"COPY (FROM {WEEK}) TO 'bars.csv'", [BTC]),
        (f"FROM {WEEK} LIMIT 5", []),
        (f"FROM {WEEK} WHERE open_time > '2024-06-10'", []),
        (f"SELECT source, count(*) FROM {WEEK} GROUP BY ALL", []),
        (f"CREATE VIEW v AS FROM {WEEK}", []),
        (f"EXPLAIN FROM {WEEK}", []),
        (f"DESCRIBE FROM {WEEK}", []),
        (f"SELECT 'FROM {WEEK.replace(chr(39), '')}' AS text", []),
        ("FROM ckvd_klines(getvariable('symbol'), '1h', '2024-06-08')", []),
        ("FROM ckvd_klines($1, '1h', '2024-06-08')", []),
        ("FROM ckvd_klines('btcusdt', '1h', '2024-06-08')", []),
        ("FROM ckvd_klines('BTCUSDT')", []),
        ("FROM ckvd_klines('BTCUSDT', '1h', ", []),
    ],
)
def test_a_statement_is_fetched_for_where_it_plainly_reads_every_day(
    statement: str, expected: list[tuple[tuple[str, ...], str, str]]
) -> None:
    assert found(statement) == expected


def test_what_a_statement_lacks_is_fetched_before_it_runs(shell: Shell) -> None:
    sources = f"SELECT DISTINCT b.source FROM (SELECT source FROM {WEEK}) b ORDER BY ALL"
    assert shell.out("sql", f"SELECT count(*) AS n FROM {WEEK}; {sources}", "-f", "csv") == "source\ncache\nrest\n"


def test_a_limit_fetches_only_what_it_needs(shell: Shell) -> None:
    shell.out("sql", "FROM ckvd_klines('BTCUSDT', '1h', '2023-01-01') LIMIT 1")
    assert len(shell.cached()) < 200


def test_a_terminal_sees_progress_and_a_pipe_does_not(shell: Shell) -> None:
    status, shown = on_terminal(shell, "sql", f"SELECT count(*) AS n FROM {WEEK}")
    assert status == 0
    assert "BTCUSDT" in shown
    assert "7/7" in shown
    with shell.start("sql", "FROM ckvd_klines('ETHUSDT', '1h', '2024-06-08')") as process:
        assert process.communicate(timeout=PATIENCE)[1] == b""


# --- fetch


def test_fetch_says_where_each_day_came_from_and_goes_on_from_there(shell: Shell, exchange: Sandbox) -> None:
    words = ("fetch", "BTCUSDT", "ETHUSDT", "--interval", "1h", "--start", "2024-06-08")
    assert rows_of(shell.out(*words)) == [["BTCUSDT", "0", "7", "1", "0", "0"], ["ETHUSDT", "0", "7", "1", "0", "0"]]
    exchange.forget()
    assert rows_of(shell.out(*words)) == [["BTCUSDT", "7", "0", "1", "0", "0"], ["ETHUSDT", "7", "0", "1", "0", "0"]]
    assert all(request.path.startswith("/api/") for request in exchange.requests)


def test_fetch_takes_futures_and_days_before_the_listing(shell: Shell) -> None:
    words = ("fetch", "BTCUSD_PERP", "--market", "cm", "--interval", "1d", "--start", "2020-08-08", "--end")
    assert rows_of(shell.out(*words, "2020-08-12")) == [["BTCUSD_PERP", "0", "2", "0", "2", "0"]]


def test_a_day_that_fails_is_named_and_the_others_are_fetched(shell: Shell, exchange: Sandbox) -> None:
    exchange.add(Fault(path=r"ETHUSDT", kind="status", status=503))
    done = shell.run("fetch", "ETHUSDT", "BTCUSDT", "--start", "2024-06-10", "--end", "2024-06-12")
    assert done.returncode == 1
    assert rows_of(done.stdout.decode()) == [
        ["ETHUSDT", "0", "0", "0", "0", "2"],
        ["BTCUSDT", "0", "2", "0", "0", "0"],
    ]
    failed = [line for line in done.stderr.decode().splitlines() if line.startswith("failed: ")]
    assert len(failed) == 1
    assert failed[0].startswith("failed: ETHUSDT 2024-06-10 to 2024-06-11: ProviderUnavailableError: ")


def test_fetch_shows_a_bar_per_symbol_on_a_terminal(shell: Shell) -> None:
    status, shown = on_terminal(shell, "fetch", "BTCUSDT", "ETHUSDT", "--start", "2024-06-10")
    assert status == 0
    assert shown.count("6/6") >= 2
    assert shown.index("6/6") < shown.index("SYMBOL")


def test_a_warning_stands_on_a_line_of_its_own_above_the_bar(shell: Shell, exchange: Sandbox) -> None:
    exchange.add(Fault(path=r"2024-06-12\.zip$", kind="status", status=503))
    status, shown = on_terminal(shell, "fetch", "BTCUSDT", "--start", "2024-06-10")
    assert status == 0
    assert "\r\x1b[2Kwarning: " in shown


@pytest.mark.parametrize(
    "words",
    [
        ["fetch", "BTCUSDT", "--interval", "1h", "--start", "2024-04-10"],
        ["sql", "SELECT count(*) FROM ckvd_klines('BTCUSDT', '1h', '2024-04-10')"],
        ["sql", "--no-fetch", "FROM ckvd_klines('BTCUSDT', '1h', '2024-04-10')", "-o", "bars.csv"],
    ],
    ids=["fetch", "sql, beforehand", "sql, while it runs"],
)
def test_ctrl_c_ends_a_slow_fetch_and_leaves_the_cache_sound(
    shell: Shell, exchange: Sandbox, words: Sequence[str]
) -> None:
    exchange.add(Fault(path=r"2024-0[56].*\.zip$", kind="latency", seconds=PATIENCE))
    status, said = interrupt(shell, *words)
    assert (status, said) == (130, "interrupted; what was fetched is kept, the same command goes on from there\n")
    store = DayStore(shell.cache)
    kept = [(series, day) for series in store.series() for day in store.days(series)]
    assert kept
    assert all(store.read(series, day).num_rows == 24 for series, day in kept)
    assert not list(shell.folder.glob("*bars*"))
    exchange.clear_faults()
    before = len(kept)
    row = rows_of(shell.out("fetch", "BTCUSDT", "--interval", "1h", "--start", "2024-04-10"))[0]
    assert row == ["BTCUSDT", str(before), str(66 - before), "1", "0", "0"]


def test_ctrl_c_gives_the_terminal_its_cursor_back(shell: Shell, exchange: Sandbox) -> None:
    exchange.add(Fault(path=r"\.zip$", kind="latency", seconds=PATIENCE))
    ours, theirs = pty.openpty()
    process = shell.start("fetch", "BTCUSDT", "--start", "2024-06-01", out=theirs, err=theirs)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            if b"0/15" in piece and b"0/15" not in shown:
                process.send_signal(signal.SIGINT)
            shown += piece
    except OSError:
        pass
    os.close(ours)
    assert process.wait(PATIENCE) == 130
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")


# --- plan and cache


def test_plan_groups_days_of_one_source_and_asks_nobody(shell: Shell, exchange: Sandbox) -> None:
    shell.out("fetch", "BTCUSDT", "--start", "2024-06-12", "--end", "2024-06-14")
    exchange.forget()
    shown = shell.out("plan", "BTCUSDT", "--start", "2024-06-10")
    assert [" ".join(row) for row in rows_of(shown)] == [
        "BTCUSDT 2024-06-10 to 2024-06-11 2 vision",
        "BTCUSDT 2024-06-12 to 2024-06-13 2 cache",
        "BTCUSDT 2024-06-14 1 vision",
        "BTCUSDT 2024-06-15 1 rest",
    ]
    assert exchange.requests == ()


def test_plan_lists_every_day_as_text_csv_and_json(shell: Shell) -> None:
    words = ("plan", "BTCUSDT", "--start", "2024-06-14")
    expected = [["BTCUSDT", "2024-06-14", "vision"], ["BTCUSDT", "2024-06-15", "rest"]]
    assert rows_of(shell.out(*words, "--days")) == expected
    assert [list(row) for row in csv.reader(io.StringIO(shell.out(*words, "-f", "csv")))][1:] == expected
    assert [list(row.values()) for row in json.loads(shell.out(*words, "-f", "json"))] == expected


def test_a_range_in_the_future_has_no_days(shell: Shell) -> None:
    assert "no days" in shell.out("plan", "BTCUSDT", "--start", "2030-01-01")


def test_cache_shows_each_series_and_the_total(shell: Shell) -> None:
    assert "nothing is cached" in shell.out("cache")
    assert json.loads(shell.out("cache", "--json")) == []
    shell.out("fetch", "BTCUSDT", "--interval", "1d", "--start", "2024-06-12", "--end", "2024-06-14")
    shell.out("fetch", "BTCUSDT", "--market", "um", "--start", "2024-06-12", "--end", "2024-06-13")
    records = json.loads(shell.out("cache", "--json"))
    size = sum(path.stat().st_size for path in shell.cached())
    assert [list(one.values())[:-1] for one in records] == [
        ["spot", "BTCUSDT", "1d", "2024-06-12", "2024-06-13", 2],
        ["um", "BTCUSDT", "1h", "2024-06-12", "2024-06-12", 1],
    ]
    assert sum(one["bytes"] for one in records) == size
    shown = shell.out("cache")
    assert rows_of(shown)[0][:6] == ["spot", "BTCUSDT", "1d", "2024-06-12", "2024-06-13", "2"]
    assert f"2 series, 3 days, {human_size(size)} in {shell.cache}" in shown


def test_a_cache_folder_can_be_named(shell: Shell) -> None:
    shell.out("fetch", "BTCUSDT", "--start", "2024-06-12", "--end", "2024-06-13", "--cache-dir", "other")
    assert shell.cached() == []
    assert "1 series" in shell.out("cache", "--cache-dir", "other")


def test_sizes_are_told_in_units() -> None:
    assert [human_size(size) for size in (0, 1023, 1024, 5 << 20)] == ["0 B", "1023 B", "1.0 KiB", "5.0 MiB"]


# --- sandbox, demo, help


def test_the_sandbox_prints_what_to_paste_and_serves_until_ctrl_c(shell: Shell) -> None:
    with shell.start("sandbox", "--now", "2024-03-01T06:00") as process:
        assert process.stdout
        lines = [process.stdout.readline().decode().rstrip() for _ in range(7)]
        exports = dict(line.removeprefix("export ").split("=", 1) for line in lines[1:])
        assert exports["CKVD_NOW"] == "2024-03-01T06:00:00+00:00"
        assert exports.pop("CKVD_CACHE_DIR") == '"$(mktemp -d)"'
        done = shell.run("fetch", "BTCUSDT", "--start", "2024-02-28", **exports)
        assert rows_of(done.stdout.decode()) == [["BTCUSDT", "0", "2", "1", "0", "0"]]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert process.stderr
        assert process.stderr.read() == b""


def test_the_demo_goes_through_archive_rest_and_cache(shell: Shell) -> None:
    shown = shell.out("demo")
    before, first, after, again = (shown.index(text) for text in ("before:", "bars in", "after:", "again:"))
    assert "vision" in shown[before:first]
    assert all(source in shown[first:after] for source in ("vision", "rest"))
    assert "cache" in shown[after:again]
    assert "0 requests to the archive and 0 to REST" in shown[again:]
    assert shell.cached() == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(shell: Shell, command: str) -> None:
    shown = shell.out(command, "-h")
    assert shown.startswith(f"Usage: ckvd {command}")
    assert f"\n    ckvd {command}" in shown


def test_help_lists_the_commands_in_the_order_of_their_use(shell: Shell) -> None:
    shown = shell.out("--help")
    places = [shown.index(f"\n  {command} ") for command in COMMANDS]
    assert all(one < other for one, other in pairwise(places))
    assert tuple(main.commands) == COMMANDS


def test_the_version_is_the_installed_one(shell: Shell) -> None:
    try:
        installed = version("ckvd-sql")
    except PackageNotFoundError:
        pytest.skip("ckvd-sql runs from its folder, uninstalled")
    assert shell.out("--version") == f"ckvd, version {installed}\n"


def test_cache_verify_finds_a_damaged_value_and_refresh_mends_it(shell: Shell) -> None:
    shell.run("fetch", "BTCUSDT", "--start", "2024-06-01", "--end", "2024-06-04")
    assert "3 days read, 0 not as they should be" in shell.out("cache", "verify")
    file = shell.cached()[1]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    found = shell.run("cache", "verify")
    assert found.returncode == 1
    assert f"BTCUSDT 1h (spot) {file.stem}: " in found.stdout.decode()
    assert f"{file.stem}: 1 bars changed" in shell.out("cache", "refresh")
    assert "3 days read, 0 not as they should be" in shell.out("cache", "verify", "--remote")


def test_cache_verify_remote_needs_the_network(shell: Shell) -> None:
    shell.run("fetch", "BTCUSDT", "--start", "2024-06-01", "--end", "2024-06-02")
    assert "OfflineError" in shell.error("cache", "verify", "--remote", "--offline")
