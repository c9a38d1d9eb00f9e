"""What a user may have meant: the known names that are closest to an unknown one. Pure."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST = 3
_CLOSE = 0.65  # of difflib's ratio: BTCUDST and BTCUSDT have 0.86


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`; did you mean 'BTCUSDT'?` for the names that are close to the given one, in any case; empty if none is."""
    names = {name.upper(): name for name in known}
    close = [repr(names[name]) for name in get_close_matches(given.upper(), names, _MOST, _CLOSE)]
    return f"; did you mean {' or '.join(close)}?" if close else ""
