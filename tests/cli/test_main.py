"""The help and version of `ckvd`, and the commands `ckvd sandbox` and `ckvd demo`."""

from __future__ import annotations

import signal
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise

import pytest

from ckvd_sql.cli.main import main
from tests.support.shell import PATIENCE, Shell, rows_of

COMMANDS = ("sql", "fetch", "plan", "symbols", "audit", "cache", "shell", "view", "chart", "sandbox", "demo")


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


def test_the_demo_uses_archive_rest_and_cache(shell: Shell) -> None:
    shown = shell.out("demo")
    before, first, after, again = (shown.index(text) for text in ("before:", "bars in", "after:", "again:"))
    assert "vision" in shown[before:first]
    assert all(source in shown[first:after] for source in ("vision", "rest"))
    assert "cache" in shown[after:again]
    assert "0 requests to the archive and 0 to REST" in shown[again:]
    assert shell.cached() == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example(shell: Shell, command: str) -> None:
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
