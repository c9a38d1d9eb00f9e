"""`ckvd symbols`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.shell import Shell


def test_the_symbols_that_match_are_listed_with_their_status(shell: Shell) -> None:
    listed = json.loads(shell.out("symbols", "luna*", "-f", "json"))
    assert [(one["symbol"], one["quote"], one["status"]) for one in listed] == [("LUNAUSDT", "USDT", "BREAK")]


def test_a_quote_asset_restricts_the_list(shell: Shell) -> None:
    lines = shell.out("symbols", "--quote", "usdt", "-f", "csv").splitlines()
    assert len(lines) > 3
    assert all(line.split(",")[2] == "USDT" for line in lines[1:])


def test_an_unknown_market_is_one_line_on_stderr(shell: Shell) -> None:
    assert "did you mean 'um'" in shell.error("symbols", "--market", "futures", status=1)
