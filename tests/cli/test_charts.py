"""`ckvd chart` and `ckvd view`."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import httpx

from tests.support.shell import PATIENCE

if TYPE_CHECKING:
    from tests.support.shell import Shell


def test_chart_draws_candles(shell: Shell) -> None:
    shown = shell.out("chart", "btcusdt", "--start", "2024-05-01", "--end", "2024-06-01")
    assert "BTCUSDT 1d (spot), UTC" in shown
    assert "█" in shown


def test_chart_says_that_there_are_no_bars(shell: Shell) -> None:
    assert "there are no bars" in shell.error("chart", "SOLUSDT", "--start", "2019-01-01", "--end", "2019-02-01")


def test_view_prints_its_address_first_serves_and_ends_with_ctrl_c(shell: Shell) -> None:
    with shell.start("view", "ETHUSDT", "--no-browser") as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        assert httpx.get(f"{url}api/start").json()["symbol"] == "ETHUSDT"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert b"Traceback" not in errors


def test_view_refuses_a_symbol_that_is_none(shell: Shell) -> None:
    assert "InvalidSymbolError" in shell.error("view", "BTC USDT", "--no-browser")
