"""Runs `ckvd`, in this process or in one of its own, with the sandbox as the exchange."""

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
