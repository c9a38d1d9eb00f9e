"""Runs `ckvd` against the sandbox, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from click.testing import CliRunner

import ckvd_sql
from ckvd_sql.cli.main import main

if TYPE_CHECKING:
    from ckvd_sql.sandbox import Sandbox

NOW = "2024-06-15T12:00:00"
WEEK = "ckvd_klines('BTCUSDT', '1h', '2024-06-08')"
BARS_OF_WEEK = 7 * 24 + 12
PATIENCE = 60

Done = subprocess.CompletedProcess[bytes]


class Shell:
    """Runs `ckvd` commands with an own cache and the sandbox as the exchange."""

    def __init__(self, exchange: Sandbox, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("CKVD_")}
        self.env |= {f"CKVD_{name.upper()}": value for name, value in exchange.settings.items()}
        self.env |= {"CKVD_CACHE_DIR": str(self.cache), "CKVD_RETRIES": "0", "TERM": "xterm", "COLUMNS": "100"}
        self.env |= {"PYTHONPATH": str(Path(ckvd_sql.__file__).parents[1])}

    def start(self, *arguments: str, out: int = subprocess.PIPE, err: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        """Start a command in its own process, for tests of pipes, terminals and signals."""
        command = [sys.executable, "-m", "ckvd_sql.cli", *arguments]
        return subprocess.Popen(
            command, env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )

    def run(self, *arguments: str, text: str = "", **env: str) -> Done:
        """Run a command in this process, with this text on stdin."""
        with contextlib.chdir(self.folder):
            ran = CliRunner().invoke(main, arguments, input=text, env=self.env | env, prog_name="ckvd")
        if ran.exception and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        return Done(arguments, ran.exit_code, ran.stdout_bytes, ran.stderr_bytes)

    def out(self, *arguments: str, text: str = "") -> str:
        """The stdout of a command that must succeed without a warning."""
        done = self.run(*arguments, text=text)
        assert (done.returncode, done.stderr.decode()) == (0, "")
        return done.stdout.decode()

    def error(self, *arguments: str, status: int = 1, **env: str) -> str:
        """The stderr of a command that must fail with this status."""
        done = self.run(*arguments, **env)
        assert done.returncode == status, done
        return done.stderr.decode()

    def cached(self) -> list[Path]:
        """The day files."""
        return sorted(self.cache.rglob("*.arrow"))


def on_terminal(shell: Shell, *arguments: str) -> tuple[int, str]:
    """Run a command on a pseudo-terminal; its exit status and output."""
    parent_end, child_end = pty.openpty()
    process = shell.start(*arguments, out=child_end, err=child_end)
    os.close(child_end)
    shown = b""
    try:
        while piece := os.read(parent_end, 65536):
            shown += piece
    except OSError:  # Linux raises it when the other end is closed
        pass
    os.close(parent_end)
    return process.wait(PATIENCE), shown.decode()


def interrupt(shell: Shell, *arguments: str) -> tuple[int, str]:
    """Send Ctrl-C to a command once it has cached a day; its exit status and stderr."""
    process = shell.start(*arguments)
    deadline = time.monotonic() + PATIENCE
    while not shell.cached() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, errors.decode()


def rows_of(table: str) -> list[list[str]]:
    """The cells of a table of plain columns, without its header."""
    return [line.split() for line in table.splitlines()[1:]]
