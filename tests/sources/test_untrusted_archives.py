"""Hostile zips: refused without extracting a file, and with bounded memory."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
import zipfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from ckvd_sql import MalformedDataError
from ckvd_sql.market.parse import parse_interval
from ckvd_sql.market.series import Market, Series
from ckvd_sql.sandbox import Fault, Sandbox
from ckvd_sql.sandbox.anomalies import MEMBERS, spoiled
from ckvd_sql.sources.parse import read_archive
from tests.support.clients import DAY, ZIP, client_for
from tests.support.faults import ARCHIVE

if TYPE_CHECKING:
    import pyarrow as pa


def zip_of_a_day(exchange: Sandbox) -> bytes:
    return httpx.get(exchange.url + ZIP).content


def read_zip(body: bytes) -> dict[date, pa.RecordBatch]:
    series = Series(Market.SPOT, "BTCUSDT", parse_interval("1h", Market.SPOT))
    return read_archive(body, series, date(2024, 5, 1), "http://127.0.0.1/x.zip")


@pytest.mark.parametrize("name", MEMBERS)
def test_a_zip_with_unexpected_members_is_refused_and_nothing_is_extracted(
    exchange: Sandbox, tmp_path: Path, name: str
) -> None:
    with pytest.raises(MalformedDataError):
        read_zip(spoiled(zip_of_a_day(exchange), name))
    exchange.forget()
    exchange.add(Fault(ARCHIVE, "anomaly", name=name))
    found = client_for(exchange, tmp_path / "cache").klines("BTCUSDT", *DAY)
    assert set(found.column("source").to_pylist()) == {"rest"}
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert not list(tmp_path.rglob("*.csv"))
    assert not Path("/tmp/BTCUSDT-1h-2024-05-01.csv").exists()  # noqa: S108 (the path in the zip)


def test_a_zip_bomb_is_refused_before_it_fills_the_memory(exchange: Sandbox) -> None:
    bomb = spoiled(zip_of_a_day(exchange), "zip bomb")
    assert len(bomb) < 200_000
    tracemalloc.start()
    try:
        with pytest.raises(MalformedDataError, match="unpacks to more than"):
            read_zip(bomb)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4_000_000  # of the 67 million bytes that it holds


@pytest.mark.parametrize("method", ["deflated", "bzip2", "lzma"])
@pytest.mark.parametrize("damage", ["middle", "end", "size", "encrypted", "method"])
def test_a_zip_with_false_member_headers_is_malformed(exchange: Sandbox, method: str, damage: str) -> None:
    compression = {"deflated": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}[method]
    with zipfile.ZipFile(io.BytesIO(zip_of_a_day(exchange))) as archive:
        name = archive.namelist()[0]
        text = archive.read(name)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        made.writestr(name, text)
        start = made.getinfo(name).header_offset + 30 + len(name)
        size = made.getinfo(name).compress_size
    body = bytearray(buffer.getvalue())
    directory = body.rindex(b"PK\x01\x02")
    match damage:
        case "middle" | "end":
            at = start + (size // 2 if damage == "middle" else size - 12)
            body[at : at + 8] = bytes(byte ^ 0xFF for byte in body[at : at + 8])
        case "size":
            body[directory + 24 : directory + 28] = (10**9).to_bytes(4, "little")
            body[22:26] = (10**9).to_bytes(4, "little")
        case "encrypted":
            body[directory + 8] |= 1
            body[6] |= 1
        case _:
            body[directory + 10] = body[8] = 77
    if damage == "size":  # accepted only with exactly its bars
        with contextlib.suppress(MalformedDataError):
            assert [bars.num_rows for bars in read_zip(bytes(body)).values()] == [24]
        return
    with pytest.raises(MalformedDataError):
        read_zip(bytes(body))
