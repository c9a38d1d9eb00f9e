"""Synthetic days whose values identify their cells, to write into a day store and to compare with what is read."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

import ckvd_sql
from ckvd_sql.market.bars import BAR_SCHEMA
from ckvd_sql.market.periods import DAY, HOUR, day_start, days_between
from ckvd_sql.market.provenance import Provenance, Source
from ckvd_sql.market.series import INTERVALS, Market, Series

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckvd_sql.cache.store import DayStore

HOURS = Series(Market.SPOT, "BTCUSDT", INTERVALS["1h"])
MINUTES = Series(Market.SPOT, "BTCUSDT", INTERVALS["15m"])
SECONDS = Series(Market.SPOT, "BTCUSDT", INTERVALS["1s"])

YEAR = list(days_between(date(2023, 1, 1), date(2023, 12, 31)))
MARCH = list(days_between(date(2023, 3, 1), date(2023, 3, 31)))


def bars_of(series: Series, day: date, salt: int = 0) -> pa.RecordBatch:
    """A day's bars; each value is made of the day, the row, the column and the salt."""
    assert series.interval.step
    opens = np.arange(day_start(day), day_start(day) + DAY, series.interval.step)
    if day.day == 13:  # one day has a gap, another no bar
        opens = opens[5:]
    elif day.day == 17:
        opens = opens[:0]
    arrays = [
        pa.array(opens + salt + number if not pa.types.is_timestamp(field.type) else opens).cast(field.type)
        for number, field in enumerate(BAR_SCHEMA)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=BAR_SCHEMA)


def expected(series: Series, days: Iterable[date], salts: dict[date, int] | None = None) -> pa.Table:
    """The bars of some days, with the salts that they were written with."""
    salts = salts or {}
    return pa.Table.from_batches([bars_of(series, day, salts.get(day, 0)) for day in days]).combine_chunks()


def write(store: DayStore, series: Series, days: Iterable[date], salt: int = 0) -> None:
    """Write such days into a store."""
    for day in days:
        store.write(series, day, bars_of(series, day, salt), Provenance(Source.REST, "https://api.example", "", 0))


def read(store: DayStore, series: Series, first: date, last: date) -> pa.Table:
    """The bars of the days from the first to the last, read through a new snapshot."""
    found = [part.rows for part in store.snapshot(series).read_range(first, last)]
    return pa.Table.from_batches(found, schema=BAR_SCHEMA).combine_chunks()


def packs(store: DayStore, series: Series) -> list[str]:
    """The names of the packs of a series."""
    return sorted(path.name for path in (store.folder(series) / ".packs").glob("*.pack"))


def describe_all(store: DayStore) -> list[tuple[Any, ...]]:
    """The date and row count of each cached day, from `ckvd_cache_days`."""
    with ckvd_sql.connect(cache_dir=store.root, offline=True) as con:
        return con.execute("SELECT date, rows FROM ckvd_cache_days ORDER BY ALL").fetchall()


def hourly_bars(day: date, rows: int = 24) -> pa.RecordBatch:
    """The first hours of a day; no two prices are equal."""
    times = [day_start(day) + number * HOUR for number in range(rows)]
    columns: list[Any] = [
        pa.array([number + position / 16 for number in range(rows)]).cast(field.type)
        if pa.types.is_floating(field.type)
        else pa.array(times if field.name != "trades" else range(rows), pa.int64()).cast(field.type)
        for position, field in enumerate(BAR_SCHEMA)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=BAR_SCHEMA)


DATE = date(2024, 6, 1)
BARS = hourly_bars(DATE)
