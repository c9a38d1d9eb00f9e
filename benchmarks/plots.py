"""Plots of cost against size, as SVG that is the same bytes for the same figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.outcome import Plot


def draw(plot: Plot, path: Path) -> None:
    """Draw one, on plain axes: what is linear is a straight line."""
    mpl.rcParams["svg.hashsalt"] = plot.name
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for line in plot.lines:
        axes.plot(line.sizes, line.values, marker="o", markersize=3, linewidth=1.2, label=line.name)
    axes.set_title(plot.title, fontsize=10)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
