"""Bars as columns of integers: aggregation to longer intervals, and serialization as CSV or JSON text.

Prices and volumes are integers in units of their last decimal, so that sums are exact. Knows neither the origin of
bars nor requests for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ckvd_sql.market.grid import grid_slots
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.series import Interval, Market

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckvd_sql.sandbox.symbols import Listing

Ints: TypeAlias = npt.NDArray[np.int64]

#: The rows of `Bars.values`.
OPEN, HIGH, LOW, CLOSE, VOLUME, QUOTE, TRADES, TAKER, TAKER_QUOTE = range(9)
FIELDS = 9

#: From this instant on the spot archive writes µs, before it ms (github.com/binance/binance-public-data).
MICROSECONDS_SINCE = parse_time("2025-01-01", "time")

_SPOT_DIGITS = 8  # decimals that spot shows, with zeros at the end
_POWERS = np.array([10**n for n in range(1, 19)], dtype=np.int64)
_QUADS = np.array([list(f"{n:04d}".encode()) for n in range(10_000)], dtype=np.uint8)  # the digits of 0000 to 9999


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars in order of their open time.

    Attributes:
        opens: Open times in µs, shape (n,).
        values: Shape (9, n): open, high, low, close, volume, quote volume, trades, taker buy volume and taker buy
            quote volume, the rows that `OPEN` to `TAKER_QUOTE` name. Prices and volumes are in units of their last
            decimal, whose place the `Listing` states.
    """

    opens: Ints
    values: Ints

    def __len__(self) -> int:
        return len(self.opens)

    def between(self, start: int, end: int) -> Bars:
        """The bars that open in `[start, end)`, µs."""
        low, high = np.searchsorted(self.opens, (start, end))
        return Bars(self.opens[low:high], self.values[:, low:high])

    def combine(self, starts: Ints, opens: Ints) -> Bars:
        """Aggregate runs of bars into one bar each.

        Args:
            starts: The index at which each run starts, ascending from 0, shape (m,).
            opens: The open times of the aggregated bars, µs, shape (m,).
        """
        values = self.values
        combined = np.empty((FIELDS, len(starts)), dtype=np.int64)
        lasts = np.append(starts[1:], len(self)) - 1
        combined[OPEN] = values[OPEN, starts]
        combined[HIGH] = np.maximum.reduceat(values[HIGH], starts)
        combined[LOW] = np.minimum.reduceat(values[LOW], starts)
        combined[CLOSE] = values[CLOSE, lasts]
        combined[VOLUME:] = np.add.reduceat(values[VOLUME:], starts, axis=1)
        return Bars(opens, combined)

    def to(self, interval: Interval) -> Bars:
        """These bars aggregated to a longer interval; a longer bar is missing where all of its parts are."""
        if not len(self):
            return self
        slots = grid_slots(interval, self.opens)
        starts = np.append(0, np.flatnonzero(np.diff(slots)) + 1).astype(np.int64)
        opens = [interval.open_time(int(slot)) for slot in slots[starts]]
        return self.combine(starts, np.array(opens, dtype=np.int64))


def joined(parts: Sequence[Bars]) -> Bars:
    """The bars of several ranges, given in time order, as one."""
    if not parts:
        return Bars(np.empty(0, dtype=np.int64), np.empty((FIELDS, 0), dtype=np.int64))
    if len(parts) == 1:
        return parts[0]
    return Bars(np.concatenate([part.opens for part in parts]), np.concatenate([part.values for part in parts], axis=1))


def closes(bars: Bars, interval: Interval) -> Ints:
    """The instants (µs) at which the bars end and the next ones may open, shape (n,)."""
    if interval.step is not None:
        return bars.opens + interval.step
    return np.array([interval.open_time(interval.slot(int(instant)) + 1) for instant in bars.opens], dtype=np.int64)


def csv_text(bars: Bars, listing: Listing, interval: Interval) -> bytes:
    """Rows as the archive writes them: no header; times in ms, on spot from 2025 on in µs."""
    ends = closes(bars, interval)
    micro = int(np.searchsorted(bars.opens, MICROSECONDS_SINCE)) if listing.market is Market.SPOT else len(bars)
    parts = []
    for part, unit in ((slice(0, micro), 1000), (slice(micro, None), 1)):
        cut = Bars(bars.opens[part], bars.values[:, part])
        times = (cut.opens // unit, ends[part] // unit - 1)
        parts.append(_text(cut, listing, times, _CSV))
    return b"".join(parts)


def json_text(bars: Bars, listing: Listing, interval: Interval) -> bytes:
    """Rows as REST sends them: a JSON array of arrays; times in ms, numbers with decimals as text."""
    times = (bars.opens // 1000, closes(bars, interval) // 1000 - 1)
    return b"[" + _text(bars, listing, times, _JSON)[:-1] + b"]"


class _Syntax(NamedTuple):
    """The bytes between a row's values. Prices and volumes are quoted in JSON; times and counts are not."""

    row_start: bytes
    before_quoted: bytes
    between_quoted: bytes
    after_quoted: bytes
    unused: bytes  # the twelfth column, which Binance fills with 0
    row_end: bytes


_CSV = _Syntax(b"", b",", b",", b",", b"0", b"\n")
_JSON = _Syntax(b"[", b',"', b'","', b'",', b'"0"', b"],")


def _text(bars: Bars, listing: Listing, times: tuple[Ints, Ints], syntax: _Syntax) -> bytes:
    """The twelve columns of every row, in the order of archive and REST."""
    row_start, opening, between, closing, unused, row_end = syntax
    price, volume, quote = listing.price_digits, listing.quantity_digits, listing.quote_digits
    values = bars.values
    shown = _SPOT_DIGITS if listing.market is Market.SPOT else 0
    pieces: list[bytes | tuple[Ints, int, int]] = [row_start, (times[0], 0, 0), opening]
    for field in (OPEN, HIGH, LOW, CLOSE):
        pieces += [(values[field], price, shown), between]
    pieces += [(values[VOLUME], volume, shown), closing, (times[1], 0, 0), opening, (values[QUOTE], quote, shown)]
    pieces += [closing, (values[TRADES], 0, 0), opening, (values[TAKER], volume, shown), between]
    pieces += [(values[TAKER_QUOTE], quote, shown), closing, unused, row_end]
    return _rendered(len(bars), pieces)


def _rendered(rows: int, pieces: Sequence[bytes | tuple[Ints, int, int]]) -> bytes:
    """The pieces of every row as text: literals, and numbers as (values, decimals, at least so many decimals shown)."""
    if not rows:
        return b""
    blocks: list[npt.NDArray[np.uint8]] = []
    masks: list[npt.NDArray[np.bool_]] = []

    def literal(text: bytes) -> None:
        blocks.append(np.broadcast_to(np.frombuffer(text, dtype=np.uint8), (rows, len(text))))
        masks.append(np.broadcast_to(np.True_, (rows, len(text))))

    for piece in pieces:
        if isinstance(piece, bytes):
            literal(piece)
            continue
        values, decimals, shown = piece
        digits, mask = _digits(values, decimals)
        point = digits.shape[1] - decimals
        blocks.append(digits[:, :point])
        masks.append(mask[:, :point])
        if decimals or shown:
            literal(b".")
            blocks.append(digits[:, point:])
            masks.append(mask[:, point:])
            literal(b"0" * max(shown - decimals, 0))
    text: bytes = np.concatenate(blocks, axis=1)[np.concatenate(masks, axis=1)].tobytes()
    return text


def _digits(values: Ints, decimals: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """ASCII digits, shape (n, d) with d a multiple of four, and a mask that leaves leading zeros out."""
    needed = np.maximum(np.searchsorted(_POWERS, values, side="right") + 1, decimals + 1)
    quads = (int(needed.max()) + 3) // 4
    digits = np.empty((len(values), quads * 4), dtype=np.uint8)
    rest = values
    for quad in range(quads - 1, -1, -1):
        rest, low = np.divmod(rest, 10_000)
        digits[:, quad * 4 : quad * 4 + 4] = _QUADS[low]
    mask: npt.NDArray[np.bool_] = np.arange(quads * 4) >= (quads * 4 - needed)[:, None]
    return digits, mask
