"""Days before a listing while REST can't be reached: the archive tells when the symbol's bars begin."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql import ProviderUnavailableError
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.periods import Month, days_between
from ckvd_sql.sandbox import Fault
from tests.support.bars import series
from tests.support.clients import client_for, copied
from tests.support.days import publish_days, write_days
from tests.support.faults import NOWHERE, REST
from tests.support.logs import warnings
from tests.support.requests import asked

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql import CryptoKlineVisionData
    from ckvd_sql.market.periods import Period
    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import Truth
    from tests.support.stand_in import StandIn

OUTAGES = {
    "503": Fault(REST, "status", status=503),
    "451": Fault(REST, "status", status=451),
    "a reset": Fault(REST, "reset", after=0),
}

#: SOLUSDT was listed on 2020-08-11 at 06:00.
RANGES = [
    ("1h", "2020-07-01", "2020-09-01"),  # whole months
    ("1h", "2020-08-08", "2020-08-14"),  # some days
    ("1d", "2020-05-15", "2020-08-20"),
    ("1w", "2020-06-01", "2020-10-01"),
    ("3d", "2020-06-01", "2020-10-01"),
    ("1mo", "2020-05-01", "2020-11-01"),
]

HOURS = series("spot", "NEWUSDT", "1h")


def heights(client: CryptoKlineVisionData, *call: str) -> int:
    return client.get_data(*call).height


@pytest.mark.parametrize("outage", OUTAGES)
def test_are_empty_and_the_bars_after_them_come_from_the_archive(
    exchange: Sandbox, tmp_path: Path, truth: Truth, outage: str
) -> None:
    exchange.add(OUTAGES[outage])
    client = client_for(exchange, tmp_path)
    assert heights(client, "SOLUSDT", "2020-08-08", "2020-08-14") == len(
        truth("SOLUSDT", "1h", "2020-08-08", "2020-08-14")
    )


@pytest.mark.parametrize(("interval", "start", "end"), RANGES)
def test_are_not_stored_and_said_in_one_line(
    exchange: Sandbox,
    tmp_path: Path,
    truth: Truth,
    caplog: pytest.LogCaptureFixture,
    interval: str,
    start: str,
    end: str,
) -> None:
    client = client_for(exchange, tmp_path, spot_url=NOWHERE)
    expected = truth("SOLUSDT", interval, start, end)
    assert heights(client, "SOLUSDT", start, end, interval) == len(expected) > 0
    stored = DayStore(tmp_path).days(series("spot", "SOLUSDT", interval))
    first = {"1mo": date(2020, 8, 1), "1w": date(2020, 8, 10)}.get(interval, date(2020, 8, 11))
    assert min(stored) >= first  # the bar of a week or month opens before the first trade
    assert len([line for line in warnings(caplog) if "2020-08-11" in line and "begins" in line]) == 1


def test_alone_are_empty_where_the_archive_has_later_months(
    exchange: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_for(exchange, tmp_path, spot_url=NOWHERE)
    assert heights(client, "SOLUSDT", "2019-01-01", "2019-04-01") == 0
    assert len(warnings(caplog)) == 1


def test_of_a_symbol_that_was_listed_this_month_are_empty(stand_in: StandIn, tmp_path: Path) -> None:
    days = list(days_between(date(2024, 6, 5), date(2024, 6, 9)))
    for day in days:
        publish_days(stand_in, HOURS, day, [day])
    client = client_for(stand_in, tmp_path, spot_url=NOWHERE)
    assert heights(client, "NEWUSDT", "2024-05-20", "2024-06-10") == len(days) * 24


@pytest.mark.parametrize("name", ["BTCUSDT-1h-2021-05-0[3-4]", "BTCUSDT-1h-2021-05"])
def test_a_hole_in_the_archive_is_still_an_error(exchange: Sandbox, tmp_path: Path, name: str) -> None:
    exchange.add(Fault(rf"{name}.*\.zip", "status", status=404))
    exchange.add(Fault(r"/monthly/.*BTCUSDT-1h-2021-05\.zip", "status", status=404))
    client = client_for(exchange, tmp_path, spot_url=NOWHERE)
    for span in (("2021-05-01", "2021-05-09"), ("2021-05-03", "2021-05-05"), ("2021-04-01", "2021-06-01")):
        with pytest.raises(ProviderUnavailableError, match="2021-05-0"):
            heights(client, "BTCUSDT", *span)


def test_a_hole_at_the_start_of_the_archive_is_an_error_where_its_daily_files_are_there(
    exchange: Sandbox, tmp_path: Path
) -> None:
    exchange.add(Fault(r"SOLUSDT-1h-2020-08(-1\d)?\.zip", "status", status=404))
    client = client_for(exchange, tmp_path, spot_url=NOWHERE)
    with pytest.raises(ProviderUnavailableError, match="2020-08-1"):
        heights(client, "SOLUSDT", "2020-08-12", "2020-08-14")


def test_a_failure_of_the_archive_is_not_an_absence(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"SOLUSDT-1h-2020-08-09", "status", status=503))
    client = client_for(exchange, tmp_path, spot_url=NOWHERE)
    with pytest.raises(ProviderUnavailableError, match="2020-08-09"):
        heights(client, "SOLUSDT", "2020-08-08", "2020-08-14")


def test_archives_of_um_that_begin_with_the_archive_itself_say_nothing_of_the_listing(
    exchange: Sandbox, tmp_path: Path
) -> None:
    exchange.add(Fault(r"BTCUSDT-1d-2019-(09|1\d)", "status", status=404))  # there are none of 2019
    client = client_for(exchange, tmp_path, um_url=NOWHERE)
    with pytest.raises(ProviderUnavailableError, match="2019-12"):
        heights(client, "BTCUSDT", "2019-12-20", "2020-02-01", "1d", "um")


def test_bars_in_the_cache_that_are_older_than_the_archive_forbid_it(stand_in: StandIn, tmp_path: Path) -> None:
    publish_days(stand_in, HOURS, Month(2024, 3), [date(2024, 3, 1)])
    write_days(DayStore(tmp_path), HOURS, [date(2023, 7, 1)])
    client = client_for(stand_in, tmp_path, spot_url=NOWHERE)
    with pytest.raises(ProviderUnavailableError):
        heights(client, "NEWUSDT", "2024-01-01", "2024-01-05")


@pytest.mark.parametrize("period", [Month(2024, 3), date(2024, 6, 5)])
def test_a_mirror_folder_may_lack_older_files_and_says_nothing_of_the_listing(
    stand_in: StandIn, tmp_path: Path, period: Period
) -> None:
    publish_days(stand_in, HOURS, period, [date(2024, 3, 1) if isinstance(period, Month) else period])
    mirror = copied(stand_in, tmp_path / "mirror")
    client = client_for(stand_in, tmp_path / "cache", spot_url=NOWHERE, vision_url=str(mirror))
    with pytest.raises(ProviderUnavailableError, match="2024-01-01"):
        heights(client, "NEWUSDT", "2024-01-01", "2024-01-05")


def test_where_the_archive_has_nothing_of_the_symbol_the_error_says_so(exchange: Sandbox, tmp_path: Path) -> None:
    client = client_for(exchange, tmp_path, spot_url=NOWHERE)
    for asking_again in (False, True):
        exchange.forget()
        with pytest.raises(ProviderUnavailableError, match="archive has nothing of BTCUSDTT 1h"):
            heights(client, "BTCUSDTT", "2024-01-01", "2024-01-03")
        probed = [path for path in asked(exchange, "/monthly/") if "-2024-01.zip" not in path]
        assert bool(probed) is not asking_again


def test_are_asked_of_rest_once_it_can_be_reached(exchange: Sandbox, tmp_path: Path) -> None:
    heights(client_for(exchange, tmp_path, spot_url=NOWHERE), "SOLUSDT", "2020-08-08", "2020-08-14")
    exchange.forget()
    back: Any = client_for(exchange, tmp_path)
    assert heights(back, "SOLUSDT", "2020-08-08", "2020-08-14") > 0
    assert asked(exchange, "/klines")


def test_a_first_day_without_an_archive_of_its_own_comes_from_that_of_its_month(
    stand_in: StandIn, tmp_path: Path
) -> None:
    days = list(days_between(date(2024, 3, 5), date(2024, 3, 9)))
    publish_days(stand_in, HOURS, Month(2024, 3), days)
    publish_days(stand_in, series("spot", "NEWUSDT", "1d"), Month(2024, 3), days)
    for day in days[1:]:
        publish_days(stand_in, HOURS, day, [day])
    client = client_for(stand_in, tmp_path, spot_url=NOWHERE)
    assert heights(client, "NEWUSDT", "2024-03-04", "2024-03-09") == 4 * 24
