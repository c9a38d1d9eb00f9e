"""A query carried out: its plan, its bars in order, how far it fetches ahead, and how it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ckvd_sql.errors import OfflineError, ProviderUnavailableError
from ckvd_sql.fetch.jobs import Job
from ckvd_sql.market.bars import BAR_SCHEMA, INSTANT
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import HOUR, Month, days_between
from ckvd_sql.market.provenance import Source
from ckvd_sql.market.query import parse_query
from ckvd_sql.sandbox import Fault, Sandbox
from ckvd_sql.scan.pruning import Pruning
from ckvd_sql.scan.resolver import Resolver
from ckvd_sql.settings import Settings
from tests.support.bars import series
from tests.support.damage import writable
from tests.support.days import day_bars, publish_days, rest_rows, to_arrow, write_days
from tests.support.stand_in import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ckvd_sql.market.query import Query
    from ckvd_sql.market.series import Series
    from ckvd_sql.scan.steps import Step

NOW = parse_time("2024-06-15T12:00:30", "now")
BTC, ETH = series("spot", "BTCUSDT", "1h"), series("spot", "ETHUSDT", "1h")


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture
def resolver(stand_in: StandIn, tmp_path: Path) -> Resolver:
    return made(tmp_path, stand_in.settings)


def made(cache_dir: Path, settings: dict[str, Any], **changes: Any) -> Resolver:
    fixed = {"now": "2024-06-15T12:00:30", "retries": 0, "timeout": 5}
    return Resolver(Settings.load(**{**settings, **fixed, "cache_dir": cache_dir, **changes}))


def ask(start: str, end: str, *symbols: str, interval: str = "1h", include_open: bool = False) -> Query:
    return parse_query(list(symbols) or ["BTCUSDT"], interval, start, end, "spot", include_open, now=NOW)


def of(first: str, last: str) -> list[date]:
    """The days from first to last, both included."""
    return list(days_between(date.fromisoformat(first), date.fromisoformat(last)))


def table(steps: Iterable[Step]) -> pa.Table:
    return pa.Table.from_batches([bars for step in steps for bars in step.batches()], schema=BAR_SCHEMA)


def expected(one: Series, start: str, end: str) -> pa.Table:
    first, last = parse_time(start, "start"), parse_time(end, "end")
    return pa.Table.from_batches([to_arrow(rest_rows(one, first, last))])


def publish_months(stand_in: StandIn, one: Series, year: int, months: Iterable[int]) -> None:
    for number in months:
        publish_days(stand_in, one, Month(year, number), Month(year, number).days())


def close(stream: Iterator[Step]) -> None:
    assert isinstance(stream, Generator)
    stream.close()


def sources(steps: Iterable[Step]) -> list[str]:
    found = [
        *(s for step in steps for s in [*(["cache"] if step.stored else []), *(d.source.value for d in step.days)])
    ]
    return [source for source, _ in groupby(found)]


def test_a_plan_comes_from_the_names_of_files_alone(resolver: Resolver, stand_in: StandIn) -> None:
    write_days(resolver.store, BTC, of("2024-06-13", "2024-06-13"))
    resolver.store.remember_first_open(ETH, parse_time("2024-06-14", "listed"))
    query = ask("2024-06-13", "2024-06-16", "ETHUSDT", "BTCUSDT")
    found = [
        (one.symbol, [(plan.day.day, plan.source.value) for plan in plans]) for one, plans in resolver.plans(query)
    ]
    assert found == [
        ("ETHUSDT", [(13, "unlisted"), (14, "vision"), (15, "rest")]),
        ("BTCUSDT", [(13, "cache"), (14, "vision"), (15, "rest")]),
    ]
    assert not stand_in.requests


def test_bars_come_symbol_by_symbol_and_in_order_whatever_their_source(resolver: Resolver, stand_in: StandIn) -> None:
    write_days(resolver.store, BTC, of("2024-06-12", "2024-06-13"))
    for one in (ETH, BTC):
        publish_days(stand_in, one, date(2024, 6, 14), of("2024-06-14", "2024-06-14"))
        publish_days(stand_in, one, date(2024, 6, 11), of("2024-06-11", "2024-06-11"))
        stand_in.rows[one] = rest_rows(one, parse_time("2024-06-12", "start"), NOW)
    steps = list(resolver.stream(ask("2024-06-11T06:00", "2024-06-16", "ETHUSDT", "BTCUSDT")))
    assert [one.symbol for one, _ in groupby(step.series for step in steps)] == ["ETHUSDT", "BTCUSDT"]
    for one in (ETH, BTC):
        found = table(step for step in steps if step.series == one)
        assert found.combine_chunks().equals(expected(one, "2024-06-11T06:00", "2024-06-15T12:00").combine_chunks())
    assert sources(step for step in steps if step.series == ETH) == ["vision", "rest", "vision", "rest"]
    assert sources(step for step in steps if step.series == BTC) == ["vision", "cache", "vision", "rest"]


def test_a_bar_that_is_forming_comes_only_where_it_is_wanted(resolver: Resolver, stand_in: StandIn) -> None:
    stand_in.rows[BTC] = rest_rows(BTC, parse_time("2024-06-15", "start"), NOW)
    closed, all_ = (
        table(resolver.stream(ask("2024-06-15", "2024-06-16", include_open=open_))) for open_ in (False, True)
    )
    assert closed.combine_chunks().equals(expected(BTC, "2024-06-15", "2024-06-15T12:00").combine_chunks())
    assert all_.num_rows == closed.num_rows + 1


def test_whole_days_are_not_cut_to_the_query(resolver: Resolver) -> None:
    write_days(resolver.store, BTC, of("2024-06-13", "2024-06-14"))
    (step,) = resolver.stream(ask("2024-06-13T06:00", "2024-06-14T01:00"), whole_days=True)
    assert [(day.day.day, day.stored_in is not None, day.bars.num_rows) for day in step.days] == [
        (13, True, 24),
        (14, True, 24),
    ]


def test_days_that_the_filter_rules_out_are_not_fetched(resolver: Resolver, stand_in: StandIn) -> None:
    publish_days(stand_in, BTC, date(2024, 6, 12), of("2024-06-12", "2024-06-12"))
    low, high = (pa.scalar(parse_time(text, "time"), INSTANT) for text in ("2024-06-12T05:00", "2024-06-12T07:00"))
    opened = pc.field("open_time")
    pruning = Pruning((opened >= low) & (opened < high), BAR_SCHEMA, lambda one: {"symbol": one.symbol})
    found = table(resolver.stream(ask("2024-05-01", "2024-06-15"), pruning))
    assert found.num_rows == 24  # a day kept in part comes whole
    assert {request.partition("-1h-")[2][:10] for request in stand_in.requests} == {"2024-06-12"}


@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_the_first_step_costs_one_job_and_the_second_two_more(
    stand_in: StandIn, tmp_path: Path, concurrency: int
) -> None:
    publish_months(stand_in, BTC, 2023, range(1, 13))
    stream = made(tmp_path, stand_in.settings, concurrency=concurrency).stream(ask("2023-01-01", "2024-01-01"))
    assert next(stream).days[0].day == date(2023, 1, 1)
    assert len(stand_in.requests) == 2  # a month's checksum and its zip
    assert next(stream).days[0].day == date(2023, 2, 1)
    assert len(stand_in.requests) <= 6
    close(stream)
    ended = len(stand_in.requests)
    assert ended <= 6
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ckvd-fetch")]
    assert len(stand_in.requests) == ended


def test_cached_steps_before_the_first_missing_day_start_no_job(resolver: Resolver, stand_in: StandIn) -> None:
    write_days(resolver.store, BTC, of("2024-06-01", "2024-06-04"))
    stream = resolver.stream(ask("2024-06-01", "2024-06-15"))
    assert next(stream).stored
    assert not stand_in.requests
    close(stream)


def test_all_jobs_in_all_fetch_each_archive_once(resolver: Resolver, stand_in: StandIn) -> None:
    publish_months(stand_in, BTC, 2023, range(1, 5))
    assert table(resolver.stream(ask("2023-01-01", "2023-05-01"))).num_rows == 120 * 24
    assert len(stand_in.requests) == len(set(stand_in.requests)) == 8
    assert sources(resolver.stream(ask("2023-01-01", "2023-05-01"))) == ["cache"]
    assert len(stand_in.requests) == 8


def test_closing_while_a_job_waits_for_a_host_ends_it_at_once(tmp_path: Path) -> None:
    with Sandbox(now="2024-06-15T12:00:30") as exchange:
        exchange.add(Fault(r"2024-06-(09|1)", "latency", seconds=60))
        stream = made(tmp_path, exchange.settings, timeout=60).stream(ask("2024-06-01", "2024-06-15"))
        assert next(stream).days[0].day.day == 1
        assert next(stream).days[0].day.day == 5  # the job of the 9th is running now
        began = time.monotonic()
        close(stream)
        assert time.monotonic() - began < 5
        assert {request.path.partition("-1h-")[2][:10] for request in exchange.requests} <= {
            str(day) for day in of("2024-06-01", "2024-06-12")
        }


def test_offline_the_error_names_every_missing_day_of_the_series(tmp_path: Path) -> None:
    offline = made(tmp_path, {}, offline=True)
    write_days(offline.store, BTC, of("2024-05-30", "2024-06-01"))
    stream = offline.stream(ask("2024-05-30", "2024-06-08"))
    assert next(stream).stored
    assert next(stream).stored
    with pytest.raises(OfflineError, match="2024-06-02 to 2024-06-07") as raised:
        next(stream)
    assert raised.value.days == tuple(of("2024-06-02", "2024-06-07"))


def test_sources_that_can_t_be_reached_are_an_error_with_the_missing_days(tmp_path: Path) -> None:
    nowhere = dict.fromkeys(("vision_url", "spot_url"), "http://127.0.0.1:9")
    with pytest.raises(ProviderUnavailableError) as raised:
        list(made(tmp_path, nowhere).stream(ask("2024-06-01", "2024-06-03")))
    assert raised.value.days == tuple(of("2024-06-01", "2024-06-02"))


def test_a_scan_that_keeps_going_reports_failures_and_yields_the_other_days(tmp_path: Path) -> None:
    offline = made(tmp_path, {}, offline=True)
    write_days(offline.store, BTC, of("2024-06-01", "2024-06-01"))
    write_days(offline.store, BTC, of("2024-06-06", "2024-06-07"))
    steps = list(offline.stream(ask("2024-06-01", "2024-06-08"), whole_days=True, keep_going=True))
    failed = [day for step in steps for failure in step.failures for day in failure.days]
    assert failed == of("2024-06-02", "2024-06-05")
    assert [day.day.day for step in steps for day in step.days] == [1, 6, 7]


def test_a_damaged_day_is_set_aside_and_fetched_again(
    resolver: Resolver, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    days = of("2024-06-12", "2024-06-14")
    write_days(resolver.store, BTC, days)
    path = resolver.store.path(BTC, days[1])
    writable(path).write_bytes(b"damaged")
    publish_days(stand_in, BTC, days[1], days[1:2])
    assert table(resolver.stream(ask("2024-06-12", "2024-06-15"))).num_rows == 72
    assert resolver.store.read(BTC, days[1]).rows.equals(day_bars(BTC, days[1]))
    assert path.with_suffix(".damaged").read_bytes() == b"damaged"
    assert "2024-06-13" in caplog.text


def test_a_damaged_day_offline_is_not_set_aside(tmp_path: Path) -> None:
    offline = made(tmp_path, {}, offline=True)
    write_days(offline.store, BTC, of("2024-06-12", "2024-06-13"))
    writable(offline.store.path(BTC, date(2024, 6, 13))).write_bytes(b"damaged")
    (step,) = offline.stream(ask("2024-06-12", "2024-06-14"), keep_going=True)
    assert [day.day.day for day in step.days] == [12]
    assert [failure.days for failure in step.failures] == [(date(2024, 6, 13),)]
    assert offline.store.path(BTC, date(2024, 6, 13)).exists()


def test_the_first_bar_is_asked_for_once_and_remembered(resolver: Resolver, stand_in: StandIn) -> None:
    stand_in.rows[BTC] = rest_rows(BTC, NOW - NOW % HOUR - 100 * HOUR, NOW)
    for _ in range(2):
        assert resolver.first_open(BTC) == NOW - NOW % HOUR - 100 * HOUR
    assert len(stand_in.requests) == 1


def test_a_job_can_be_fetched_again_although_its_day_is_cached(resolver: Resolver, stand_in: StandIn) -> None:
    day = date(2024, 6, 12)
    write_days(resolver.store, BTC, [day])
    publish_days(stand_in, BTC, day, [day])
    fetched = resolver.refetch(Job(BTC, Month.of(day), archived=(day,), fresh=True))
    assert fetched[day].source is Source.VISION
    with resolver.session() as session:
        assert list(session.published_checksums(BTC, [day, date(2024, 6, 13)]).values())[1] is None
