"""Inputs for fuzz tests: any JSON value, and a valid day as rows, CSV, JSON and zip, with random changes."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from hypothesis import strategies as st

from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import DAY, day_start
from ckvd_sql.market.series import INTERVALS, Market, Series
from ckvd_sql.sandbox import market_bars
from tests.support.bars import csv_text, zipped
from tests.support.examples import thorough, tries

EXAMPLES = tries(60)
fuzz = thorough(EXAMPLES)


SERIES = Series(Market.SPOT, "BTCUSDT", INTERVALS["1h"])
DATE = date(2024, 1, 2)
START = day_start(DATE)
NOW = parse_time("2024-06-15T12:00:30", "now")
URL = "http://127.0.0.1/fuzzed"
ROWS = [list(row) for row in market_bars(SERIES, START, START + DAY, NOW)]
CSV = csv_text(ROWS)
JSON = json.dumps(ROWS).encode()
MEMBER = f"{SERIES.archive_stem(DATE)}.csv"
ZIP = zipped(MEMBER, CSV)


#: Cells that a parser may misread.
CELLS = st.one_of(
    st.sampled_from(
        [
            "",
            "nan",
            "-nan",
            "inf",
            "-inf",
            "1e309",
            "1e-400",
            "0x10",
            "+1",
            " 1",
            "1 ",
            "\u0661",
            "null",
            "None",
            "-0",
            "1_0",
        ]
    ),
    st.sampled_from(['"', '""', '"a', ",", "\n", "\r", "\x00", "\ufeff", "9" * 30, "-9223372036854775808", "1.5.2"]),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(repr),
    st.text(max_size=6),
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["BTCUSDT", "1h", "1M", "now", "2024-01-01", "spot", "../x", "a/b", "\x00", "0001-01-01", "9999-12-31"]
    ),
    st.datetimes().map(str),
    st.dates().map(str),
)

#: Any JSON value.
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def edited(draw: st.DrawFn, original: bytes) -> bytes:
    """The bytes with some changed, deleted, duplicated or inserted."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        much = draw(st.integers(1, 200))
        match draw(st.sampled_from(["flip", "flip", "set", "cut", "double", "insert", "truncate"])):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "set" if data:
                data[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 10, 44]))
            case "cut":
                del data[at : at + much]
            case "double":
                data[at:at] = data[at : at + much]
            case "insert":
                data[at:at] = draw(st.binary(max_size=20))
            case "truncate":
                del data[at:]
    return bytes(data)


@st.composite
def rows_with_invalid_cells(draw: st.DrawFn) -> list[list[Any]]:
    """A day's rows with some cells replaced, and some rows reversed, duplicated, truncated or extended."""
    rows = [list(row) for row in ROWS[: draw(st.integers(1, 6))]]
    for _ in range(draw(st.integers(0, 4))):
        row = rows[draw(st.integers(0, len(rows) - 1))]
        at = draw(st.integers(0, len(row)))
        match draw(st.sampled_from(["cell", "cell", "shift", "drop", "add", "double", "swap"])):
            case "cell":
                row[at : at + 1] = [draw(CELLS)]
            case "shift":
                row[0] = int(ROWS[0][0]) + draw(st.integers(-(2 * DAY), 2 * DAY))
            case "drop":
                del row[at:]
            case "add":
                row.append(draw(CELLS))
            case "double":
                rows.append(list(row))
            case "swap":
                rows.reverse()
        if not row:
            rows.remove(row)
            rows.append(list(ROWS[0]))
    return rows
