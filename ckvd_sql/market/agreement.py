"""Whether a day's bars agree with other bars: with the sum of a shorter interval, and with another source. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ckvd_sql.market.audit import Check, Finding, Severity, bounded, findings_of_bars
from ckvd_sql.market.bars import BAR_SCHEMA, open_times
from ckvd_sql.market.grid import grid_slots, on_grid
from ckvd_sql.market.periods import DAY
from ckvd_sql.market.series import INTERVALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pyarrow as pa

    from ckvd_sql.market.audit import AuditedDay
    from ckvd_sql.market.series import Interval

    Flags = npt.NDArray[np.bool_]
    Numbers = npt.NDArray[np.int64]
    Values = npt.NDArray[np.float64]

#: A bar is compared with the sum of at most this many shorter ones: a day of 1m bars, or 15m of 1s.
_MOST_PARTS = 1440

_PRICES = ("open", "high", "low", "close")
_SUMMED = ("volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")

#: The error of sums of decimals that were rounded to 8 places each: relative, and absolute for each of them.
_RELATIVE, _ABSOLUTE = 1e-9, 1e-8


def finer_intervals(interval: Interval) -> list[Interval]:
    """The shorter intervals of which not too many bars add up to a bar of an interval; the shortest first."""
    longest = interval.step or 31 * DAY
    steps = [(one, one.step) for one in INTERVALS.values() if one.step and not one.multi_day]
    return [one for one, step in steps if step < longest <= step * _MOST_PARTS and longest % step == 0]


def check_sum(audited: AuditedDay, finer: Interval, parts: pa.RecordBatch) -> list[Finding]:
    """The bars of a day that are not the sum of shorter ones; none where either have bars off their grid.

    A bar whose shorter bars are not all there may be right, so it is a warning. Prices of shorter bars without a trade
    may count or not: the exchange repeats the last price in them.

    Args:
        audited: The day.
        finer: The shorter interval.
        parts: Its bars, of the whole time that the day's bars cover.
    """
    interval, opens = audited.series.interval, open_times(audited.bars)
    if not (interval.grid_known and on_grid(interval, opens).all() and on_grid(finer, open_times(parts)).all()):
        return []
    sums = _Sums(interval, finer, parts)
    at = _places(grid_slots(interval, opens), sums.slots)
    summed = at >= 0
    wrong = {name: np.zeros(len(at), dtype=bool) for name in (*_PRICES, *_SUMMED)}
    for name, differs in wrong.items():
        differs[summed] = ~sums.equal(name, audited.bars.column(name).to_numpy()[summed], at[summed])
    wrong["trades"] |= ~summed & (audited.bars.column("trades").to_numpy() > 0)
    whole = np.zeros(len(at), dtype=bool)
    whole[summed] = sums.whole[at[summed]]

    def describe(row: int) -> tuple[str, str]:
        fields = [name for name, differs in wrong.items() if differs[row]]
        if not summed[row]:
            return _cells(audited.bars, fields, row), f"no trades: {finer.name} has no bar"
        expected = ", ".join(f"{name} {sums.value(name, int(at[row]))}" for name in fields)
        return _cells(audited.bars, fields, row), f"{expected}: the sum of {sums.counts[at[row]]} bars of {finer.name}"

    def describe_missing(row: int) -> tuple[str, str]:
        trades = sums.value("trades", row)
        return "no bar", f"a bar: {finer.name} has {sums.counts[row]} bars with {trades} trades"

    any_wrong = np.logical_or.reduce(list(wrong.values()))
    missing = (_places(sums.slots, grid_slots(interval, opens)) < 0) & sums.traded
    sum_opens = np.array([interval.open_time(slot) for slot in sums.slots.tolist()], dtype=np.int64)
    return bounded(
        [
            *findings_of_bars(audited.day, opens, any_wrong & whole, Check.SUM, Severity.ERROR, describe),
            *findings_of_bars(audited.day, opens, any_wrong & ~whole, Check.SUM, Severity.WARNING, describe),
            *findings_of_bars(audited.day, sum_opens, missing, Check.SUM, Severity.ERROR, describe_missing),
        ]
    )


def differences(
    audited: AuditedDay, other: pa.RecordBatch, check: Check, name: str, *, missing: Severity
) -> list[Finding]:
    """The bars of a day that another source has with other values, or that only one of them has; errors.

    Args:
        audited: The day.
        other: The other source's bars of the same time, in order.
        check: The check to report.
        name: The other source's name, such as `the daily archive`.
        missing: The severity of a stored bar that the other source does not have.
    """
    bars, opens, other_opens = audited.bars, open_times(audited.bars), open_times(other)
    at = _places(opens, other_opens)
    both = at >= 0
    wrong = {field: np.zeros(len(opens), dtype=bool) for field in BAR_SCHEMA.names[1:]}
    for field, differs in wrong.items():
        mine, theirs = (one.column(field).to_numpy(zero_copy_only=False) for one in (bars, other))
        differs[both] = mine[both] != theirs[at[both]]

    def describe(row: int) -> tuple[str, str]:
        fields = [field for field, differs in wrong.items() if differs[row]]
        return _cells(bars, fields, row), f"{_cells(other, fields, int(at[row]))} in {name}"

    def describe_other(row: int) -> tuple[str, str]:
        return "no bar", f"a bar with {_cells(other, ['trades'], row)} in {name}"

    differing = np.logical_or.reduce(list(wrong.values()))
    others = _places(other_opens, opens) < 0
    return bounded(
        [
            *findings_of_bars(audited.day, opens, differing, check, Severity.ERROR, describe),
            *findings_of_bars(audited.day, opens, ~both, check, missing, lambda _: ("a bar", f"no bar in {name}")),
            *findings_of_bars(audited.day, other_opens, others, check, Severity.ERROR, describe_other),
        ]
    )


class _Sums:
    """Shorter bars added up by the slots of a longer interval.

    Args:
        interval: The longer interval.
        finer: The shorter one.
        parts: Its bars, in order.

    Attributes:
        slots: The slots that have a shorter bar.
        counts: How many shorter bars each of them has.
        whole: Whether that is all that the grid has.
        traded: Whether any of them has a trade.
    """

    def __init__(self, interval: Interval, finer: Interval, parts: pa.RecordBatch) -> None:
        self._parts = parts
        slots = grid_slots(interval, open_times(parts))
        self._starts = np.flatnonzero(np.diff(slots, prepend=-1))
        self.slots = slots[self._starts]
        self.counts = np.diff(np.append(self._starts, len(slots)))
        lengths = [interval.open_time(slot + 1) - interval.open_time(slot) for slot in self.slots.tolist()]
        self.whole = self.counts * (finer.step or 0) == np.array(lengths, dtype=np.int64)
        self._with_trades = self._column("trades") > 0
        self.traded = self._total("trades") > 0

    def equal(self, name: str, values: Values, at: Numbers) -> Flags:
        """Whether these values are those of the sums at these indices."""
        if name in _SUMMED:
            error = _RELATIVE * np.abs(values) + _ABSOLUTE * self.counts[at]
            return np.asarray(np.abs(values - self._total(name)[at]) <= error, dtype=bool)
        everything, traded = self._price(name)
        return np.asarray((values == everything[at]) | (values == traded[at]), dtype=bool)

    def value(self, name: str, at: int) -> float | int:
        """The value of one sum; a price from the bars with trades, where there are any."""
        number = self._total(name)[at] if name in _SUMMED else self._price(name)[1][at]
        return int(number) if name == "trades" else round(float(number), 8)

    def _column(self, name: str) -> Values:
        return np.asarray(self._parts.column(name).to_numpy())

    def _total(self, name: str) -> Values:
        return np.asarray(np.add.reduceat(self._column(name), self._starts))

    def _price(self, name: str) -> tuple[Values, Values]:
        """A price of each sum: over all of its bars, and over those with trades where there are any."""
        column, starts = self._column(name), self._starts
        if name == "close":  # a bar without trades has the last one's
            last = column[np.append(starts[1:], len(column))[: len(starts)] - 1]
            return last, last
        if name == "open":
            numbers = np.where(self._with_trades, np.arange(len(column)), len(column))
            first = np.minimum.reduceat(numbers, starts)
            return column[starts], column[np.where(self.traded, first, starts)]
        best, worst = (np.maximum, -np.inf) if name == "high" else (np.minimum, np.inf)
        everything = best.reduceat(column, starts)
        traded = best.reduceat(np.where(self._with_trades, column, worst), starts)
        return everything, np.where(self.traded, traded, everything)


def _places(wanted: Numbers, known: Numbers) -> Numbers:
    """The index of each number among known ones, which are sorted; -1 where it is not one of them."""
    at = np.searchsorted(known, wanted)
    found = np.append(known, -1)[at] == wanted
    return np.where(found, at, -1)


def _cells(bars: pa.RecordBatch, fields: Sequence[str], row: int) -> str:
    """The values of some columns of a row, as text."""
    return ", ".join(f"{field} {bars.column(field)[row].as_py()}" for field in fields)
