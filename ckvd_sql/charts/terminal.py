"""Candles in a terminal, by plotext: of the well-kept libraries for plots in terminals the one that has candles."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A candle needs a column and a space.
_COLUMNS_A_CANDLE = 2
_MARGIN = 12
_LABELS = 5
_DAY = 86_400


def draw(columns: Mapping[str, list[Any]], title: str, width: int, height: int, *, colour: bool) -> str:
    """The last candles that fit, as lines of text.

    Args:
        columns: The bars, as `charts.columns.columns_of` gives them.
        title: What is written above.
        width: Characters of a line.
        height: Lines.
        colour: Whether rising and falling candles have colours.
    """
    import plotext  # noqa: PLC0415 (slow, and only this needs it)

    fit = max(1, (width - _MARGIN) // _COLUMNS_A_CANDLE)
    last = {name: values[-fit:] for name, values in columns.items()}
    count = len(last["time"])
    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height)
    figure.title(title)
    figure.canvas("default")
    prices = {name: last[name] for name in ("open", "close", "high", "low")}
    figure.draw(figure.candlestick({"date": list(range(count)), **prices}))
    ticks = sorted({round(n * (count - 1) / (_LABELS - 1)) for n in range(_LABELS)})
    figure.ruler("x").ticks(ticks, [_label(last["time"], n) for n in ticks])
    text: str = figure.build().string(colorless=not colour)
    return text.rstrip("\n")


def _label(times: list[int], number: int) -> str:
    form = "%Y-%m-%d" if len(times) < 2 or (times[-1] - times[0]) / len(times) >= _DAY / 2 else "%m-%d %H:%M"  # noqa: PLR2004
    return datetime.fromtimestamp(times[number], UTC).strftime(form)
