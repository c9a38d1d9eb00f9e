"""What a scan reads together: ranges where all is cached, jobs where days are missing, every planned day once."""

from __future__ import annotations

import tempfile
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckvd_sql.cache.store import DayStore
from ckvd_sql.fetch.jobs import Job
from ckvd_sql.market.bars import INSTANT
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.periods import HOUR, Month, Span, days_between, moment_of
from ckvd_sql.market.provenance import Source
from ckvd_sql.market.query import parse_query
from ckvd_sql.scan.blocks import Block, blocks_of_plan, blocks_of_query, plan_of_series
from ckvd_sql.scan.plan import DayPlan
from ckvd_sql.scan.pruning import Cover, Pruning
from tests.support.bars import series
from tests.support.examples import thorough, tries

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckvd_sql.market.query import Query
    from ckvd_sql.market.series import Series

NOW = parse_time("2024-06-15T12:00:30", "now")
HOURS, MINUTES = series("spot", "BTCUSDT", "1h"), series("spot", "BTCUSDT", "1m")
WEEKS = series("spot", "BTCUSDT", "1w")
SCHEMA = pa.schema([pa.field("open_time", INSTANT)])
opened = pc.field("open_time")


def at(text: str) -> int:
    return parse_time(text, "time")


def span(first: str, last: str) -> Span:
    return Span(at(first), at(last))


def of(first: str, last: str) -> list[date]:
    """The days from first to last, both included."""
    return list(days_between(date.fromisoformat(first), date.fromisoformat(last)))


def ask(one: Series, start: object, end: object, *, include_open: bool = False) -> Query:
    return parse_query(one.symbol, one.interval.name, start, end, one.market.value, include_open, now=NOW)


def pruned(filter_: pc.Expression) -> Pruning:
    return Pruning(filter_, SCHEMA, lambda one: {"symbol": one.symbol})


def since(text: str) -> pc.Expression:
    return opened >= pa.scalar(at(text), INSTANT)


@pytest.fixture
def store(tmp_path: Path) -> DayStore:
    return DayStore(tmp_path)


def cached(store: DayStore, one: Series, days: Iterable[date]) -> None:
    """Files with the names of days: their content is not looked at."""
    store.folder(one).mkdir(parents=True, exist_ok=True)
    for day in days:
        store.path(one, day).touch()


def blocks(
    store: DayStore,
    one: Series,
    start: object,
    end: object,
    filter_: pc.Expression | None = None,
    *,
    by_day: bool = False,
) -> list[Block]:
    pruning = None if filter_ is None else pruned(filter_)
    return list(blocks_of_query(ask(one, start, end), one, store.snapshot(one), pruning, by_day=by_day))


def test_a_range_that_is_wholly_cached_is_one_block(store: DayStore) -> None:
    cached(store, HOURS, of("2023-11-01", "2024-02-29"))
    expected = [Block(HOURS, cached_span=span("2023-11-05T03:00", "2024-02-03T12:00"))]
    assert blocks(store, HOURS, "2023-11-05T03:00", "2024-02-03T12:00") == expected


def test_a_range_of_short_bars_is_cut_at_the_ends_of_years(store: DayStore) -> None:
    cached(store, MINUTES, of("2022-12-30", "2024-01-02"))
    found = [block.cached_span for block in blocks(store, MINUTES, "2022-12-31", "2024-01-02T12:00")]
    ends = ["2022-12-31", "2023-01-01", "2024-01-01", "2024-01-02T12:00"]
    assert found == [span(*pair) for pair in pairwise(ends)]


def test_an_empty_range_has_no_block(store: DayStore) -> None:
    assert blocks(store, HOURS, "2024-01-01", "2024-01-01") == []
    assert blocks(store, HOURS, "2024-07-01", "2024-07-02") == []  # in the future


def test_a_missing_month_is_one_job_between_cached_ranges(store: DayStore) -> None:
    cached(store, HOURS, [*of("2023-12-01", "2024-01-31"), *of("2024-03-01", "2024-04-30")])
    february = tuple(of("2024-02-01", "2024-02-29"))
    assert blocks(store, HOURS, "2023-12-10", "2024-05-01") == [
        Block(HOURS, cached_span=span("2023-12-10", "2024-01-01")),  # years are separate where not all is cached
        Block(HOURS, cached_span=span("2024-01-01", "2024-02-01")),
        Block(HOURS, february, Job(HOURS, Month(2024, 2), february, monthly=True)),
        Block(HOURS, cached_span=span("2024-03-01", "2024-05-01")),
    ]


def test_missing_days_are_jobs_of_aligned_groups_of_four(store: DayStore) -> None:
    cached(store, HOURS, [*of("2024-03-01", "2024-03-02"), date(2024, 3, 8)])
    found = blocks(store, HOURS, "2024-03-01", "2024-03-15")
    groups = [("03", "04"), ("05", "07"), ("09", "12"), ("13", "14")]
    jobs = [tuple(of(f"2024-03-{first}", f"2024-03-{last}")) for first, last in groups]
    made = [Block(HOURS, days, Job(HOURS, Month(2024, 3), days)) for days in jobs]
    ranges = [span("2024-03-01", "2024-03-03"), span("2024-03-08", "2024-03-09")]
    kept = [Block(HOURS, cached_span=one) for one in ranges]
    assert found == [kept[0], *made[:2], kept[1], *made[2:]]


def test_a_whole_month_of_1s_is_no_single_job(store: DayStore) -> None:
    found = blocks(store, series("spot", "BTCUSDT", "1s"), "2024-02-01", "2024-03-01")
    assert [len(block.days) for block in found] == [4] * 7 + [1]
    assert not any(block.job and block.job.monthly for block in found)


def test_a_month_before_which_the_symbol_was_not_listed_is_one_job(store: DayStore) -> None:
    store.remember_first_open(HOURS, at("2024-02-10T05:00"))
    (found,) = blocks(store, HOURS, "2024-01-01", "2024-03-01")
    days = tuple(of("2024-02-10", "2024-02-29"))
    assert found == Block(HOURS, days, Job(HOURS, Month(2024, 2), days, monthly=True))


def test_today_is_a_job_of_its_own_for_rest_alone(store: DayStore) -> None:
    cached(store, HOURS, of("2024-06-13", "2024-06-14"))
    today = (date(2024, 6, 15),)
    assert blocks(store, HOURS, "2024-06-13", "2024-06-16") == [
        Block(HOURS, cached_span=span("2024-06-13", "2024-06-15")),
        Block(HOURS, today, Job(HOURS, Month(2024, 6), live=today)),
    ]


def test_a_day_that_is_not_over_is_never_part_of_a_range(store: DayStore) -> None:
    cached(store, HOURS, of("2024-06-14", "2024-06-15"))
    assert blocks(store, HOURS, "2024-06-14", "2024-06-16") == [Block(HOURS, tuple(of("2024-06-14", "2024-06-15")))]


def test_days_that_the_filter_rules_out_are_in_no_block_and_no_job(store: DayStore) -> None:
    cached(store, HOURS, of("2024-01-01", "2024-01-31"))
    late = (opened >= pa.scalar(at("2024-01-30"), INSTANT)) & (opened < pa.scalar(at("2024-02-02"), INSTANT))
    assert blocks(store, HOURS, "2024-01-01", "2024-04-01", late) == [
        Block(HOURS, cached_span=span("2024-01-30", "2024-02-01")),
        Block(HOURS, (date(2024, 2, 1),), Job(HOURS, Month(2024, 2), (date(2024, 2, 1),))),
    ]


def test_a_filter_that_keeps_all_changes_nothing(store: DayStore) -> None:
    cached(store, HOURS, of("2024-01-01", "2024-02-29"))
    assert blocks(store, HOURS, "2024-01-01", "2024-04-01", since("2023-01-01")) == blocks(
        store, HOURS, "2024-01-01", "2024-04-01"
    )


def test_a_day_that_the_filter_keeps_in_part_is_not_in_a_range(store: DayStore) -> None:
    cached(store, HOURS, of("2024-01-01", "2024-02-29"))
    assert blocks(store, HOURS, "2024-01-01", "2024-03-01", since("2024-01-30T05:00")) == [
        Block(HOURS, (date(2024, 1, 30),)),
        Block(HOURS, cached_span=span("2024-01-31", "2024-02-01")),
        Block(HOURS, cached_span=span("2024-02-01", "2024-03-01")),
    ]


def test_by_day_there_are_no_ranges(store: DayStore) -> None:
    cached(store, HOURS, of("2024-01-01", "2024-01-31"))
    found = blocks(store, HOURS, "2024-01-30", "2024-02-02", by_day=True)
    assert [block.days for block in found] == [tuple(of("2024-01-30", "2024-01-31")), (date(2024, 2, 1),)]
    assert [block.job is None for block in found] == [True, False]


def test_long_bars_are_one_job_a_month_with_the_cached_days_beside_it(store: DayStore) -> None:
    cached(store, WEEKS, [date(2024, 1, 1), date(2024, 1, 8), date(2024, 2, 5)])
    january = (date(2024, 1, 15), date(2024, 1, 22), date(2024, 1, 29))
    rest = (date(2024, 2, 12), date(2024, 2, 19), date(2024, 2, 26))
    assert blocks(store, WEEKS, "2024-01-01", "2024-03-01") == [
        Block(WEEKS, (date(2024, 1, 1), date(2024, 1, 8), *january), Job(WEEKS, Month(2024, 1), january, monthly=True)),
        Block(WEEKS, (date(2024, 2, 5), *rest), Job(WEEKS, Month(2024, 2), rest, monthly=True)),
    ]


def test_a_cached_long_bar_off_the_grid_is_read_in_a_range_and_day_by_day(store: DayStore) -> None:
    days = [date(2024, 1, 1), date(2024, 1, 3), date(2024, 1, 8)]  # a Wednesday between Mondays
    cached(store, WEEKS, days)
    (whole,) = blocks(store, WEEKS, "2024-01-01", "2024-01-15")
    assert whole.cached_span
    assert whole.all_days(days) == days
    (by_day,) = blocks(store, WEEKS, "2024-01-01", "2024-01-15", by_day=True)
    assert by_day.days == tuple(days)


def test_a_long_bar_that_may_still_be_open_is_not_in_a_range(store: DayStore) -> None:
    cached(store, WEEKS, [date(2024, 5, 27), date(2024, 6, 3), date(2024, 6, 10)])
    assert all(block.cached_span is None for block in blocks(store, WEEKS, "2024-05-27", "2024-06-15"))


def test_plans_of_one_source_are_one_block_and_unlisted_days_are_in_none() -> None:
    first, second, third, fourth, fifth = of("2024-03-01", "2024-03-05")
    plans = [(first, Source.UNLISTED), (second, Source.CACHE), (third, Source.CACHE), (fourth, Source.VISION)]
    month = Month(2024, 3)
    assert list(blocks_of_plan(HOURS, [DayPlan(*one) for one in [*plans, (fifth, Source.REST)]])) == [
        Block(HOURS, (second, third)),
        Block(HOURS, (fourth,), Job(HOURS, month, archived=(fourth,))),
        Block(HOURS, (fifth,), Job(HOURS, month, live=(fifth,))),
    ]
    assert list(blocks_of_plan(HOURS, [])) == []


Case: TypeAlias = "tuple[Series, list[date], int, int, int | None, pc.Expression | None]"


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A series, its cached days, a range, perhaps a first bar, perhaps a filter."""
    one = series("spot", "BTCUSDT", draw(st.sampled_from(["1s", "1m", "1h", "1d", "3d", "1w", "1mo"])))
    days = of("2023-11-20", "2024-06-14")
    runs = draw(st.lists(st.tuples(st.integers(0, len(days)), st.integers(1, 70)), max_size=4))
    here = sorted({day for first, count in runs for day in days[first : first + count]})
    hours = st.integers(0, 210 * 24).map(lambda number: at("2023-11-20") + number * HOUR)
    start = draw(hours)
    end = start + HOUR * draw(st.sampled_from([1, 5, 24]) | st.integers(1, 200 * 24))
    low, high = sorted((draw(hours), draw(hours)))
    kept = (opened >= pa.scalar(low, INSTANT)) & (opened < pa.scalar(high, INSTANT))
    return one, here, start, end, draw(st.none() | hours), draw(st.sampled_from([None, kept, ~kept]))


@given(case=cases(), by_day=st.booleans())
@thorough(tries(80))
def test_every_planned_day_that_the_filter_does_not_rule_out_is_in_exactly_one_block(case: Case, by_day: bool) -> None:
    one, here, start, end, first_open, filter_ = case
    pruning = None if filter_ is None else pruned(filter_)
    with tempfile.TemporaryDirectory() as root:
        store = DayStore(Path(root))
        cached(store, one, here)
        if first_open is not None:
            store.remember_first_open(one, first_open)
        query, snapshot = ask(one, moment_of(start), moment_of(end)), store.snapshot(one)
        found = list(blocks_of_query(query, one, snapshot, pruning, by_day=by_day))
        planned = plan_of_series(query, one, snapshot)
    covers = pruning.days(one, [each.day for each in planned]) if pruning else {}
    wanted = [each for each in planned if each.source is not Source.UNLISTED and covers.get(each.day) is not Cover.NONE]
    days = [block.all_days(here) for block in found]
    assert [day for of_block in days for day in of_block] == [each.day for each in wanted]
    assert not any(block.cached_span and (block.job or block.days or by_day) for block in found)
    fetched = [day for block in found if block.job for day in block.job.days]
    assert fetched == [each.day for each in wanted if each.source is not Source.CACHE]
    for block, of_block in zip(found, days, strict=True):
        assert set(block.job.days if block.job else ()) <= set(of_block)
