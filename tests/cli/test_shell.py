"""`ckvd shell`: statements and dot commands, at a prompt on a terminal and from stdin."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Self

from tests.support.shell import PATIENCE

if TYPE_CHECKING:
    from ckvd_sql.sandbox import Sandbox
    from tests.support.shell import Shell

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r")


class Terminal:
    """`ckvd shell` on a pseudo-terminal."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.shown = ""

    def __enter__(self) -> Self:
        self._ours, theirs = pty.openpty()
        environment = {
            **self._shell.env,
            "XDG_STATE_HOME": str(self._shell.folder / "state"),
            "PROMPT_TOOLKIT_NO_CPR": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ckvd_sql.cli", "shell"],
            stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=self._shell.folder, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        os.set_blocking(self._ours, False)
        self.wait_for("ckvd>")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)
        os.close(self._ours)

    def type(self, text: str, expected: str) -> str:
        """Type something, and wait until a text is shown after it; what was shown until then."""
        self.shown = ""
        os.write(self._ours, text.encode())
        return self.wait_for(expected)

    def run(self, statement: str) -> str:
        """Run a statement and wait for the prompt below its table: what is typed before would be lost."""
        self.type(f"{statement}\r", "└")
        return self.wait_for("ckvd>", after="└")

    def wait_for(self, expected: str, *, after: str = "") -> str:
        """Wait until a text is shown, below another one."""
        deadline = time.monotonic() + PATIENCE
        while expected not in self.shown.rpartition(after)[2] if after else expected not in self.shown:
            assert time.monotonic() < deadline, self.shown
            try:
                self.shown += ESCAPES.sub("", os.read(self._ours, 65536).decode(errors="replace"))
            except BlockingIOError:
                time.sleep(0.02)
        return self.shown

    def interrupt(self) -> None:
        """Send what Ctrl-C sends while a statement runs."""
        self._process.send_signal(signal.SIGINT)

    def leave(self) -> int:
        """Type Ctrl-D; the exit status."""
        os.write(self._ours, b"\x04")
        return self._process.wait(PATIENCE)


def test_statements_from_stdin_run_one_after_the_other(shell: Shell) -> None:
    text = "CREATE TABLE t AS SELECT 1 AS a;\n.mode csv\nSELECT a + 1 AS b\nFROM t;\nSELECT count(*) AS n FROM t"
    assert shell.out("shell", text=text) == "b\n2\nn\n1\n"


def test_an_error_in_stdin_is_one_line_and_the_others_run(shell: Shell) -> None:
    done = shell.run(
        "shell", text=".mode csv\nFROM ckvd_klines('BTCUSDT', '7m', '2024-01-01');\n.nothing\nSELECT 3 AS c;\n"
    )
    first, second = done.stderr.decode().splitlines()
    assert first.startswith("Error: InvalidIntervalError: interval '7m'")
    assert second == "Error: there is no .nothing; .help lists the commands"
    assert (done.stdout, done.returncode) == (b"c\n3\n", 1)


def test_plan_and_gaps_of_a_call(shell: Shell, exchange: Sandbox) -> None:
    plan = shell.out("shell", text=".plan ckvd_klines('BTCUSDT', '1h', '2024-06-01', '2024-06-03')\n")
    assert plan.splitlines()[1].split() == ["BTCUSDT", "2024-06-01", "to", "2024-06-02", "2", "vision"]
    assert exchange.requests == ()
    gaps = shell.out("shell", text=".mode csv\n.gaps BTCUSDT 1h 2023-03-20 2023-03-27\n")
    assert gaps.splitlines()[1:] == ["BTCUSDT,2023-03-24 13:00:00+00,2023-03-24 14:00:00+00,1"]


def test_quit_ends_it_and_the_names_are_listed(shell: Shell) -> None:
    shown = shell.out("shell", text=".tables\n.quit\nSELECT 1;\n")
    assert "ckvd_klines(symbol, interval" in shown
    assert "ckvd_cache_days" in shown
    assert "│" not in shown


def test_a_prompt_runs_statements_of_several_lines_and_keeps_a_history(shell: Shell) -> None:
    with Terminal(shell) as terminal:
        terminal.type("SELECT 40 +\r", "...")
        assert "42" in terminal.run("2 AS answer;")
        assert terminal.leave() == 0
    with Terminal(shell) as terminal:
        assert "answer" in terminal.type("\x1b[A", "answer")


def test_a_prompt_completes_our_names(shell: Shell) -> None:
    with Terminal(shell) as terminal:
        terminal.type("SELECT count(*) FROM ckvd_cache_d\t", "ckvd_cache_days")


def test_ctrl_c_interrupts_a_statement_and_the_shell_goes_on(shell: Shell) -> None:
    with Terminal(shell) as terminal:
        terminal.type("SELECT 1 AS begun; SELECT count(*) FROM range(100_000_000_000) WHERE range % 3 = 5;\r", "└")
        terminal.interrupt()
        terminal.wait_for("ckvd>", after="interrupted")
        assert "7" in terminal.run("SELECT 3 + 4 AS seven;")
        assert terminal.leave() == 0
