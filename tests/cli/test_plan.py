"""`ckvd plan`: the source of each day."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

from tests.support.shell import Shell, rows_of

if TYPE_CHECKING:
    from ckvd_sql.sandbox import Sandbox


def test_plan_groups_days_of_one_source_and_sends_no_request(shell: Shell, exchange: Sandbox) -> None:
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
    arguments = ("plan", "BTCUSDT", "--start", "2024-06-14")
    expected = [["BTCUSDT", "2024-06-14", "vision"], ["BTCUSDT", "2024-06-15", "rest"]]
    assert rows_of(shell.out(*arguments, "--days")) == expected
    assert [list(row) for row in csv.reader(io.StringIO(shell.out(*arguments, "-f", "csv")))][1:] == expected
    assert [list(row.values()) for row in json.loads(shell.out(*arguments, "-f", "json"))] == expected


def test_a_range_in_the_future_has_no_days(shell: Shell) -> None:
    assert "no days" in shell.out("plan", "BTCUSDT", "--start", "2030-01-01")
