"""Commands whose output is read by another program, which may leave before its end."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.shell import PATIENCE, WEEK

if TYPE_CHECKING:
    from tests.support.shell import Shell

COMMANDS = [
    ["sql", "FROM range(1_000_000)", "-f", "csv"],
    ["sql", "FROM range(1_000_000)", "-f", "json"],
    ["sql", f"FROM {WEEK}"],
    ["plan", "BTCUSDT", "--start", "2017-09-01", "--days"],
    ["plan", "BTCUSDT", "--start", "2017-09-01", "-f", "json"],
    ["symbols"],
    ["cache"],
    ["sql", "--help"],
    [],
]


@pytest.mark.parametrize("reader", ["head -c 1", "true"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_reader_that_leaves_early_is_no_failure(shell: Shell, command: list[str], reader: str) -> None:
    line = (
        f"{shlex.join([sys.executable, '-m', 'ckvd_sql.cli', *command])} | {reader} >/dev/null; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", line], env=shell.env, cwd=shell.folder, capture_output=True, timeout=PATIENCE, check=True
    )
    assert (done.stdout, done.stderr) == (b"0\n", b"")


def test_without_arguments_the_help_is_shown(shell: Shell) -> None:
    assert shell.out() == shell.out("--help")
