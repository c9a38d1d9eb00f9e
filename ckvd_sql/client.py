"""The Python client: the same failover without SQL, with typed errors and a report of what was fetched."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ckvd_sql.errors import SettingsError
from ckvd_sql.forks import check_polars
from ckvd_sql.market.provenance import Source
from ckvd_sql.market.query import parse_query
from ckvd_sql.scan.emptiness import stream_for_user
from ckvd_sql.scan.resolver import Resolver
from ckvd_sql.settings import Settings
from ckvd_sql.tables.klines import constant_string_view, klines_table
from ckvd_sql.tables.reports import PLAN_SCHEMA, plan_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date, datetime

    import polars as pl

    from ckvd_sql.errors import CkvdError
    from ckvd_sql.fetch.jobs import DayBars
    from ckvd_sql.market.query import Query

    Time = str | int | date | datetime


@dataclass(frozen=True, slots=True)
class DayReport:
    """The result of one day of a `fetch`.

    Attributes:
        symbol: The symbol.
        date: The UTC day.
        outcome: `cached` (it was in the cache), `lake` (it is in the lake), `vision` or `rest` (fetched from there),
            `empty` (it has no bar) or `failed`.
        rows: How many closed bars the day has.
        error: Why it failed.
    """

    symbol: str
    date: date
    outcome: str
    rows: int = 0
    error: CkvdError | None = None


@dataclass(frozen=True, slots=True, repr=False)
class FetchReport:
    """The results of all days of a `fetch`."""

    days: tuple[DayReport, ...]

    @property
    def counts(self) -> dict[str, int]:
        """The number of days by outcome; all outcomes are keys, `lake` only where a day was there."""
        found = Counter(day.outcome for day in self.days)
        lake = ("lake",) if found["lake"] else ()
        return {outcome: found[outcome] for outcome in ("cached", *lake, "vision", "rest", "empty", "failed")}

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in self.counts.items() if count)
        return f"<FetchReport: {len(self.days):,} days of {len(self.by_symbol):,} symbols: {counts or 'none'}>"

    def _repr_html_(self) -> str:
        """A table for notebooks: a row per symbol, a column per outcome."""
        outcomes = list(self.counts)
        head = "".join(f"<th>{name}</th>" for name in ("symbol", *outcomes))
        rows = "".join(
            f"<tr><td>{escape(symbol)}</td>{''.join(f'<td>{counts[one]:,}</td>' for one in outcomes)}</tr>"
            for symbol, counts in self.by_symbol.items()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    @property
    def by_symbol(self) -> dict[str, Counter[str]]:
        """The number of days by outcome, for each symbol."""
        found: dict[str, Counter[str]] = {}
        for day in self.days:
            found.setdefault(day.symbol, Counter())[day.outcome] += 1
        return found

    @property
    def failed(self) -> tuple[DayReport, ...]:
        """The days that could not be fetched."""
        return tuple(day for day in self.days if day.outcome == "failed")


class CryptoKlineVisionData:
    """Binance klines through cache, archive and REST.

    Args:
        settings: All settings.
        overrides: Single settings by name, see `Settings`; the others come from the environment and the defaults.

    Example:
        >>> from ckvd_sql import CryptoKlineVisionData
        >>> bars = CryptoKlineVisionData().get_data("BTCUSDT", "2024-01-01", "2024-02-01", "1h")  # doctest: +SKIP
    """

    def __init__(self, settings: Settings | None = None, **overrides: Any) -> None:
        if settings and overrides:
            raise SettingsError(
                next(iter(overrides)),
                next(iter(overrides.values())),
                "give either a Settings object or single settings",
            )
        self.settings = settings or Settings.load(**overrides)
        self._resolver = Resolver(self.settings)

    def get_data(
        self,
        symbol: str | Sequence[str],
        start_time: Time,
        end_time: Time | None = None,
        interval: str = "1h",
        market: str = "spot",
        *,
        include_open: bool = False,
    ) -> pl.DataFrame:
        """The bars that open in `[start_time, end_time)` as a polars DataFrame, the columns those of `ckvd_klines`.

        Args:
            symbol: One symbol, or several.
            start_time: A date, a datetime, microseconds since the epoch, or text such as `2024-01-31`, `2024-01` or
                `-7d`, see `ckvd_sql.market.parse.parse_time`; without a zone it is UTC.
            end_time: Likewise; None is now.
            interval: `1s` (spot alone) to `1mo`.
            market: `spot`, `um` or `cm`.
            include_open: Whether to include the bar that is still forming.

        Raises:
            InvalidArgumentError: An argument is refused; nothing was read or requested.
            CkvdError: A day could not be had; see the tree in `ckvd_sql.errors`. Or this process was forked after
                polars was used, which then would wait for ever.
        """
        check_polars("get_data")
        import polars as pl  # noqa: PLC0415 (slow to load, and SQL does not need it)

        query = self._query(symbol, interval, start_time, end_time, market, include_open=include_open)
        frame = pl.from_arrow(klines_table(stream_for_user(self._resolver, query), constant_string_view), rechunk=False)
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 (a table is a frame)
        return frame

    def klines(
        self,
        symbol: str | Sequence[str],
        start_time: Time,
        end_time: Time | None = None,
        interval: str = "1h",
        market: str = "spot",
        *,
        include_open: bool = False,
    ) -> pa.Table:
        """The same as a pyarrow Table. Large cached days use the mapped files' memory, small ones are joined."""
        query = self._query(symbol, interval, start_time, end_time, market, include_open=include_open)
        return klines_table(stream_for_user(self._resolver, query))

    def plan(
        self,
        symbol: str | Sequence[str],
        start_time: Time,
        end_time: Time | None = None,
        interval: str = "1h",
        market: str = "spot",
        *,
        include_open: bool = False,
    ) -> pa.Table:
        """The source of each day now, without network requests; the columns are those of `ckvd_plan`."""
        query = self._query(symbol, interval, start_time, end_time, market, include_open=include_open)
        return pa.Table.from_pylist(list(plan_rows(self._resolver, query)), schema=PLAN_SCHEMA)

    def audit(
        self,
        symbol: str | Sequence[str],
        start_time: Time,
        end_time: Time | None = None,
        interval: str = "1h",
        market: str = "spot",
        *,
        remote: bool = False,
    ) -> pa.Table:
        """What is wrong or doubtful about the cached days of a range; the columns are those of `ckvd_audit`.

        Without `remote` there are no network requests. With it, the days are also compared with the archives and REST;
        one log line says before how many requests that is at most.
        """
        from ckvd_sql.tables.audit import AUDIT_SCHEMA, audit_rows  # noqa: PLC0415 (most clients audit nothing)

        query = self._query(symbol, interval, start_time, end_time, market, include_open=False)
        return pa.Table.from_pylist(list(audit_rows(self._resolver, query, remote=remote)), schema=AUDIT_SCHEMA)

    def fetch(
        self,
        symbol: str | Sequence[str],
        start_time: Time,
        end_time: Time | None = None,
        interval: str = "1h",
        market: str = "spot",
        *,
        progress: Callable[[DayReport], None] | None = None,
    ) -> FetchReport:
        """Fill the cache. A day that fails is reported and the others go on; a later call fetches what is missing.

        Args:
            symbol: As for `get_data`, like the other arguments.
            start_time: The first open time.
            end_time: The end of the range; None is now.
            interval: The interval.
            market: The market.
            progress: Called with each day's report, as soon as it is known.
        """
        query = self._query(symbol, interval, start_time, end_time, market, include_open=False)
        reports = []
        for report in self._reports(query):
            reports.append(report)
            if progress:
                progress(report)
        return FetchReport(tuple(reports))

    def _reports(self, query: Query) -> Iterator[DayReport]:
        """A report for every day of the plan, those before the symbol's first bar first."""
        for series, days in self._resolver.plans(query):
            for one in days:
                if one.source is Source.UNLISTED:
                    yield DayReport(series.symbol, one.day, "empty")
        with contextlib.closing(self._resolver.stream(query, whole_days=True, keep_going=True)) as steps:
            for step in steps:
                symbol = step.series.symbol
                failed = [
                    DayReport(symbol, day, "failed", error=one.error) for one in step.failures for day in one.days
                ]
                had = [DayReport(symbol, day.day, _outcome(day), day.bars.num_rows) for day in step.days]
                yield from sorted([*failed, *had], key=lambda report: report.date)

    def _query(
        self,
        symbol: str | Sequence[str],
        interval: str,
        start: Time,
        end: Time | None,
        market: str,
        *,
        include_open: bool,
        quote: str | None = None,
    ) -> Query:
        query = parse_query(symbol, interval, start, end, market, include_open, quote=quote, now=self.settings.clock())
        return self._resolver.catalog.expand(query)


def _outcome(day: DayBars) -> str:
    if day.bars.num_rows == 0:
        return "empty"
    if day.stored_in is Source.LAKE:
        return "lake"
    return "cached" if day.stored_in else day.source.value
