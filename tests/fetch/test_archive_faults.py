"""Faults of the archive: the rows are right all the same, or there is an error and nothing is cached."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from ckvd_sql import (
    ProviderError,
)
from ckvd_sql.sandbox import Fault, Sandbox
from tests.support.arrow import check_cached_days, table_bars, table_sources
from tests.support.faults import ARCHIVE, ARCHIVE_FAULTS, REST, timeout_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeClient, Truth
SPAN = ("2024-05-01", "2024-05-03")

#: The faults that mean that the file is not published, and the redirects that end there.
MEANS_NOT_PUBLISHED = ("403", "404", "redirect to nowhere", "redirect loop")


@pytest.mark.parametrize("name", ARCHIVE_FAULTS)
def test_when_the_archive_fails_the_rows_come_from_rest(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, name: str
) -> None:
    exchange.add(Fault(ARCHIVE, **ARCHIVE_FAULTS[name]))
    client = make_client(retries=0, **timeout_for(name))
    found = client.klines("BTCUSDT", *SPAN)
    assert (table_bars(found), table_sources(found)) == (truth("BTCUSDT", "1h", *SPAN), {"rest"})
    check_cached_days(client, truth)
    exchange.clear_faults()
    more = make_client().klines("BTCUSDT", "2024-04-30", "2024-05-04")
    assert table_bars(more) == truth("BTCUSDT", "1h", "2024-04-30", "2024-05-04")
    assert table_sources(more) == {"rest", "vision"}


@pytest.mark.parametrize("name", [name for name in ARCHIVE_FAULTS if name not in MEANS_NOT_PUBLISHED])
def test_a_fault_of_the_archive_that_happens_once_is_retried(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, name: str
) -> None:
    exchange.add(Fault(rf"{ARCHIVE}$", **{**ARCHIVE_FAULTS[name], "times": 1}))
    found = make_client(**timeout_for(name)).klines("BTCUSDT", "2024-05-01", "2024-05-02")
    assert (table_bars(found), table_sources(found)) == (truth("BTCUSDT", "1h", "2024-05-01", "2024-05-02"), {"vision"})


@pytest.mark.parametrize("name", ARCHIVE_FAULTS)
def test_when_archive_and_rest_both_fail_there_is_an_error_and_nothing_is_cached(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, name: str
) -> None:
    exchange.add(Fault(ARCHIVE, **ARCHIVE_FAULTS[name]))
    exchange.add(Fault(REST, "status", status=503))
    client = make_client(retries=0, **timeout_for(name))
    with pytest.raises(ProviderError) as failed:
        client.klines("BTCUSDT", *SPAN)
    assert "2024-05-01" in str(failed.value)
    assert not list(client.settings.cache_dir.rglob("*.arrow"))
    exchange.clear_faults()
    assert table_bars(make_client().klines("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)


def test_a_file_that_was_not_published_is_requested_again_by_the_next_query(
    exchange: Sandbox, make_client: MakeClient, truth: Truth
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    assert table_sources(make_client().klines("BTCUSDT", *SPAN)) == {"rest"}
    exchange.clear_faults()
    found = make_client().klines("BTCUSDT", "2024-05-03", "2024-05-05")
    assert (table_bars(found), table_sources(found)) == (truth("BTCUSDT", "1h", "2024-05-03", "2024-05-05"), {"vision"})


@pytest.mark.parametrize("kind", ["torn", "length"])
def test_a_truncated_zip_is_never_used(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, tmp_path: Path, kind: str
) -> None:
    where = "/data/spot/daily/klines/BTCUSDT/15m/BTCUSDT-15m-2024-05-01.zip"
    size = len(httpx.get(exchange.url + where).content)
    expected = truth("BTCUSDT", "15m", "2024-05-01", "2024-05-02")
    assert size > 4 * 1024
    for cut in (0, 1, *range(1024, size, 1024), size - 1):
        exchange.clear_faults()
        exchange.add(Fault(rf"{ARCHIVE}$", kind, after=cut))
        client = make_client(retries=0, cache_dir=tmp_path / str(cut))
        found = client.klines("BTCUSDT", "2024-05-01", "2024-05-02", "15m")
        assert (table_bars(found), table_sources(found)) == (expected, {"rest"}), cut


def test_a_truncated_checksum_file_is_never_accepted(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, tmp_path: Path
) -> None:
    expected = truth("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    for cut in (0, 1, 32, 63, 64, 65, 66, 80, 90):
        exchange.clear_faults()
        exchange.add(Fault(rf"{ARCHIVE}\.CHECKSUM$", "length", after=cut))
        client = make_client(retries=0, cache_dir=tmp_path / str(cut))
        found = client.klines("BTCUSDT", "2024-05-01", "2024-05-02")
        assert (table_bars(found), table_sources(found)) == (expected, {"rest"}), cut
