"""Lakes for tests: periods of made-up bars, a bucket on loopback, and what lies in a lake's folder."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pyarrow as pa

from ckvd_sql.lake.parquet import LakeMetadata
from ckvd_sql.market.periods import FilePeriod, days_between
from tests.support.days import FROM_REST, day_bars

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from pathlib import Path

    from ckvd_sql.market.series import Series


def made_up_period(series: Series, day: date) -> tuple[LakeMetadata, pa.RecordBatch]:
    """The whole period of a series that holds a day, as it would be written."""
    (period,) = series.interval.file_periods(day, day)
    assert isinstance(period, FilePeriod)
    days = list(days_between(period.first, period.last))
    bars = pa.concat_batches([day_bars(series, one) for one in days])  # type: ignore[attr-defined]
    provenance = dict.fromkeys(days, FROM_REST)
    return LakeMetadata(series, period, provenance, [], None, complete=True, content="1", rows=bars.num_rows), bars


def files_of(root: Path) -> list[Path]:
    """The Parquet files of a lake in a folder."""
    return sorted(root.rglob("*.parquet"))


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """An S3 server on loopback; yields its URL."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 (slow to load)

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def s3_environment(url: str) -> dict[str, str]:
    """The environment in which S3 is that server."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
