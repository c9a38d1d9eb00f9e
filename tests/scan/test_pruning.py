"""What a filter rules out and what it keeps whole: of months and of days, told without reading a row."""

from __future__ import annotations

import itertools
import operator
from datetime import date
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckvd_sql.market.bars import INSTANT
from ckvd_sql.market.periods import DAY, HOUR, Month, day_start, days_between
from ckvd_sql.scan.pruning import Cover, Pruning
from tests.support.bars import series
from tests.support.examples import thorough, tries

if TYPE_CHECKING:
    from ckvd_sql.market.series import Series

BTC, ETH = series("spot", "BTCUSDT", "1h"), series("spot", "ETHUSDT", "1h")
KINDS: dict[str, Any] = {
    "symbol": pa.string(),
    "date": pa.date32(),
    "open_time": INSTANT,
    "close": pa.float64(),
}
SCHEMA = pa.schema([pa.field(name, kind) for name, kind in KINDS.items()])
NONE, PART, ALL = Cover.NONE, Cover.PART, Cover.ALL

DAYS = list(days_between(date(2024, 2, 27), date(2024, 4, 2)))
MONTHS = [Month(2024, 2), Month(2024, 3), Month(2024, 4)]

opened, symbol, close = pc.field("open_time"), pc.field("symbol"), pc.field("close")
no_text, no_time = pa.scalar(None, pa.string()), pa.scalar(None, INSTANT)
no_truth: Any = pa.scalar(None, pa.bool_())


def label(one: Series) -> dict[str, str]:
    return {"symbol": one.symbol}


def pruning(filter_: pc.Expression | None) -> Pruning:
    return Pruning(filter_, SCHEMA, label)


def at(day: date, hours: int = 0) -> pa.Scalar[Any]:
    return pa.scalar(day_start(day) + hours * HOUR, INSTANT)


def months(filter_: pc.Expression | None, one: Series = BTC) -> list[Cover]:
    found = pruning(filter_).months(one, MONTHS)
    assert list(found) == MONTHS
    return list(found.values())


def covers(filter_: pc.Expression | None, days: list[date], one: Series = BTC) -> list[Cover]:
    found = pruning(filter_).days(one, days)
    assert list(found) == days
    return list(found.values())


def test_without_a_filter_everything_is_kept() -> None:
    everything = pruning(None)
    assert not everything.active
    assert everything.can_match(BTC)
    assert everything.keeps_all(BTC, DAYS[0])
    assert set(months(None)) == set(covers(None, DAYS)) == {ALL}


def test_a_filter_makes_it_active() -> None:
    assert pruning(pc.scalar(True)).active  # noqa: FBT003


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        (at(date(2024, 3, 1)) <= opened, [NONE, ALL, ALL]),
        (opened < at(date(2024, 3, 1)), [ALL, NONE, NONE]),
        (opened <= at(date(2024, 3, 1)), [ALL, PART, NONE]),
        (opened >= at(date(2024, 3, 31), 23), [NONE, PART, ALL]),
        ((opened >= at(date(2024, 3, 1))) & (opened < at(date(2024, 4, 1))), [NONE, ALL, NONE]),
        (opened == at(date(2024, 3, 5), 12), [NONE, PART, NONE]),
        (opened != at(date(2024, 3, 5), 12), [ALL, PART, ALL]),
        (~(opened < at(date(2024, 4, 1))), [NONE, NONE, ALL]),
        ((opened < at(date(2024, 3, 1))) | (opened >= at(date(2024, 4, 1))), [ALL, NONE, ALL]),
        (pc.field("date") == pa.scalar(date(2024, 4, 2), pa.date32()), [NONE, NONE, PART]),
        (close > 5, [PART, PART, PART]),
        ((close > 5) & (opened < at(date(2024, 3, 1))), [PART, NONE, NONE]),
        ((close > 5) | (opened < at(date(2024, 3, 1))), [ALL, PART, PART]),
    ],
    ids=str,
)
def test_months_are_ruled_out_kept_or_kept_in_part(filter_: pc.Expression, expected: list[Cover]) -> None:
    assert months(filter_) == expected


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        (at(date(2024, 3, 2)) <= opened, [NONE, NONE, ALL, ALL]),
        (at(date(2024, 3, 2), 5) <= opened, [NONE, NONE, PART, ALL]),
        (opened < at(date(2024, 3, 1)), [ALL, NONE, NONE, NONE]),
        ((opened >= at(date(2024, 3, 1), 12)) & (opened < at(date(2024, 3, 2))), [NONE, PART, NONE, NONE]),
        (pc.field("date") >= pa.scalar(date(2024, 3, 2), pa.date32()), [NONE, NONE, ALL, ALL]),
        (close > 5, [PART, PART, PART, PART]),
    ],
    ids=str,
)
def test_days_are_ruled_out_kept_or_kept_in_part(filter_: pc.Expression, expected: list[Cover]) -> None:
    assert covers(filter_, list(days_between(date(2024, 2, 29), date(2024, 3, 3)))) == expected


def test_days_far_apart_are_judged_each_for_itself() -> None:
    days = [date(2019, 1, 31), date(2024, 3, 9), date(2024, 3, 11), date(2024, 3, 31), date(2030, 12, 31)]
    assert covers((opened >= at(days[1])) & (opened < at(days[2], 1)), days) == [NONE, ALL, PART, NONE, NONE]


def test_a_filter_on_a_label_keeps_a_series_or_rules_it_out() -> None:
    for filter_, btc, eth in (
        (symbol == "BTCUSDT", ALL, NONE),
        (symbol != "BTCUSDT", NONE, ALL),
        (symbol > "C", NONE, ALL),
        (symbol.isin(["BTCUSDT", "X"]), ALL, NONE),
        (symbol == "X", NONE, NONE),
    ):
        judge = pruning(filter_)
        for one, cover in ((BTC, btc), (ETH, eth), (BTC, btc)):  # what is known of one is not said of the other
            assert judge.can_match(one) is (cover is ALL)
            assert set(judge.months(one, MONTHS).values()) == {cover}
            assert set(judge.days(one, DAYS).values()) == {cover}
            assert judge.keeps_all(one, DAYS[0]) is (cover is ALL)


def test_a_label_and_a_time_work_together() -> None:
    either = (symbol == "BTCUSDT") | (opened < at(date(2024, 3, 1)))
    assert months(either, BTC) == [ALL, ALL, ALL]
    assert months(either, ETH) == [ALL, NONE, NONE]


def test_can_match_does_not_judge_times() -> None:
    assert pruning(opened < at(date(1960, 1, 1))).can_match(BTC)


@pytest.mark.parametrize(
    "filter_",
    [
        symbol == no_text,
        ~(symbol == no_text),
        opened >= no_time,
        ~(opened >= no_time),
        pc.scalar(no_truth),
        symbol.is_null(),
        (opened >= no_time) & (close > 5),
    ],
    ids=str,
)
def test_a_comparison_with_null_is_never_true(filter_: pc.Expression) -> None:
    judge = pruning(filter_)
    assert not any(judge.keeps_all(BTC, day) for day in DAYS)
    assert set(judge.months(BTC, MONTHS).values()) <= {NONE, PART}


def test_null_in_one_part_does_not_keep_what_the_other_rules_out() -> None:
    assert months((opened >= no_time) | (opened < at(date(2024, 3, 1)))) == [ALL, NONE, NONE]
    assert months(~((opened >= no_time) & (opened < at(date(2024, 3, 1)))))[1:] == [ALL, ALL]


def test_a_column_that_is_not_in_the_schema_states_nothing() -> None:
    schema = pa.schema([field for field in SCHEMA if field.name != "date"])
    judge = Pruning((opened >= at(date(2024, 3, 1))) & (close < 0), schema, label)
    assert list(judge.months(BTC, MONTHS).values()) == [NONE, PART, PART]


@pytest.mark.parametrize("order", list(itertools.permutations(["months", "days", "keeps_all", "again"])))
def test_the_order_of_calls_makes_no_difference(order: tuple[str, ...]) -> None:
    filter_ = (opened >= at(date(2024, 2, 28), 3)) & (opened < at(date(2024, 3, 15))) & (symbol == "BTCUSDT")
    judge = pruning(filter_)
    found: dict[str, Any] = {}
    for call in order:
        if call == "months":
            found[call] = judge.months(BTC, MONTHS)
        elif call == "keeps_all":
            found[call] = {day: judge.keeps_all(BTC, day) for day in reversed(DAYS)}
        else:
            found[call] = judge.days(BTC, DAYS if call == "days" else DAYS[::5])
    assert list(found["months"].values()) == [PART, PART, NONE]
    days = dict.fromkeys(DAYS, NONE)
    days |= dict.fromkeys(DAYS[1:17], ALL) | {DAYS[1]: PART}  # 02-28 to 03-14
    assert found["days"] == days
    assert found["again"] == {day: days[day] for day in DAYS[::5]}
    assert found["keeps_all"] == {day: cover is ALL for day, cover in days.items()}


OPERATORS = st.sampled_from([operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge])
INSTANTS = [day_start(day) + part for day in DAYS[::6] for part in (-1, 0, 1, 12 * HOUR, DAY - 1)]


VALUES: dict[str, list[Any]] = {
    "symbol": ["BTCUSDT", "ETHUSDT", "C", "", None],
    "date": [*DAYS[::3], None],
    "open_time": [*INSTANTS, None],
    "close": [0.0, 5.0, float("nan"), None],
}


@st.composite
def comparisons(draw: st.DrawFn) -> pc.Expression:
    name = draw(st.sampled_from(list(KINDS)))
    field, values = pc.field(name), st.sampled_from(VALUES[name])
    kind = draw(st.sampled_from(["compare", "compare", "isin", "null", "valid"]))
    made: Any
    if kind == "compare":
        made = draw(OPERATORS)(field, pa.scalar(draw(values), KINDS[name]))
    elif kind == "isin":
        made = field.isin(pa.array(draw(st.lists(values, max_size=3)), KINDS[name]))
    else:
        made = field.is_null() if kind == "null" else field.is_valid()
    return cast("pc.Expression", made)


FILTERS = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        inner.map(operator.invert),
        st.builds(operator.and_, inner, inner),
        st.builds(operator.or_, inner, inner),
    ),
    max_leaves=5,
)


def rows(one: Series, day: date) -> pa.Table:
    """Rows of a day, among them one at its first and one at its last instant."""
    times = [day_start(day) + part for part in (0, 1, 12 * HOUR, DAY - 1)]
    columns = {
        "symbol": pa.array([one.symbol] * 4),
        "date": pa.array([day] * 4, pa.date32()),
        "open_time": pa.array(times, INSTANT),
        "close": pa.array([0.0, 5.0, 7.0, float("nan")]),
    }
    return pa.table(columns, schema=SCHEMA)


@given(filter_=FILTERS)
@thorough(tries(100))
def test_whatever_the_filter_no_row_is_lost_and_none_kept_that_it_rules_out(filter_: pc.Expression) -> None:
    judge = pruning(filter_)
    for one in (BTC, ETH):
        by_month, by_day = judge.months(one, MONTHS), judge.days(one, DAYS[::3])
        for day, cover in by_day.items():
            table = rows(one, day)
            kept = table.filter(filter_).num_rows
            month = by_month[Month.of(day)]
            whole = table.num_rows
            for told in (cover, month, *([NONE] if not judge.can_match(one) else [])):
                assert kept == 0 or told is not NONE
                assert kept == whole or told is not ALL
