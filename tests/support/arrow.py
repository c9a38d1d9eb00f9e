"""Arrow tables that a Python client returned, in the shape of `tests.support.bars.read`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from ckvd_sql import CryptoKlineVisionData
    from tests.conftest import Truth
    from tests.support.bars import Bar


def table_bars(table: pa.Table) -> list[Bar]:
    """The bars of a table."""
    columns = [
        [int(cell.value) for cell in table.column(name)] if name.endswith("_time") else table.column(name).to_pylist()
        for name in table.column_names
        if name not in ("symbol", "source")
    ]
    return list(zip(*columns, strict=True))


def table_sources(table: pa.Table) -> set[str | None]:
    """The values of its column `source`."""
    return set(table.column("source").to_pylist())


def check_cached_days(client: CryptoKlineVisionData, truth: Truth, interval: str = "1h") -> None:
    """Every cached BTCUSDT day around `2024-05-01` has the exchange's bars, all of them."""
    for row in client.plan("BTCUSDT", "2024-04-28", "2024-05-06", interval).to_pylist():
        if row["source"] == "cache":
            day = str(row["date"])
            end = f"{day}T23:59:59"
            assert table_bars(client.klines("BTCUSDT", day, end, interval)) == truth("BTCUSDT", interval, day, end)
