"""The sandbox's archive: which files exist from when on, and their format."""

from __future__ import annotations

import hashlib
from datetime import date

import httpx
import pytest

from ckvd_sql.market.periods import Month, Period
from ckvd_sql.market.series import Market
from ckvd_sql.sandbox import Sandbox
from tests.support.exchange import (
    ZIP,
    expected_rows,
    in_rest_shape,
    ms,
    rest_rows,
    zip_path,
    zip_rows,
)
from tests.support.truth import at


@pytest.mark.parametrize("market", Market)
@pytest.mark.parametrize("interval", ["1m", "1h", "1d"])
def test_archive_and_rest_have_the_same_bars(client: httpx.Client, market: Market, interval: str) -> None:
    cells = zip_rows(client, zip_path(market, interval, date(2022, 4, 30)))
    start, end = ms("2022-04-30"), ms("2022-05-01") - 1
    pages = [(start, start + 12 * 3_600_000 - 1), (start + 12 * 3_600_000, end)]
    found = [
        row
        for first, last in pages
        for row in rest_rows(client, market, interval=interval, startTime=first, endTime=last, limit=1000)
    ]
    assert found == [in_rest_shape(one) for one in cells]
    assert found == expected_rows(market, interval, "2022-04-30", "2022-05-01")


@pytest.mark.parametrize("interval", ["1h", "1d", "3d", "1w", "1mo"])
def test_monthly_archives_have_the_bars_that_open_in_the_month(client: httpx.Client, interval: str) -> None:
    cells = zip_rows(client, zip_path(Market.SPOT, interval, Month(2024, 3)))
    assert [in_rest_shape(one) for one in cells] == expected_rows(Market.SPOT, interval, "2024-03-01", "2024-04-01")


def test_spot_has_no_header_and_futures_have_one_since_2022_05(client: httpx.Client) -> None:
    for market, day, header in [
        (Market.SPOT, date(2024, 6, 1), False),
        (Market.UM, date(2022, 4, 30), False),
        (Market.UM, date(2022, 5, 1), True),
        (Market.CM, date(2024, 6, 1), True),
    ]:
        cells = zip_rows(client, zip_path(market, "12h", day))
        assert (cells[0][0] == "open_time") is header
        assert {len(one) for one in cells} == {12}
        assert len(cells) == 2 + header


def test_spot_counts_microseconds_from_2025_on(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.set_now("2025-03-01")
    before, since = (
        zip_rows(client, zip_path(Market.SPOT, "1h", one))[0] for one in (date(2024, 12, 31), date(2025, 1, 1))
    )
    assert (before[0], before[6]) == (str(ms("2024-12-31")), str(ms("2024-12-31T01:00") - 1))
    assert (since[0], since[6]) == (str(at("2025-01-01")), str(at("2025-01-01T01:00") - 1))
    um = zip_rows(client, zip_path(Market.UM, "1h", date(2025, 1, 1)))[1]
    assert um[0] == str(ms("2025-01-01"))
    assert rest_rows(client, Market.SPOT, startTime=ms("2025-01-01"), limit=1)[0] == in_rest_shape(since)


def test_checksums_end_with_a_newline_on_futures_only(client: httpx.Client) -> None:
    ends = [client.get(zip_path(market, "1h", date(2024, 6, 1)) + ".CHECKSUM").text[-1] for market in Market]
    assert ends == ["p", "\n", "\n"]


@pytest.mark.parametrize(
    ("market", "interval", "period", "published"),
    [
        (Market.SPOT, "1h", date(2024, 6, 1), at("2024-06-02T04:00")),
        (Market.UM, "1h", date(2024, 6, 1), at("2024-06-02T08:35")),
        (Market.SPOT, "1d", Month(2024, 5), at("2024-06-04")),
        (Market.SPOT, "1w", Month(2024, 4), at("2024-05-06T04:00")),  # its last week ends in May
    ],
)
def test_a_file_exists_once_it_is_published(
    exchange: Sandbox, client: httpx.Client, market: Market, interval: str, period: Period, published: int
) -> None:
    where = zip_path(market, interval, period)
    exchange.set_now(published - 1)
    for ending in ("", ".CHECKSUM"):
        answer = client.get(where + ending)
        assert answer.status_code == 404
        assert "<Code>NoSuchKey</Code>" in answer.text
    exchange.set_now(published)
    assert zip_rows(client, where)
    assert client.get(where).headers["Last-Modified"] == client.get(where).headers["Date"]


@pytest.mark.parametrize(
    "where",
    [
        zip_path(Market.SPOT, "1h", date(2017, 8, 16)),
        zip_path(Market.SPOT, "1w", date(2024, 6, 3)),
        ZIP.replace("BTCUSDT", "NOSUCHUSDT"),
        ZIP.replace("-06-01", "-02-30"),
        "/data/futures/um/daily/klines/BTCUSDT/1s/BTCUSDT-1s-2024-06-01.zip",
        "/data/spot/daily/klines/BTCUSDT/1h/",
        "/elsewhere",
    ],
)
def test_a_missing_file_is_404(client: httpx.Client, where: str) -> None:
    assert client.get(where).status_code == 404


def test_zips_are_the_same_bytes_from_every_sandbox(client: httpx.Client) -> None:
    first = client.get(ZIP)
    assert first.headers["ETag"] == f'"{hashlib.md5(first.content, usedforsecurity=False).hexdigest()}"'
    with Sandbox(now="2026-01-01") as other:
        assert httpx.get(other.url + ZIP).content == first.content


def test_files_can_be_requested_by_range_or_if_changed(client: httpx.Client) -> None:
    whole = client.get(ZIP)
    assert int(client.head(ZIP).headers["Content-Length"]) == len(whole.content)
    part = client.get(ZIP, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert client.get(ZIP, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304


def test_a_non_ascii_symbol_works_percent_encoded(exchange: Sandbox, client: httpx.Client) -> None:
    exchange.set_now("2025-11-15")
    symbol = "币安人生USDT"
    cells = zip_rows(client, zip_path(Market.SPOT, "1h", date(2025, 10, 8), symbol))
    found = rest_rows(client, Market.SPOT, symbol=symbol, startTime=ms("2025-10-08"), limit=24)
    assert found == [in_rest_shape(one) for one in cells]
    assert symbol in exchange.requests[0].path
