"""Candles in a notebook: a page of its own in a frame, with script and data in it, so that it needs no network."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ckvd_sql.charts.columns import columns_of, table_of

_HEIGHT = 420


@cache
def asset(name: str) -> str:
    """A file of the page."""
    return (files("ckvd_sql.charts") / "static" / name).read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True, repr=False)
class Chart:
    """Candles and volume, which a notebook shows.

    Attributes:
        columns: What is drawn.
        title: What is written above.
    """

    columns: dict[str, list[Any]]
    title: str

    def __repr__(self) -> str:
        return f"<Chart: {self.title or 'bars'}, {len(self.columns['time']):,} bars>"

    def page(self) -> str:
        """The whole page."""
        data = json.dumps(self.columns, separators=(",", ":")).replace("</", "<\\/")
        title = html.escape(self.title)
        return (
            f"<!DOCTYPE html><html><head><meta charset='utf-8'><title>{title}</title>"
            f"<style>{asset('style.css')}</style></head><body class='inline'>"
            f"<div class='caption'><b>{title}</b> <span>UTC</span></div><div id='chart'></div>"
            f"<script>{asset('lightweight-charts.js')}</script><script>{asset('chart.js')}</script>"
            f"<script>new CkvdChart(document.getElementById('chart')).show({data});</script></body></html>"
        )

    def _repr_html_(self) -> str:
        return (
            f"<iframe sandbox='allow-scripts allow-popups' style='width:100%;height:{_HEIGHT}px;border:0' "
            f'srcdoc="{html.escape(self.page())}"></iframe>'
        )


def chart(source: Any, title: str = "") -> Chart:
    """Candles of bars, as the last line of a notebook's cell.

    Args:
        source: A DuckDB relation, a pyarrow table, or a polars or pandas frame, with the columns `open_time`, `open`,
            `high`, `low`, `close` and perhaps `volume`, of one symbol.
        title: What is written above; by default the symbol, where there is a column of it.

    Raises:
        InvalidArgumentError: It can't be drawn.
    """
    table = table_of(source)
    if not title and "symbol" in table.column_names and table.num_rows:
        title = str(table.column("symbol")[0].as_py())
    return Chart(columns_of(table), title)
