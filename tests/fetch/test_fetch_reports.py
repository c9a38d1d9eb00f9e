"""What `fetch` reports: every day of its plan once, whatever fails."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql import CryptoKlineVisionData, OfflineError, ProviderUnavailableError, SettingsError
from ckvd_sql.cache.store import DayStore
from ckvd_sql.sandbox import Fault
from tests.support.bars import series
from tests.support.damage import writable

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from ckvd_sql import FetchReport
    from ckvd_sql.sandbox import Sandbox

MONTH = ("2024-04-01", "2024-05-01")

#: Ranges whose days are in one block with a monthly job, in blocks of four days, and in one with the live day.
RANGES = {
    "weeks of a month": ("1w", *MONTH),
    "months of a year": ("1mo", "2024-01-01", "2024-06-01"),
    "hours of a month": ("1h", *MONTH),
    "seconds of some days": ("1s", "2024-04-01", "2024-04-08"),
    "hours until now": ("1h", "2024-06-10", "2024-06-15T12:00"),
    "weeks until now": ("1w", "2024-05-20", "2024-06-15T12:00"),
}


def planned(client: CryptoKlineVisionData, interval: str, start: str, end: str) -> list[date]:
    return [row["date"] for row in client.plan("BTCUSDT", start, end, interval).to_pylist()]


def reported(report: FetchReport, outcome: str) -> list[date]:
    return [day.date for day in report.days if day.outcome == outcome]


def remove(cache: Path, interval: str, day: date) -> None:
    DayStore(cache).path(series("spot", "BTCUSDT", interval), day).unlink()


def test_cached_days_of_a_month_are_reported_where_one_of_its_weeks_is_missing_offline(
    client: CryptoKlineVisionData, settings: dict[str, Any]
) -> None:
    client.fetch("BTCUSDT", *MONTH, "1w")
    weeks = planned(client, "1w", *MONTH)
    remove(settings["cache_dir"], "1w", weeks[2])
    report = CryptoKlineVisionData(**settings, offline=True).fetch("BTCUSDT", *MONTH, "1w")
    assert report.counts == {"cached": 4, "vision": 0, "rest": 0, "empty": 0, "failed": 1}
    assert [day.date for day in report.days] == weeks
    assert [(day.date, type(day.error)) for day in report.failed] == [(weeks[2], OfflineError)]


@pytest.mark.parametrize("name", RANGES)
def test_every_day_is_reported_once_where_some_are_missing_and_no_source_answers(
    client: CryptoKlineVisionData, exchange: Sandbox, settings: dict[str, Any], name: str
) -> None:
    interval, start, end = RANGES[name]
    client.fetch("BTCUSDT", start, end, interval)
    days = planned(client, interval, start, end)
    cached = [day for day in days if DayStore(settings["cache_dir"]).path(_of(interval), day).exists()]
    for day in cached[1::2]:
        remove(settings["cache_dir"], interval, day)
    exchange.add(Fault(path=r"/data/|/klines", kind="status", status=503))
    report = CryptoKlineVisionData(**settings | {"retries": 0}).fetch("BTCUSDT", start, end, interval)
    assert Counter(day.date for day in report.days) == Counter(days)
    assert reported(report, "cached") == cached[::2]
    assert {type(day.error) for day in report.failed} == {ProviderUnavailableError}


def test_a_damaged_day_offline_is_reported_and_so_are_the_days_around_it(
    client: CryptoKlineVisionData, settings: dict[str, Any]
) -> None:
    client.fetch("BTCUSDT", *MONTH, "1h")
    days = planned(client, "1h", *MONTH)
    path = DayStore(settings["cache_dir"]).path(_of("1h"), days[7])
    writable(path).write_bytes(path.read_bytes()[:100])
    report = CryptoKlineVisionData(**settings, offline=True).fetch("BTCUSDT", *MONTH, "1h")
    assert [day.date for day in report.days] == days
    assert [day.date for day in report.failed] == [days[7]]


def test_an_archive_setting_that_can_not_be_used_is_reported_for_every_day(
    client: CryptoKlineVisionData, settings: dict[str, Any]
) -> None:
    wrong = CryptoKlineVisionData(**settings | {"vision_url": "s3://bucket/x"})  # which needs s3fs
    report = wrong.fetch("BTCUSDT", "2024-01-28", "2024-02-05", "1h")
    assert [day.date for day in report.days] == planned(client, "1h", "2024-01-28", "2024-02-05")
    assert {type(day.error) for day in report.failed} == {SettingsError}
    assert len(report.failed) == 8


def _of(interval: str) -> Any:
    return series("spot", "BTCUSDT", interval)


def test_a_report_reads_short_and_is_a_table_in_a_notebook(client: CryptoKlineVisionData) -> None:
    report = client.fetch(["BTCUSDT", "ETHUSDT"], "2024-06-01", "2024-06-04", "1h")
    assert repr(report) == "<FetchReport: 6 days of 2 symbols: 6 vision>"
    html = report._repr_html_()
    assert html.count("<tr>") == 3
    assert "<tr><td>ETHUSDT</td><td>0</td><td>3</td>" in html
