"""The parsers of archive CSV and REST JSON: what they accept, and what they refuse as malformed."""

from __future__ import annotations

import io
import json
import random
import zipfile
from datetime import date
from typing import Any

import pytest

from ckvd_sql.errors import MalformedDataError
from ckvd_sql.market.bars import NO_BARS
from ckvd_sql.market.periods import DAY, HOUR, Month, Period, day_start
from ckvd_sql.market.series import INTERVALS, Market, Series
from ckvd_sql.sources.parse import read_archive, read_rest
from tests.support.bars import HEADER, bars
from tests.support.rows import DATE, ROWS, SERIES, START, csv_lines, in_microseconds, rest_bars, row, values, zipped

# Archives.


def archived(text: bytes, period: Period = DATE) -> list[tuple[Any, ...]]:
    days = read_archive(zipped(text), SERIES, period, "the archive")
    assert set(days) <= {DATE}
    return values(days[DATE]) if days else []


def refused(text: bytes) -> str:
    with pytest.raises(MalformedDataError, match="the archive") as error:
        read_archive(zipped(text), SERIES, DATE, "the archive")
    return str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        csv_lines(ROWS),
        csv_lines(ROWS).rstrip(),
        csv_lines(ROWS, "\r\n"),
        csv_lines(ROWS, "\n\n"),
        b"\n\n" + csv_lines(ROWS) + b"\n\n",
        f"{HEADER}\n".encode() + csv_lines(ROWS),
        f"{HEADER}\r\n".encode() + csv_lines(ROWS, "\r\n"),
        csv_lines(ROWS[::-1]),
        csv_lines(random.Random(1).sample(ROWS, len(ROWS))),  # noqa: S311 (no secret)
        csv_lines(ROWS + ROWS),
        csv_lines([in_microseconds(cells) for cells in ROWS]),
        csv_lines([in_microseconds(cells) if cells[8] % 3 else cells for cells in ROWS]),
        b"\xef\xbb\xbf" + csv_lines(ROWS),
    ],
    ids=[
        "plain",
        "last line not ended",
        "CRLF",
        "blank lines",
        "blank lines around",
        "header",
        "header and CRLF",
        "newest first",
        "shuffled",
        "each twice",
        "microseconds",
        "units mixed",
        "byte order mark",
    ],
)
def test_every_csv_variant_gives_the_same_bars(text: bytes) -> None:
    assert archived(text) == bars(ROWS)


def test_archive_and_rest_give_the_same_bars_bit_for_bit() -> None:
    rest = rest_bars(json.dumps(ROWS).encode(), "rest")
    assert rest.equals(read_archive(zipped(csv_lines(ROWS)), SERIES, DATE, "the archive")[DATE])


def test_a_close_time_in_milliseconds_is_completed_to_its_last_microsecond() -> None:
    (bar,) = archived(csv_lines([row(0)]))
    assert (bar[0], bar[6]) == (START, START + HOUR - 1)


def test_a_close_time_before_its_open_time_is_kept_as_it_is() -> None:
    early = row(3, close_time=row(2)[0])
    assert archived(csv_lines([early])) == bars([early])


def test_off_grid_bars_are_kept_as_they_are() -> None:
    late = row(9, open_time=row(9)[0] + 58 * 60_000 + 14_789)
    assert archived(csv_lines([late])) == bars([late])


def test_two_different_bars_for_one_open_time_are_refused() -> None:
    assert "different rows for one open time" in refused(csv_lines([*ROWS, row(5, close="1")]))


def test_a_csv_without_rows_has_no_day() -> None:
    assert archived(b"") == []
    assert archived(f"{HEADER}\n".encode()) == []


@pytest.mark.parametrize("number", [-1, 24, 48])
def test_a_bar_of_another_day_is_refused(number: int) -> None:
    other = row(0, open_time=START // 1000 + number * 3_600_000)
    assert "which is not in 2024-06-01" in refused(csv_lines([*ROWS[1:], other]))


def test_a_month_is_split_into_its_days() -> None:
    month = Month(2024, 6)
    rows = [row(number * 12) for number in range(60)]
    data = zipped(csv_lines(rows), f"{SERIES.archive_stem(month)}.csv")
    days = read_archive(data, SERIES, month, "the archive")
    assert list(days) == list(month.days())
    assert [bar for day in days.values() for bar in values(day)] == bars(rows)


def test_a_week_belongs_to_the_month_in_which_it_opens() -> None:
    weekly, month = Series(Market.SPOT, "BTCUSDT", INTERVALS["1w"]), Month(2024, 5)
    opened = [day_start(day) // 1000 for day in (date(2024, 4, 29), date(2024, 5, 27), date(2024, 6, 3))]
    data = zipped(csv_lines([row(0, open_time=one) for one in opened]), f"{weekly.archive_stem(month)}.csv")
    assert list(read_archive(data, weekly, month, "the archive")) == [date(2024, 5, 27)]


@pytest.mark.parametrize("field", ["open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume"])
@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-inf", "", "null", "N/A", "1,000", "0x1", "abc", '"1"'])
def test_an_invalid_number_is_refused(field: str, text: str) -> None:
    assert refused(csv_lines([*ROWS[:5], row(5, **{field: text})]))


@pytest.mark.parametrize("field", ["open_time", "close_time", "trades"])
@pytest.mark.parametrize("text", ["", "nan", "1.5", "abc", "1e3", "99999999999999999999"])
def test_an_invalid_time_or_count_is_refused(field: str, text: str) -> None:
    assert refused(csv_lines([*ROWS[:5], row(5, **{field: text})]))


@pytest.mark.parametrize("time", [-1, 0, 5_000_000_000_000, 9_000_000_000_000_000_000])
def test_an_open_time_out_of_range_is_refused(time: int) -> None:
    assert refused(csv_lines([*ROWS, row(0, open_time=time)]))


@pytest.mark.parametrize("time", [-(2**62), 9_000_000_000_000_000_000])
def test_a_close_time_out_of_range_is_refused(time: int) -> None:
    assert refused(csv_lines([*ROWS[1:], row(0, close_time=time)]))


@pytest.mark.parametrize(
    "text",
    [
        csv_lines([cells[:11] for cells in ROWS]),
        csv_lines([[*cells, "0"] for cells in ROWS]),
        csv_lines([*ROWS[:3], ROWS[3][:4]]),
        csv_lines(ROWS)[:-20],
        b"<html><body>Please sign in</body></html>\n<p>again</p>\n",
        f"{HEADER}\n{HEADER}\n".encode(),
        b"\0" * 500,
        b"-" + csv_lines(ROWS),
        b"+" + csv_lines(ROWS),
    ],
    ids=[
        "eleven columns",
        "thirteen columns",
        "a short row",
        "cut off",
        "HTML",
        "two headers",
        "NUL",
        "minus",
        "plus",
    ],
)
def test_malformed_csv_is_refused(text: bytes) -> None:
    assert refused(text)


@pytest.mark.parametrize(
    "names",
    [
        ("ETHUSDT-1h-2024-06-01.csv",),
        ("BTCUSDT-1h-2024-06-02.csv",),
        ("BTCUSDT-1m-2024-06-01.csv",),
        ("../BTCUSDT-1h-2024-06-01.csv",),
        ("BTCUSDT-1h-2024-06-01.csv", "README"),
        ("README", "BTCUSDT-1h-2024-06-01.csv"),
    ],
)
def test_a_zip_with_any_other_member_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(MalformedDataError, match=r"should hold BTCUSDT-1h-2024-06-01\.csv alone"):
        read_archive(zipped(csv_lines(ROWS), *names), SERIES, DATE, "the archive")


def test_an_empty_zip_is_refused() -> None:
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    with pytest.raises(MalformedDataError, match="alone"):
        read_archive(buffer.getvalue(), SERIES, DATE, "the archive")


def test_a_zip_bomb_is_not_unpacked() -> None:
    bomb = zipped(csv_lines(ROWS) + b"\n" * 50_000_000)
    assert len(bomb) < 100_000
    with pytest.raises(MalformedDataError, match="unpacks to more than"):
        read_archive(bomb, SERIES, DATE, "the archive")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_zip_is_refused_or_gives_the_right_bars(method: int) -> None:
    intact = zipped(csv_lines(ROWS), method=method)
    chance = random.Random(method)  # noqa: S311 (no secret)
    for _ in range(500):
        damaged = bytearray(intact)
        for _ in range(chance.choice((1, 2, 8))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            days = read_archive(
                bytes(damaged[: chance.choice((len(damaged), chance.randrange(1, len(damaged))))]), SERIES, DATE, "x"
            )
        except MalformedDataError:
            continue
        assert values(days[DATE]) == bars(ROWS)  # the damage was in unused bytes


# REST answers.


def rest_refused(body: bytes) -> str:
    with pytest.raises(MalformedDataError) as error:
        rest_bars(body, "https://the.exchange/klines")
    return str(error.value)


def test_rest_rows_are_bars() -> None:
    assert values(rest_bars(json.dumps(ROWS[::-1]).encode(), "x")) == bars(ROWS)


def test_an_empty_answer_has_no_bars() -> None:
    assert rest_bars(b"[]", "x").equals(NO_BARS)


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
def test_a_malformed_answer_is_refused_with_its_url(body: bytes) -> None:
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
def test_rest_rows_outside_the_requested_range_are_refused(span: tuple[int, int]) -> None:
    body = json.dumps(ROWS).encode()
    assert read_rest(body, "x", START, START + DAY, 1000)[0].num_rows == len(ROWS)
    with pytest.raises(MalformedDataError, match="were not asked for"):
        read_rest(body, "x", *span, 1000)
