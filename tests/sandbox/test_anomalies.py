"""Anomalies of the sandbox's archive: odd or damaged files with checksums that match."""

from __future__ import annotations

import hashlib
import io
import zipfile
from datetime import date

import httpx
import pytest

from ckvd_sql.market.series import Market
from ckvd_sql.sandbox import ANOMALIES, Fault, Sandbox
from ckvd_sql.sandbox.anomalies import MEMBERS, ROWS, TEXTS
from tests.support.exchange import (
    ZIP,
    expected_rows,
    in_rest_shape,
    ms,
    rest_rows,
    zip_path,
    zip_rows,
)


def zip_members(client: httpx.Client, where: str) -> list[tuple[str, bytes]]:
    """The names and contents of a zip's members, its checksum verified."""
    body, checksum = client.get(where), client.get(f"{where}.CHECKSUM")
    assert body.status_code == checksum.status_code == 200
    assert checksum.text.split("  ") == [hashlib.sha256(body.content).hexdigest(), where.rpartition("/")[2]]
    with zipfile.ZipFile(io.BytesIO(body.content)) as archive:
        return [(one.filename, archive.read(one)) for one in archive.infolist()]


@pytest.fixture(scope="module")
def clean(running_exchange: Sandbox) -> bytes:
    with zipfile.ZipFile(io.BytesIO(httpx.get(running_exchange.url + ZIP).content)) as archive:
        return archive.read(archive.namelist()[0])


@pytest.mark.parametrize("name", ANOMALIES)
def test_an_anomaly_is_published_with_a_matching_checksum_while_rest_has_the_true_rows(
    exchange: Sandbox, client: httpx.Client, clean: bytes, name: str
) -> None:
    exchange.add(Fault(path=r"\.zip", kind="anomaly", name=name))
    spoiled, csv = zip_members(client, ZIP), ZIP.rpartition("/")[2].replace(".zip", ".csv")
    # An hour of spot has no header, and is in milliseconds; on a regular day volumes are right.
    if name not in ("no header", "mixed units", "lower volumes"):
        assert spoiled != [(csv, clean)]
    found = rest_rows(client, Market.SPOT, startTime=ms("2024-06-01"), endTime=ms("2024-06-02") - 1)
    assert found == expected_rows(Market.SPOT, "1h", "2024-06-01", "2024-06-02")
    exchange.clear_faults()
    assert zip_members(client, ZIP) == [(csv, clean)]


@pytest.mark.parametrize(
    ("name", "number", "times"),
    [
        ("off grid", 9, ("2024-06-01T09:58:14.789", "2024-06-01T10:58:14.788")),
        ("off grid", 23, ("2024-06-01T23:58:14.789", "2024-06-01T23:59:59.999")),
        ("off grid", 8, ("2024-06-01T08:00", "2024-06-01T08:59:59.999")),
        ("early close", 12, ("2024-06-01T12:00", "2024-06-01T12:39:41.646")),
        ("close before open", 14, ("2024-06-01T14:00", "2024-06-01T13:59:59.999")),
        ("missing bars", 13, ("2024-06-01T14:00", "2024-06-01T14:59:59.999")),
        ("duplicates", 7, ("2024-06-01T06:00", "2024-06-01T06:59:59.999")),
        ("ends at 07:36", -1, ("2024-06-01T07:00", "2024-06-01T07:59:59.999")),
        ("unsorted", 0, ("2024-06-01T23:00", "2024-06-01T23:59:59.999")),
        ("another day", 0, ("2024-06-02T00:00", "2024-06-02T00:59:59.999")),
    ],
)
def test_anomalies_of_rows_are_in_the_archive_and_on_request_in_rest(
    exchange: Sandbox, client: httpx.Client, name: str, number: int, times: tuple[str, str]
) -> None:
    exchange.add(Fault(path=r"\.zip|/klines", kind="anomaly", name=name))
    (cells,) = (text.decode().splitlines() for _, text in zip_members(client, ZIP))
    row = cells[number].split(",")
    assert (int(row[0]), int(row[6])) == tuple(map(ms, times))
    if name not in ("another day", "unsorted"):
        day = {"startTime": ms("2024-06-01"), "endTime": ms("2024-06-02") - 1}
        assert rest_rows(client, Market.SPOT, **day) == [in_rest_shape(one.split(",")) for one in cells]
        part = rest_rows(client, Market.SPOT, startTime=ms(times[0]), endTime=ms(times[0]))
        assert in_rest_shape(row) in part


def test_anomalies_of_cells_change_one_row(exchange: Sandbox, client: httpx.Client, clean: bytes) -> None:
    lines = [line.split(b",") for line in clean.splitlines()]
    nothing, noon = b"0.00000000", lines[12]
    expected = {
        "zero trades": [noon[0], *[noon[1]] * 4, nothing, noon[6], nothing, b"0", nothing, nothing, b"0"],
        "field missing": noon[:11],
        "no number": [*noon[:4], b"n/a", *noon[5:]],
        "not finite": [*noon[:4], b"NaN", *noon[5:]],
        "no time": [b"0", *noon[1:]],
    }
    for name, row in expected.items():
        exchange.clear_faults()
        exchange.add(Fault(path=r"\.zip", kind="anomaly", name=name))
        ((_, text),) = zip_members(client, ZIP)
        assert [line.split(b",") for line in text.splitlines()] == [*lines[:12], row, *lines[13:]], name
    exchange.clear_faults()
    exchange.add(Fault(path=r"\.zip", kind="anomaly", name="conflicting duplicates"))
    cells = zip_rows(client, ZIP)
    assert (len(cells), cells[6][:8], int(cells[7][8])) == (26, cells[7][:8], int(cells[6][8]) + 1)


def test_anomalies_of_text_keep_the_rows(exchange: Sandbox, client: httpx.Client, clean: bytes) -> None:
    for name in TEXTS:
        exchange.clear_faults()
        exchange.add(Fault(path=r"\.zip", kind="anomaly", name=name))
        ((_, text),) = zip_members(client, ZIP)
        match name:
            case "header":
                assert text.startswith(b"open_time,open,")
                assert text.partition(b"\n")[2] == clean
            case "blank lines":
                assert (text.count(b"\n\n"), text.split()) == (24, clean.split())
            case "CRLF":
                assert text == clean.replace(b"\n", b"\r\n")
            case "no last line end":
                assert text + b"\n" == clean
            case _:
                assert text == clean


def test_anomalies_of_members_change_the_zip(exchange: Sandbox, client: httpx.Client) -> None:
    expected = {
        "wrong file": ["NOTBTCUSDT-1h-2024-06-01.csv"],
        "two members": ["BTCUSDT-1h-2024-06-01.csv", "README.txt"],
        "same member twice": ["BTCUSDT-1h-2024-06-01.csv"] * 2,
        "member with a path": ["../../../../../../BTCUSDT-1h-2024-06-01.csv"],
        "member with a root": ["/tmp/BTCUSDT-1h-2024-06-01.csv"],  # noqa: S108 (never written)
        "member in a folder": ["data/BTCUSDT-1h-2024-06-01.csv"],
        "no member": [],
        "zip bomb": ["BTCUSDT-1h-2024-06-01.csv"],
    }
    assert expected.keys() == MEMBERS.keys()
    for name, names in expected.items():
        exchange.clear_faults()
        exchange.add(Fault(path=r"\.zip", kind="anomaly", name=name))
        found = zip_members(client, ZIP)
        assert [member for member, _ in found] == names
        if name == "zip bomb":
            assert len(found[0][1]) > 60_000_000 > 600 * len(client.get(ZIP).content)
    assert set(ANOMALIES) == {*ROWS, *TEXTS, *MEMBERS}


def test_mixed_units_put_milliseconds_among_microseconds(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.set_now("2025-03-01")
    where = zip_path(Market.SPOT, "1h", date(2025, 1, 1))
    before = zip_rows(client, where)
    exchange.add(Fault(path=r"\.zip", kind="anomaly", name="mixed units"))
    after = zip_rows(client, where)
    assert [len(row[0]) for row in after[:4]] == [16, 13, 13, 16]
    assert [in_rest_shape(row) for row in after] == [in_rest_shape(row) for row in before]


def test_futures_can_be_without_their_header(exchange: Sandbox, client: httpx.Client) -> None:
    where = zip_path(Market.UM, "1h", date(2024, 6, 1))
    with_header = zip_rows(client, where)
    exchange.add(Fault(path=r"\.zip", kind="anomaly", name="no header"))
    assert zip_rows(client, where) == with_header[1:]


def test_a_truncated_file_is_replaced_when_its_fault_ends(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.add(Fault(path=r"\.zip", kind="anomaly", name="ends at 07:36", until="2024-06-20"))
    where = zip_path(Market.SPOT, "1m", date(2024, 6, 1))
    truncated = zip_rows(client, where)
    assert (len(truncated), int(truncated[-1][0])) == (457, ms("2024-06-01T07:36"))
    exchange.set_now("2024-06-20")
    assert len(zip_rows(client, where)) == 1440
