"""Bars out of REST answers: what their JSON may look like, what is refused; and bars cut by time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ckvd_sql.errors import MalformedDataError
from ckvd_sql.market.bars import NO_BARS, closed, read_bars, within
from ckvd_sql.market.series import DAY, HOUR
from tests.support.bars import bars
from tests.support.rows import ROWS, START, read_rest, row, values


def rest_refused(body: bytes) -> str:
    with pytest.raises(MalformedDataError) as error:
        read_rest(body, "https://the.exchange/klines")
    return str(error.value)


def test_rest_rows_are_bars() -> None:
    assert values(read_rest(json.dumps(ROWS[::-1]).encode(), "x")) == bars(ROWS)


def test_no_rows_are_no_bars() -> None:
    assert read_rest(b"[]", "x").equals(NO_BARS)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"5",
        b"{}",
        b'{"code":-1121,"msg":"Invalid symbol."}',
        b"[1]",
        b"[null]",
        b"[[]]",
        b"[{}]",
        b'["abcdefghijkl"]',
        b"\xff\xfe[]",
        b"[[" * 50_000,
        b"<html></html>",
        json.dumps([cells[:11] for cells in ROWS]).encode(),
        json.dumps([*ROWS, ROWS[0][:-1]]).encode(),
        json.dumps([[*cells, 0] for cells in ROWS]).encode(),
    ],
)
def test_an_answer_that_is_no_rows_is_refused_with_its_url(body: bytes) -> None:
    assert "https://the.exchange/klines" in rest_refused(body)


@pytest.mark.parametrize("field", ["open", "close", "volume", "taker_buy_quote_volume"])
@pytest.mark.parametrize("value", [None, 1.5, 1, True, "", "nan", "inf", "abc", []])
def test_a_rest_number_must_be_decimal_text(field: str, value: Any) -> None:
    assert rest_refused(json.dumps([*ROWS[:5], row(5, **{field: value})]).encode())


@pytest.mark.parametrize("field", ["open_time", "close_time", "trades"])
@pytest.mark.parametrize("value", [None, 1.5, True, "1717200000000", 2**70, -(2**70), []])
def test_a_rest_time_or_count_must_be_a_whole_number(field: str, value: Any) -> None:
    assert rest_refused(json.dumps([*ROWS[:5], row(5, **{field: value})]).encode())


@pytest.mark.parametrize("span", [(START + 1, START + DAY), (START, START + 23 * HOUR)])
def test_rest_rows_that_were_not_asked_for_are_refused(span: tuple[int, int]) -> None:
    body = json.dumps(ROWS).encode()
    assert read_bars(body, "x", START, START + DAY, 1000)[0].num_rows == len(ROWS)
    with pytest.raises(MalformedDataError, match="were not asked for"):
        read_bars(body, "x", *span, 1000)


def test_a_range_is_cut_half_open() -> None:
    batch = read_rest(json.dumps(ROWS).encode(), "x")
    assert values(within(batch, START + HOUR, START + 3 * HOUR)) == bars(ROWS[1:3])
    assert within(batch, START + HOUR + 1, START + HOUR + 1).num_rows == 0
    assert within(batch, START + 3 * HOUR, START).num_rows == 0


def test_a_bar_is_closed_once_its_close_time_has_passed() -> None:
    batch = read_rest(json.dumps(ROWS).encode(), "x")
    assert closed(batch, START + 2 * HOUR - 1).num_rows == 1
    assert closed(batch, START + 2 * HOUR).num_rows == 2
