"""Symbols that REST does not know: an outage of the archive is never "no such symbol"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql import CryptoKlineVisionData, InvalidSymbolError, ProviderUnavailableError
from ckvd_sql.sandbox import Fault

if TYPE_CHECKING:
    from ckvd_sql.sandbox import Sandbox

UNKNOWN = Fault(path=r"/v\d/klines", kind="status", status=400, body='{"code":-1121,"msg":"Invalid symbol."}')

#: A whole month, which has a monthly archive, and some days of the month that is not over, which has none yet.
RANGES = [("2024-04-01", "2024-05-01"), ("2024-06-03", "2024-06-06")]


@pytest.fixture
def client(exchange: Sandbox, settings: dict[str, Any]) -> CryptoKlineVisionData:
    exchange.add(UNKNOWN)
    return CryptoKlineVisionData(**settings | {"retries": 0})


@pytest.mark.parametrize(("start", "end"), RANGES)
@pytest.mark.parametrize("interval", ["1h", "1w"])
def test_while_the_archive_is_down_its_failure_is_raised(
    exchange: Sandbox, client: CryptoKlineVisionData, start: str, end: str, interval: str
) -> None:
    exchange.add(Fault(path="/data/", kind="status", status=503))
    with pytest.raises(ProviderUnavailableError, match="HTTP 503") as raised:
        client.get_data("BTCUSDT", start, end, interval)
    assert raised.value.status == 503


def test_a_failure_of_the_daily_files_alone_is_raised_though_no_monthly_file_is_there(
    exchange: Sandbox, client: CryptoKlineVisionData
) -> None:
    exchange.add(Fault(path="/daily/", kind="status", status=503))
    with pytest.raises(ProviderUnavailableError, match="HTTP 503"):
        client.get_data("BTCUSDT", "2024-06-03", "2024-06-06", "1h")


@pytest.mark.parametrize(("start", "end"), RANGES)
def test_a_symbol_that_the_archive_does_not_have_either_is_refused(
    client: CryptoKlineVisionData, start: str, end: str
) -> None:
    with pytest.raises(InvalidSymbolError, match="no such symbol"):
        client.get_data("NOSUCHUSDT", start, end, "1h")


def test_a_failure_after_the_first_verdict_is_raised_too(exchange: Sandbox, client: CryptoKlineVisionData) -> None:
    exchange.add(Fault(r"/data/.*2024-06-0[1-4]", "status", status=404))
    exchange.add(Fault(r"/data/.*2024-06-0[56]", "status", status=503))  # one more, and the archive counts as down
    report = client.fetch("BTCUSDT", "2024-06-01", "2024-06-13", "1d")
    errors = {day.date.day: type(day.error) for day in report.days}
    assert [errors[day] for day in range(5, 9)] == [ProviderUnavailableError] * 4
    assert [errors[day] for day in range(9, 13)] == [type(None)] * 4


def test_a_file_with_a_wrong_checksum_shows_that_the_symbol_was_traded(
    exchange: Sandbox, settings: dict[str, Any]
) -> None:
    exchange.add(UNKNOWN)
    exchange.add(Fault(r"/daily/", "checksum"))
    client = CryptoKlineVisionData(**settings | {"retries": 0, "checksum": "warn"})
    assert client.get_data("BTCUSDT", "2024-06-03", "2024-06-06", "1h").height == 3 * 24


def test_gaps_of_a_symbol_that_only_the_archive_has_are_found_without_a_cache(
    exchange: Sandbox, settings: dict[str, Any], tmp_path: Any
) -> None:
    import ckvd_sql  # noqa: PLC0415

    exchange.add(UNKNOWN)
    exchange.add(Fault(path="BTCUSDT-1h-2024-04(-01)?[.]zip", kind="status", status=404))
    blocked = tmp_path / "file"
    blocked.write_text("")
    with ckvd_sql.connect(**settings | {"cache_dir": blocked / "cache"}) as con:
        gaps = con.sql("FROM ckvd_gaps('BTCUSDT', '1h', '2024-04-01', '2024-04-03')").fetchall()
    assert [row[3] for row in gaps] == [24]
