"""The plan of a query and its blocks, without a network, a disk or a clock."""

from __future__ import annotations

from datetime import date
from typing import Any

from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import Span
from ckvd_sql.market.provenance import Source
from ckvd_sql.scan.blocks import blocks_of_plan
from ckvd_sql.scan.plan import DayPlan, plan
from tests.support.bars import series

ONE_HOUR = series("spot", "BTCUSDT", "1h")


def planned(start: str, end: str, **known: Any) -> list[DayPlan]:
    now = parse_time("2024-06-15T12:00:30", "now")
    span = Span(parse_time(start, "start"), parse_time(end, "end")).until(now)
    return plan(known.pop("of", ONE_HOUR), span, now, **known)


def test_a_plan_takes_days_from_the_cache_then_the_archive_then_the_exchange() -> None:
    known = {"cached": {date(2024, 6, 13)}, "first_open": parse_time("2024-06-12T05:00", "listed")}
    found = planned("2024-06-10", "2024-06-16", **known)
    assert [one.source for one in found] == ["unlisted", "unlisted", "vision", "cache", "vision", "rest"]


def test_a_plan_has_only_days_that_can_have_bars() -> None:
    assert [str(one.day) for one in planned("2024-06-14", "2024-06-16", of=series("spot", "BTCUSDT", "1d"))] == [
        "2024-06-14"
    ]
    assert planned("2024-06-16", "2024-06-17") == []


def test_a_plan_has_the_forming_day_if_open_bars_are_included() -> None:
    of = series("spot", "BTCUSDT", "1w")
    assert planned("2024-06-10", "2024-06-16", of=of) == []
    assert planned("2024-06-10", "2024-06-16", of=of, include_open=True) == [DayPlan(date(2024, 6, 10), Source.REST)]


def test_every_day_of_a_plan_is_in_one_block_and_every_missing_one_in_one_job() -> None:
    cached = {date(2024, 5, number) for number in (3, 4, 20)}
    found = planned("2024-03-10", "2024-06-16", cached=cached)
    made = list(blocks_of_plan(ONE_HOUR, found))
    assert [day for block in made for day in block.days] == [one.day for one in found]
    fetched = [day for block in made if block.job for day in block.job.days]
    assert fetched == [one.day for one in found if one.source is not Source.CACHE]
    assert [str(block.job.month) for block in made if block.job and block.job.monthly] == ["2024-04"]
