"""`ckvd fetch`: its report, its progress bar and Ctrl-C."""

from __future__ import annotations

import os
import pty
import signal
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.cache.store import DayStore
from ckvd_sql.sandbox import Fault, Sandbox
from tests.support.shell import PATIENCE, Shell, interrupt, on_terminal, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_fetch_prints_the_source_of_each_day_and_uses_the_cache_the_next_time(shell: Shell, exchange: Sandbox) -> None:
    arguments = ("fetch", "BTCUSDT", "ETHUSDT", "--interval", "1h", "--start", "2024-06-08")
    assert rows_of(shell.out(*arguments)) == [
        ["BTCUSDT", "0", "7", "1", "0", "0"],
        ["ETHUSDT", "0", "7", "1", "0", "0"],
    ]
    exchange.forget()
    assert rows_of(shell.out(*arguments)) == [
        ["BTCUSDT", "7", "0", "1", "0", "0"],
        ["ETHUSDT", "7", "0", "1", "0", "0"],
    ]
    assert all(request.path.startswith("/api/") for request in exchange.requests)


def test_fetch_accepts_futures_and_days_before_the_listing(shell: Shell) -> None:
    arguments = ("fetch", "BTCUSD_PERP", "--market", "cm", "--interval", "1d", "--start", "2020-08-08", "--end")
    assert rows_of(shell.out(*arguments, "2020-08-12")) == [["BTCUSD_PERP", "0", "2", "0", "2", "0"]]


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


def test_fetch_shows_one_bar_for_all_symbols_on_a_terminal(shell: Shell) -> None:
    status, shown = on_terminal(shell, "fetch", "BTCUSDT", "ETHUSDT", "--start", "2024-06-10")
    assert status == 0
    assert "12/12" in shown
    assert shown.index("12/12") < shown.index("SYMBOL")


def test_a_warning_is_printed_on_a_line_above_the_progress_bar(shell: Shell, exchange: Sandbox) -> None:
    exchange.add(Fault(path=r"2024-06-12\.zip$", kind="status", status=503))
    status, shown = on_terminal(shell, "fetch", "BTCUSDT", "--start", "2024-06-10")
    assert status == 0
    assert "\r\x1b[2Kwarning: " in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["fetch", "BTCUSDT", "--interval", "1h", "--start", "2024-04-10"],
        ["sql", "SELECT count(*) FROM ckvd_klines('BTCUSDT', '1h', '2024-04-10')"],
        ["sql", "--no-fetch", "FROM ckvd_klines('BTCUSDT', '1h', '2024-04-10')", "-o", "bars.csv"],
    ],
    ids=["fetch", "sql, in advance", "sql, while it runs"],
)
def test_ctrl_c_ends_a_slow_fetch_and_leaves_the_cache_valid(
    shell: Shell, exchange: Sandbox, arguments: Sequence[str]
) -> None:
    exchange.add(Fault(path=r"2024-0[56].*\.zip$", kind="latency", seconds=PATIENCE))
    status, errors = interrupt(shell, *arguments)
    assert (status, errors) == (
        130,
        "interrupted; fetched days are cached, and the same command continues from there\n",
    )
    store = DayStore(shell.cache)
    cached = [(series, day) for series in store.series() for day in store.days(series)]
    assert cached
    assert all(store.read(series, day).rows.num_rows == 24 for series, day in cached)
    assert not list(shell.folder.glob("*bars*"))
    exchange.clear_faults()
    before = len(cached)
    row = rows_of(shell.out("fetch", "BTCUSDT", "--interval", "1h", "--start", "2024-04-10"))[0]
    assert row == ["BTCUSDT", str(before), str(66 - before), "1", "0", "0"]


def test_ctrl_c_restores_the_cursor_of_the_terminal(shell: Shell, exchange: Sandbox) -> None:
    exchange.add(Fault(path=r"\.zip$", kind="latency", seconds=PATIENCE))
    parent_end, child_end = pty.openpty()
    process = shell.start("fetch", "BTCUSDT", "--start", "2024-06-01", out=child_end, err=child_end)
    os.close(child_end)
    shown = b""
    try:
        while piece := os.read(parent_end, 65536):
            if b"0/15" in piece and b"0/15" not in shown:
                process.send_signal(signal.SIGINT)
            shown += piece
    except OSError:
        pass
    os.close(parent_end)
    assert process.wait(PATIENCE) == 130
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")
