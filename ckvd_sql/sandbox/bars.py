"""Bars as columns of integers: adding up to longer intervals, and writing as CSV or JSON text.

Prices are counted in the last decimal, volumes likewise, so that sums are exact. Knows neither where bars
come from nor how they are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.series import Interval, Market

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckvd_sql.sandbox.symbols import Listing

Ints: TypeAlias = npt.NDArray[np.int64]

#: The rows of `Bars.values`.
OPEN, HIGH, LOW, CLOSE, VOLUME, QUOTE, TRADES, TAKER, TAKER_QUOTE = range(9)
FIELDS = 9

#: The spot archive writes µs from here on, ms before.
MICROSECONDS_SINCE = parse_time("2025-01-01", "time")

_SPOT_DIGITS = 8
_POWERS = np.array([10**n for n in range(1, 19)], dtype=np.int64)
_QUADS = np.array([list(f"{n:04d}".encode()) for n in range(10_000)], dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars in order of their opening.

    Attributes:
        opens: Opening instants in µs, shape (n,).
        values: Open, high, low, close, volume, quote volume, trades, taker volume, taker quote volume; (9, n).
    """

    opens: Ints
    values: Ints

    def __len__(self) -> int:
        return len(self.opens)

    def between(self, start: int, end: int) -> Bars:
        """The bars that open in `[start, end)`."""
        low, high = np.searchsorted(self.opens, (start, end))
        return Bars(self.opens[low:high], self.values[:, low:high])

    def combine(self, starts: Ints, opens: Ints) -> Bars:
        """Longer bars, one from each of the given first indices on, with the given openings."""
        source = self.values
        out = np.empty((FIELDS, len(starts)), dtype=np.int64)
        lasts = np.append(starts[1:], len(self)) - 1
        out[OPEN] = source[OPEN, starts]
        out[HIGH] = np.maximum.reduceat(source[HIGH], starts)
        out[LOW] = np.minimum.reduceat(source[LOW], starts)
        out[CLOSE] = source[CLOSE, lasts]
        out[VOLUME:] = np.add.reduceat(source[VOLUME:], starts, axis=1)
        return Bars(opens, out)

    def to(self, interval: Interval) -> Bars:
        """These bars added up to a longer interval; a bar is made of those that exist."""
        if not len(self):
            return self
        if interval.step is None:
            slots = np.array([interval.slot(int(instant)) for instant in self.opens], dtype=np.int64)
        else:
            slots = (self.opens - interval.phase) // interval.step
        starts = np.append(0, np.flatnonzero(np.diff(slots)) + 1).astype(np.int64)
        opens = [interval.open_time(int(slot)) for slot in slots[starts]]
        return self.combine(starts, np.array(opens, dtype=np.int64))


def nothing() -> Bars:
    """No bars."""
    return Bars(np.empty(0, dtype=np.int64), np.empty((FIELDS, 0), dtype=np.int64))


def joined(parts: Sequence[Bars]) -> Bars:
    """Bars of several ranges, given in order, as one."""
    if not parts:
        return nothing()
    if len(parts) == 1:
        return parts[0]
    return Bars(np.concatenate([one.opens for one in parts]), np.concatenate([one.values for one in parts], axis=1))


def closes(bars: Bars, interval: Interval) -> Ints:
    """The instants at which the next bars may open."""
    if interval.step is not None:
        return bars.opens + interval.step
    return np.array([interval.open_time(interval.slot(int(one)) + 1) for one in bars.opens], dtype=np.int64)


def csv_text(bars: Bars, listing: Listing, interval: Interval) -> bytes:
    """Rows as the archive has them: no header, and µs on spot from 2025 on."""
    ends = closes(bars, interval)
    micro = int(np.searchsorted(bars.opens, MICROSECONDS_SINCE)) if listing.market is Market.SPOT else len(bars)
    parts = []
    for part, unit in ((slice(0, micro), 1000), (slice(micro, None), 1)):
        cut = Bars(bars.opens[part], bars.values[:, part])
        times = (cut.opens // unit, ends[part] // unit - 1)
        parts.append(_text(cut, listing, times, (b"", b",", b",", b",", b"\n"), b"0"))
    return b"".join(parts)


def json_text(bars: Bars, listing: Listing, interval: Interval) -> bytes:
    """Rows as REST has them: a JSON array of arrays, ms, numbers with decimals as text."""
    times = (bars.opens // 1000, closes(bars, interval) // 1000 - 1)
    text = _text(bars, listing, times, (b"[", b',"', b'","', b'",', b"],"), b'"0"')
    return b"[" + text[:-1] + b"]"


def _text(
    bars: Bars,
    listing: Listing,
    times: tuple[Ints, Ints],
    marks: tuple[bytes, bytes, bytes, bytes, bytes],
    last: bytes,
) -> bytes:
    """Rows between marks: at the row's start, into text, between texts, out of text, at the row's end."""
    begin, into, between, out, end = marks
    price, volume, quote = listing.price_digits, listing.quantity_digits, listing.quote_digits
    v = bars.values
    fill = _SPOT_DIGITS if listing.market is Market.SPOT else 0
    pieces: list[bytes | tuple[Ints, int, int]] = [begin, (times[0], 0, 0), into]
    for field in (OPEN, HIGH, LOW, CLOSE):
        pieces += [(v[field], price, fill), between]
    pieces += [(v[VOLUME], volume, fill), out, (times[1], 0, 0), into, (v[QUOTE], quote, fill), out]
    pieces += [(v[TRADES], 0, 0), into, (v[TAKER], volume, fill), between, (v[TAKER_QUOTE], quote, fill), out]
    pieces += [last, end]
    return _rendered(len(bars), pieces)


def _rendered(rows: int, pieces: Sequence[bytes | tuple[Ints, int, int]]) -> bytes:
    """Every row's pieces, one after the other: literals, and numbers as (values, decimals, decimals shown)."""
    if not rows:
        return b""
    blocks: list[npt.NDArray[np.uint8]] = []
    keeps: list[npt.NDArray[np.bool_]] = []

    def literal(text: bytes) -> None:
        blocks.append(np.broadcast_to(np.frombuffer(text, dtype=np.uint8), (rows, len(text))))
        keeps.append(np.broadcast_to(np.True_, (rows, len(text))))

    for piece in pieces:
        if isinstance(piece, bytes):
            literal(piece)
            continue
        values, decimals, shown = piece
        digits, keep = _digits(values, decimals)
        whole = digits.shape[1] - decimals
        blocks.append(digits[:, :whole])
        keeps.append(keep[:, :whole])
        if decimals or shown:
            literal(b".")
            blocks.append(digits[:, whole:])
            keeps.append(keep[:, whole:])
            literal(b"0" * max(shown - decimals, 0))
    kept: bytes = np.concatenate(blocks, axis=1)[np.concatenate(keeps, axis=1)].tobytes()
    return kept


def _digits(values: Ints, decimals: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Decimal digits, four at a time, and which of them are to be seen (no leading zeros)."""
    needed = np.maximum(np.searchsorted(_POWERS, values, side="right") + 1, decimals + 1)
    quads = (int(needed.max()) + 3) // 4
    digits = np.empty((len(values), quads * 4), dtype=np.uint8)
    rest = values
    for quad in range(quads - 1, -1, -1):
        rest, low = np.divmod(rest, 10_000)
        digits[:, quad * 4 : quad * 4 + 4] = _QUADS[low]
    keep: npt.NDArray[np.bool_] = np.arange(quads * 4) >= (quads * 4 - needed)[:, None]
    return digits, keep
