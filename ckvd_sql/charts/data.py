"""What the page of `ckvd view` asks for: bars, the last bars, what is cached, and the days of a month. No HTTP here."""

from __future__ import annotations

import calendar
from collections import defaultdict
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

from ckvd_sql.charts.columns import MOST_BARS, columns_of
from ckvd_sql.errors import InvalidArgumentError
from ckvd_sql.market.gaps import find_gaps, since_listing
from ckvd_sql.market.parse import parse_interval, parse_market, parse_symbol
from ckvd_sql.market.periods import Month, day_start
from ckvd_sql.market.query import parse_query
from ckvd_sql.market.series import INTERVALS, Series
from ckvd_sql.tables.audit import audit_rows
from ckvd_sql.tables.cache import cache_days_dataset
from ckvd_sql.tables.klines import klines_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ckvd_sql.market.query import Query
    from ckvd_sql.scan.resolver import Resolver
    from ckvd_sql.scan.steps import Step

_DOUBTFUL = {"unverified", "unconfirmed", "unchecked", "last"}
_MOST_MISSING = 20_000


class ViewData:
    """Answers of the page, as values for JSON. All raise `CkvdError`.

    Args:
        resolver: The failover.
        symbol: What is shown first; None for the first cached series, else bitcoin.
    """

    def __init__(self, resolver: Resolver, symbol: str | None) -> None:
        self._resolver = resolver
        self._symbol = symbol

    def start(self, _: Mapping[str, str]) -> dict[str, Any]:
        """What the pickers offer and show first."""
        cached = list(self._resolver.store.series())
        known = next((one for one in cached if self._symbol in (None, one.symbol)), None)
        return {
            "symbol": self._symbol or (known.symbol if known else "BTCUSDT"),
            "market": known.market.value if known else "spot",
            "interval": known.interval.name if known else "1h",
            "intervals": list(INTERVALS),
            "symbols": sorted({one.symbol for one in cached}),
        }

    def bars(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """The bars of a range, with the one that is forming, and the open times of those that are missing."""
        query = self._query(asked)
        step = query.interval.step
        if step and (query.span.end - query.span.start) // step > MOST_BARS:
            raise InvalidArgumentError("start", asked["start"], f"a chart has {MOST_BARS:,} bars at most")
        steps = list(self._resolver.stream(query, for_user=True))
        series = self._resolver.on_grid(query.series()[0])
        found = {"symbol": series.symbol, "market": query.market.value, "interval": query.interval.name}
        return found | columns_of(klines_table(steps), self._missing(query, series, steps))

    def latest(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """The last two bars, of which one is forming."""
        query = self._query(asked)
        length = 3 * (query.interval.step or 31 * 86_400_000_000)
        recent = replace(query, span=replace(query.span, start=query.span.end - length))
        return columns_of(klines_table(self._resolver.stream(recent)))

    def cache(self, _: Mapping[str, str]) -> dict[str, Any]:
        """Each cached series with its months: how many days, of how many, from where, and how many in doubt."""
        names = ["market", "symbol", "interval", "date", "source", "checksum", "gaps", "duplicates"]
        rows = cache_days_dataset(self._resolver.store).scanner(columns=names).to_table().to_pylist()
        by_series: defaultdict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            by_series[row["market"], row["symbol"], row["interval"]].append(row)
        return {"series": [_described(*key, days) for key, days in by_series.items()]}

    def days(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """The cached days of a month, with what the audit finds of them, without network."""
        market = parse_market(asked["market"])
        series = Series(market, parse_symbol(asked["symbol"], market), parse_interval(asked["interval"], market))
        try:
            month = Month.of(date.fromisoformat(f"{asked['month']}-01"))
        except ValueError:
            raise InvalidArgumentError("month", asked["month"], "it is a month such as '2024-05'") from None
        inventory = cache_days_dataset(self._resolver.store).scanner(
            columns=["market", "symbol", "interval", "date", "rows", "source", "checksum", "gaps"]
        )
        names = (market.value, series.symbol, series.interval.name)
        chosen = [
            row
            for row in inventory.to_table().to_pylist()
            if (row["market"], row["symbol"], row["interval"]) == names and Month.of(row["date"]) == month
        ]
        doubts = self._doubts(series, month)
        return {
            "days": [
                {
                    **{name: row[name] for name in ("rows", "source", "checksum", "gaps")},
                    "date": str(row["date"]),
                    "doubts": ", ".join(doubts.get(row["date"], ())),
                }
                for row in sorted(chosen, key=lambda row: row["date"])
            ]
        }

    def _doubts(self, series: Series, month: Month) -> dict[date, list[str]]:
        query = parse_query(
            series.symbol, series.interval.name, month.first, month.next.first, series.market.value, now=self._now
        )
        found: defaultdict[date, list[str]] = defaultdict(list)
        for row in audit_rows(self._resolver, query, remote=False):
            found[row["date"]].append(f"{row['check']} ({row['severity']})")
        return found

    @property
    def _now(self) -> int:
        return self._resolver.settings.clock()

    def _query(self, asked: Mapping[str, str]) -> Query:
        """One symbol's query, with the bar that is forming."""
        market = parse_market(asked["market"])
        symbol = parse_symbol(asked["symbol"], market)
        end = asked.get("end") or None
        return parse_query(symbol, asked["interval"], asked["start"], end, market, include_open=True, now=self._now)

    def _missing(self, query: Query, series: Series, steps: list[Step]) -> list[int]:
        """The open times of the bars that the grid has and the exchange does not, the first of them."""
        step = series.interval.step
        if step is None or not series.interval.grid_known:
            return []
        batches = [batch for one in steps for batch in one.batches()]
        times: list[int] = []
        for number, gap in enumerate(find_gaps(series.interval, query.span, query.now, batches)):
            known = gap if number else since_listing(series.interval, gap, self._resolver.first_open(series))
            if known:
                times += range(known.start, known.end, step)
        return times[:_MOST_MISSING]


def _described(market: str, symbol: str, interval: str, days: list[dict[str, Any]]) -> dict[str, Any]:
    """A row of the list of series, its months without a hole."""
    by_month: defaultdict[Month, list[dict[str, Any]]] = defaultdict(list)
    for day in days:
        by_month[Month.of(day["date"])].append(day)
    months, month, last = [], min(by_month), max(by_month)
    while month <= last:
        of_month = by_month.get(month, [])
        of_rest = sum(day["source"] == "rest" for day in of_month)
        doubts = [_DOUBTFUL & {day["checksum"], day["gaps"], day["duplicates"]} for day in of_month]
        months.append({
            "month": str(month),
            "days": len(of_month),
            "of": _possible_days(interval, month),
            "source": "rest" if of_rest * 2 > len(of_month) else "vision",
            "doubts": sum(map(bool, doubts)),
        })  # fmt: skip
        month = month.next
    dates = [day["date"] for day in days]
    return {
        "market": market, "symbol": symbol, "interval": interval, "days": len(days), "first": str(min(dates)),
        "last": str(max(dates)), "months": months,
    }  # fmt: skip


def _possible_days(interval: str, month: Month) -> int:
    """How many days of a month have a file when it is complete."""
    length = INTERVALS[interval]
    if not length.multi_day:
        return calendar.monthrange(month.year, month.month)[1]
    if length.step is None or not length.grid_known:
        return 1 if length.step is None else 10
    return max(1, len(length.slots(day_start(month.first), day_start(month.next.first))))
