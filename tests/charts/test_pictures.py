"""Candles in a notebook and in the terminal."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import ckvd_sql
from ckvd_sql import InvalidArgumentError
from ckvd_sql.charts.columns import columns_of, table_of
from ckvd_sql.charts.terminal import draw

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

DAYS = "ckvd_klines('BTCUSDT', '1d', '2024-05-01', '2024-06-01')"


@pytest.mark.parametrize("kind", ["relation", "pyarrow", "polars", "pandas"])
def test_a_chart_of_each_kind_of_table(con: DuckDBPyConnection, kind: str) -> None:
    relation = con.sql(f"FROM {DAYS}")
    if kind == "pandas":
        pytest.importorskip("pandas")
    source: Any = {
        "relation": lambda: relation,
        "pyarrow": relation.to_arrow_table,
        "polars": relation.pl,
        "pandas": relation.df,
    }[kind]()
    shown = ckvd_sql.chart(source)
    assert repr(shown) == "<Chart: BTCUSDT, 31 bars>"
    assert shown.columns["close"] == [row[0] for row in con.sql(f"SELECT close FROM {DAYS}").fetchall()]
    assert shown.columns["time"][:2] == [1_714_521_600, 1_714_608_000]


def test_a_chart_is_one_frame_that_needs_no_network(con: DuckDBPyConnection) -> None:
    frame = ckvd_sql.chart(con.sql(f"FROM {DAYS}"), title="</script><b>x")._repr_html_()
    assert frame.startswith("<iframe sandbox='allow-scripts")
    page = html.unescape(re.search(r'srcdoc="(.*)"></iframe>$', frame, re.DOTALL)[1])  # type: ignore[index]
    assert "TradingView Lightweight Charts" in page
    assert "</script><b>x" not in page
    assert re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=", page) == []


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (5, "it is a relation or frame"),
        (pa.table({"open_time": [1]}), "without open, high, low, close"),
    ],
)
def test_what_is_no_bars_of_one_symbol_is_refused(source: object, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=text):
        ckvd_sql.chart(source)


def test_several_symbols_are_refused(con: DuckDBPyConnection) -> None:
    with pytest.raises(InvalidArgumentError, match="several symbols"):
        ckvd_sql.chart(con.sql("FROM ckvd_latest(['BTCUSDT', 'ETHUSDT'], '1d')"))


def test_candles_in_a_terminal_are_the_last_that_fit(con: DuckDBPyConnection) -> None:
    columns = columns_of(table_of(con.sql(f"FROM {DAYS}")))
    text = draw(columns, "BTCUSDT", 60, 20, colour=False)
    lines = text.splitlines()
    assert len(lines) == 20
    assert max(map(len, lines)) <= 60
    assert "█" in text
    assert "2024-05-25" in lines[-1]
    assert "2024-05-01" not in lines[-1]
    assert "\x1b" not in text
    assert "\x1b" in draw(columns, "BTCUSDT", 60, 20, colour=True)
