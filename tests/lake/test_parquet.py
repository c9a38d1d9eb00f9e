"""A period's Parquet file: what it gives back, and that nothing but the expected period is ever read from it."""

from __future__ import annotations

import random
from datetime import date
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ckvd_sql.lake import parquet
from ckvd_sql.lake.layout import key_of
from ckvd_sql.market.periods import FilePeriod
from ckvd_sql.market.provenance import GapCheck, Provenance, Source
from tests.support.bars import series
from tests.support.lakes import made_up_period

if TYPE_CHECKING:
    from ckvd_sql.lake.parquet import LakeBars
    from ckvd_sql.market.series import Series

HOURS = series("spot", "BTCUSDT", "1h")
MINUTES = series("um", "BTCUSDT", "15m")
YEAR = FilePeriod.year_of(date(2023, 1, 1))


def opened(content: bytes) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)


def read(content: bytes, one: Series = HOURS, period: FilePeriod = YEAR) -> LakeBars:
    return parquet.read(opened(content), one, period, period.first, period.last)


SECONDS = series("spot", "BTCUSDT", "1s")
MONTHS = series("cm", "BTCUSD_PERP", "1mo")


@pytest.mark.parametrize(
    ("one", "day", "key"),
    [
        (HOURS, date(2023, 5, 1), "market=spot/interval=1h/symbol=BTCUSDT/2023.parquet"),
        (MINUTES, date(2023, 4, 9), "market=um/interval=15m/symbol=BTCUSDT/2023-04.parquet"),
        (SECONDS, date(2023, 4, 9), "market=spot/interval=1s/symbol=BTCUSDT/2023-04.parquet"),
        (MONTHS, date(2023, 4, 1), "market=cm/interval=1mo/symbol=BTCUSD_PERP/2023.parquet"),
    ],
)
def test_long_bars_lie_by_year_and_short_ones_by_month(one: Series, day: date, key: str) -> None:
    (period,) = one.interval.file_periods(day, day)
    assert key_of(one, period) == f"binance/{key}"
    assert period.first <= day <= period.last


def test_a_file_gives_back_the_bars_bit_for_bit() -> None:
    metadata, bars = made_up_period(HOURS, date(2023, 1, 1))
    got = read(parquet.encode(metadata, bars))
    assert got.rows.equals(bars)
    assert got.rows.schema == bars.schema
    assert set(got.days) == set(metadata.days)
    assert got.complete


def test_a_part_of_the_days_and_columns_is_read() -> None:
    metadata, bars = made_up_period(MINUTES, date(2023, 4, 9))
    first, last = date(2023, 4, 10), date(2023, 4, 11)
    got = parquet.read(opened(parquet.encode(metadata, bars)), MINUTES, metadata.period, first, last, ["close"])
    assert got.rows.schema.names == ["open_time", "close"]
    assert list(got.days) == [first, last]
    assert got.rows.equals(bars.slice(9 * 96, 2 * 96).select(["open_time", "close"]))


def test_the_provenance_of_every_day_comes_back() -> None:
    metadata, bars = made_up_period(HOURS, date(2023, 1, 1))
    root = "https://data.binance.vision/"
    days: dict[date, Provenance] = {}
    for number, day in enumerate(metadata.days):
        if number % 3 == 0:
            days[day] = Provenance(Source.REST, "https://api.example", "", 1_000_000)
        elif number % 3 == 1:
            url = root + HOURS.archive_path(day)
            days[day] = Provenance(
                Source.VISION, url, f"{number:064x}", 2_000_000, verified=True, gaps=GapCheck.CONFIRMED
            )
        else:
            month = FilePeriod.month_of(day)
            url = root + HOURS.archive_path(next(iter(month.span.months())))
            days[day] = Provenance(Source.VISION, url, "a" * 64, 3_000_000, verified=False, duplicates=True)
    content = parquet.encode(
        parquet.LakeMetadata(HOURS, YEAR, days, [], 7_000_000, complete=False, content="x", rows=bars.num_rows), bars
    )
    told = parquet.describe(opened(content), HOURS, YEAR)
    assert told.days == days
    assert (told.first_open, told.complete, told.content, told.rows) == (7_000_000, False, "x", bars.num_rows)


def test_days_of_one_archive_are_told_once() -> None:
    metadata, bars = made_up_period(HOURS, date(2023, 1, 1))
    stored = opened(parquet.encode(metadata, bars)).metadata.metadata
    assert stored
    assert len(stored[b"ckvd.days"]) < 400


def test_sources_are_told_by_run() -> None:
    metadata, bars = made_up_period(HOURS, date(2023, 1, 1))
    days = dict(metadata.days)
    archived = Provenance(
        Source.VISION, "https://x/" + HOURS.archive_path(date(2023, 1, 3)), "0" * 64, 0, verified=True
    )
    days[date(2023, 1, 3)] = archived
    made = parquet.LakeMetadata(HOURS, YEAR, days, [], None, complete=True, content="", rows=bars.num_rows)
    parts = read(parquet.encode(made, bars)).parts([date(2023, 1, day) for day in (1, 2, 3, 4)])
    assert [(part.source.value, part.rows.num_rows) for part in parts] == [("rest", 48), ("vision", 24), ("rest", 24)]


def test_other_engines_see_symbol_and_date_and_exact_types() -> None:
    metadata, bars = made_up_period(HOURS, date(2023, 1, 1))
    frame = pl.read_parquet(parquet.encode(metadata, bars))
    assert frame.columns == ["symbol", "date", *bars.schema.names]
    assert frame["symbol"].unique().to_list() == ["BTCUSDT"]
    assert frame.schema["open_time"] == pl.Datetime("us", "UTC")
    assert frame.schema["close"] == pl.Float64
    assert frame.schema["trades"] == pl.Int64
    assert frame["date"].equals(frame["open_time"].dt.date().rename("date"))


def test_floats_are_byte_stream_split_in_zstd_with_statistics_and_checksums() -> None:
    metadata, bars = made_up_period(HOURS, date(2023, 1, 1))
    group = opened(parquet.encode(metadata, bars)).metadata.row_group(0)
    columns = {group.column(number).path_in_schema: group.column(number) for number in range(group.num_columns)}
    assert "BYTE_STREAM_SPLIT" in columns["close"].encodings
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert all(column.is_stats_set for column in columns.values())


def test_another_series_or_period_is_refused() -> None:
    metadata, bars = made_up_period(HOURS, date(2023, 1, 1))
    content = parquet.encode(metadata, bars)
    with pytest.raises(ValueError, match="binance/spot/BTCUSDT/1h"):
        read(content, series("spot", "ETHUSDT", "1h"))
    with pytest.raises(ValueError, match="2023"):
        read(content, HOURS, FilePeriod.year_of(date(2022, 1, 1)))


def test_bars_that_are_not_in_order_or_of_another_year_are_refused() -> None:
    metadata, bars = made_up_period(HOURS, date(2023, 1, 1))
    backwards = bars.take(pa.array(range(bars.num_rows - 1, -1, -1)))
    with pytest.raises(ValueError, match="not in order"):
        read(parquet.encode(metadata, backwards))
    _, others = made_up_period(HOURS, date(2022, 1, 1))
    with pytest.raises(ValueError, match="another period"):
        read(parquet.encode(metadata, others))


def test_a_parquet_file_of_someone_else_is_refused() -> None:
    written = pa.BufferOutputStream()
    pq.write_table(pa.table({"open_time": [1]}), written)
    with pytest.raises(ValueError, match="nothing"):
        read(written.getvalue().to_pybytes())


def test_random_damage_is_never_read_as_other_bars() -> None:
    metadata, bars = made_up_period(HOURS, date(2023, 1, 1))
    content = parquet.encode(metadata, bars)
    chance = random.Random(12)  # noqa: S311 (damage)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        kind = chance.randrange(3)
        if kind == 0:
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del damaged[chance.randrange(len(damaged)) :]
        else:
            at = chance.randrange(len(damaged))
            damaged[at : at + 64] = bytes(min(64, len(damaged) - at))
        try:
            got = read(bytes(damaged))
        except parquet.UNREADABLE:
            refused += 1
        else:
            assert got.rows.equals(bars)
    assert refused > 100
