"""Bars as Arrow batches: slices by time, and closed bars only."""

from __future__ import annotations

import json

from ckvd_sql.market.bars import closed_rows, rows_between
from ckvd_sql.market.periods import HOUR
from tests.support.bars import bars
from tests.support.rows import ROWS, START, rest_bars, values


def test_rows_between_cuts_a_half_open_range() -> None:
    batch = rest_bars(json.dumps(ROWS).encode(), "x")
    assert values(rows_between(batch, START + HOUR, START + 3 * HOUR)) == bars(ROWS[1:3])
    assert rows_between(batch, START + HOUR + 1, START + HOUR + 1).num_rows == 0
    assert rows_between(batch, START + 3 * HOUR, START).num_rows == 0


def test_a_bar_is_closed_once_its_close_time_has_passed() -> None:
    batch = rest_bars(json.dumps(ROWS).encode(), "x")
    assert closed_rows(batch, START + 2 * HOUR - 1).num_rows == 1
    assert closed_rows(batch, START + 2 * HOUR).num_rows == 2
