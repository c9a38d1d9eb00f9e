"""The face towards Python: the same failover without SQL, with typed errors and a report of what was fetched."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ckvd_sql.errors import SettingsError
from ckvd_sql.market.query import parse_query
from ckvd_sql.scan.plan import Origin
from ckvd_sql.scan.resolver import Resolver
from ckvd_sql.settings import Settings
from ckvd_sql.tables.klines import plain_word, whole_table
from ckvd_sql.tables.reports import PLAN_SCHEMA, plan_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date, datetime

    import polars as pl

    from ckvd_sql.errors import CkvdError
    from ckvd_sql.fetch.jobs import Job
    from ckvd_sql.market.query import Query

    Time = str | date | datetime


@dataclass(frozen=True, slots=True)
class DayReport:
    """What became of one day of a `fetch`.

    Attributes:
        symbol: The symbol.
        date: The UTC day.
        outcome: `cached` (it was there), `vision` or `rest` (fetched from there), `empty` (it has no bar), `failed`.
        rows: How many closed bars the day has.
        error: Why it failed.
    """

    symbol: str
    date: date
    outcome: str
    rows: int = 0
    error: CkvdError | None = None


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What became of every day of a `fetch`."""

    days: tuple[DayReport, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many days had which outcome; all five outcomes are there."""
        found = Counter(day.outcome for day in self.days)
        return {outcome: found[outcome] for outcome in ("cached", "vision", "rest", "empty", "failed")}

    @property
    def failed(self) -> tuple[DayReport, ...]:
        """The days that could not be had."""
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
            raise SettingsError(next(iter(overrides)), next(iter(overrides.values())), "a Settings object says it all")
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
            start_time: A date, a datetime or ISO 8601 text; without a zone it is UTC.
            end_time: Likewise; None is now.
            interval: `1s` (spot alone) to `1mo`.
            market: `spot`, `um` or `cm`.
            include_open: Whether to include the bar that is still forming.

        Raises:
            InvalidArgumentError: An argument is refused; nothing was read or asked.
            CkvdError: A day could not be had; see the tree in `ckvd_sql.errors`.
        """
        import polars as pl  # noqa: PLC0415 (not free, and SQL does without)

        query = self._query(symbol, interval, start_time, end_time, market, include_open=include_open)
        frame = pl.from_arrow(whole_table(self._resolver.stream(query), plain_word), rechunk=False)
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
        """The same as a pyarrow Table. Large cached days are the mapped files' own memory, small ones are joined."""
        query = self._query(symbol, interval, start_time, end_time, market, include_open=include_open)
        return whole_table(self._resolver.stream(query))

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
        """Where each day would come from now, asking nobody: the columns of `ckvd_plan`."""
        query = self._query(symbol, interval, start_time, end_time, market, include_open=include_open)
        return pa.Table.from_pylist(list(plan_rows(self._resolver, query)), schema=PLAN_SCHEMA)

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
        """Fill the cache. A day that fails is reported and the others go on; calling again goes on from there.

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
        failed: list[DayReport] = []

        def on_error(job: Job, error: CkvdError) -> None:
            failed.extend(DayReport(job.series.symbol, day, "failed", error=error) for day in job.days)

        for series in query.series():
            for one in self._resolver.plan(query, series):
                if one.origin is Origin.UNLISTED:
                    yield DayReport(series.symbol, one.day, "empty")
        for step in self._resolver.stream(query, whole_days=True, on_error=on_error):
            yield from _drain(failed)
            for day in step.days:
                rows = day.bars.num_rows
                outcome = ("cached" if day.source == "cache" else day.source) if rows else "empty"
                yield DayReport(step.series.symbol, day.day, outcome, rows)
        yield from _drain(failed)

    def _query(
        self,
        symbol: str | Sequence[str],
        interval: str,
        start: Time,
        end: Time | None,
        market: str,
        *,
        include_open: bool,
    ) -> Query:
        last = "now" if end is None else end
        return parse_query(symbol, interval, start, last, market, include_open, now=self.settings.clock())


def _drain(reports: list[DayReport]) -> Iterator[DayReport]:
    while reports:
        yield reports.pop(0)
