"""Plots of cost against size: `python -m benchmarks.plots [FOLDER]` draws them from results.json as SVG.

The same figures give the same bytes. Needs matplotlib.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.report import HERE
from benchmarks.results import RunResult

if TYPE_CHECKING:
    from benchmarks.results import Plot


def draw(plot: Plot, path: Path) -> None:
    """Draw one on linear axes from zero."""
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


def main() -> None:
    """Draw the plots of a folder's results.json, by default the committed one's, into its folder `plots`."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else HERE
    for result in RunResult.load(folder).goals:
        for plot in result.plots:
            path = folder / "plots" / f"{plot.name}.svg"
            draw(plot, path)
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
