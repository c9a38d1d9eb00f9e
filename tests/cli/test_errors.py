"""Errors and warnings of the command line: one line each on stderr, and the exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.damage import writable
from tests.support.shell import PATIENCE, WEEK, Shell

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["sql", "FROM ckvd_klines('btc.', '1h', '2024-06-01')"], 1, "Error: InvalidSymbolError: symbol 'btc.'"),
        (["sql", "FROM ckvd_klines('NOPEUSDT', '1h', '2024-06-01')"], 1, "Error: InvalidSymbolError: symbol 'NOPE"),
        (["sql", "--no-fetch", "FROM ckvd_klines('NOPEUSDT', '1h', '2024-06-01')"], 1, "Error: InvalidSymbolError: "),
        (["sql", "FROM ckvd_klines('BTCUDST', '1d', '-7d')"], 1, "Error: InvalidSymbolError: symbol 'BTCUDST'"),
        (["sql", "--offline", f"FROM {WEEK}"], 1, "Error: OfflineError: "),
        (["fetch", "BTCUSDT", "--start", "2024-06-01", "--interval", "7h"], 1, "Error: InvalidIntervalError: "),
        (["fetch", "BTCUSDT", "--start", "soon"], 1, "Error: InvalidTimeError: start 'soon'"),
        (["plan", "BTCUSDT", "--start", "2024-06-01", "--market", "x"], 1, "Error: InvalidMarketError: market 'x'"),
        (["sandbox", "--now", "soon"], 1, "Error: InvalidTimeError: now 'soon'"),
        (["sandbox", "--replay", "."], 1, "Error: the sandbox can't start: "),
    ],
)
def test_an_error_is_one_line_on_stderr(shell: Shell, arguments: Sequence[str], status: int, sentence: str) -> None:
    errors = shell.error(*arguments, status=status)
    assert errors.startswith(sentence)
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["fetch", "BTCUSDT"],
        ["fetch", "--start", "2024-01-01"],
        ["sql", "SELECT 1", "-o", "bars.xlsx"],
        ["sql", "SELECT 1", "-o", "nowhere/bars.csv"],
        ["sql", "SELECT 1", "-f", "xml"],
        ["nonsense"],
    ],
)
def test_bad_usage_exits_with_status_2(shell: Shell, arguments: Sequence[str]) -> None:
    assert "Usage: ckvd" in shell.error(*arguments, status=2)


def test_a_process_prints_an_error_without_a_traceback(shell: Shell) -> None:
    with shell.start("sql", "FROM ckvd_klines('btc.', '1h', '2024-06-01')") as process:
        out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, b"")
    assert errors.startswith(b"Error: InvalidSymbolError: ")
    assert errors.count(b"\n") == 1


def test_an_error_of_duckdb_is_printed_unchanged(shell: Shell) -> None:
    assert shell.error("sql", "SELEC 1").startswith('Error: Parser Error: syntax error at or near "SELEC"')


def test_a_bad_setting_is_an_error(shell: Shell) -> None:
    assert shell.error("plan", "BTCUSDT", "--start", "2024-06-01", CKVD_TIMEOUT="x").startswith(
        "Error: SettingsError: "
    )


def test_a_warning_is_one_line_on_stderr(shell: Shell) -> None:
    shell.out("fetch", "BTCUSDT", "--start", "2024-06-12", "--end", "2024-06-13")
    writable(shell.cached()[0]).write_bytes(b"torn")
    done = shell.run("sql", "SELECT count(*) AS n FROM ckvd_klines('BTCUSDT', '1h', '2024-06-12', '2024-06-13')")
    assert done.returncode == 0
    errors = done.stderr.decode().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("warning: day file ")


@pytest.mark.parametrize(
    "command", [["sql", "FROM ckvd_klines('BTCUDST', '1d', '-7d')"], ["fetch", "BTCUDST", "--start", "-7d"]]
)
def test_an_unknown_symbol_is_said_with_the_one_that_may_be_meant(shell: Shell, command: list[str]) -> None:
    assert "did you mean 'BTCUSDT'" in shell.error(*command)
