"""Defects that Binance's files have really had, as tables of pure functions grouped by what they change.

Row anomalies change the bars of a zip, and those of REST where a fault asks for it; text and member anomalies
change the zip alone. Knows neither faults nor HTTP.
"""

from __future__ import annotations

import io
import json
import zipfile
from decimal import ROUND_DOWN, Decimal
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

from ckvd_sql.market.periods import DAY, HOUR, MINUTE
from ckvd_sql.sandbox.archive import HEADER, Asset, checksum_text, parse_path
from ckvd_sql.sandbox.rest import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ckvd_sql.market.series import Market, Series
    from ckvd_sql.sandbox.rest import Source
    from ckvd_sql.sandbox.symbols import Listing

#: A row's twelve cells as an archive writes them.
Row: TypeAlias = list[str]
Rows: TypeAlias = list[Row]
Members: TypeAlias = list[tuple[str, bytes]]

_OPEN_TIME, _CLOSE, _CLOSE_TIME, _TRADES = 0, 4, 6, 8
_INTEGER_CELLS = (_OPEN_TIME, _CLOSE_TIME, _TRADES)  # the cells that REST gives as numbers
_MS_DIGITS = 13

#: The time of day at which the grid restarted on spot on 2018-02-09, µs (binance-public-data #14).
RESTART = 9 * HOUR + 58 * MINUTE + 14_789_000
#: The time of day at which spot trading stopped on 2023-03-24, µs.
STOP = 12 * HOUR + 39 * MINUTE + 41_646_000
#: The time of day of the last bar of 2025-04-22 as first published, µs (binance-public-data #436).
TORN = 7 * HOUR + 36 * MINUTE

_BOMB_BYTES = 64 << 20

# Anomalies pick rows by their time of day, so that a day is the same in every window and month that contains it.


def _unit(row: Row) -> int:
    """The unit of the row's times, in µs: 1 or 1000."""
    return 1 if len(row[_OPEN_TIME]) > _MS_DIGITS else 1000


def _time_of_day(row: Row) -> int:
    """The time of day at which the row opens, µs."""
    return int(row[_OPEN_TIME]) * _unit(row) % DAY


def _length(row: Row) -> int:
    """The length of the row's bar, µs."""
    return (int(row[_CLOSE_TIME]) + 1 - int(row[_OPEN_TIME])) * _unit(row)


def _replace(row: Row, cells: Mapping[int, object]) -> Row:
    """The row with some cells replaced, by their numbers."""
    return [str(cells.get(number, cell)) for number, cell in enumerate(row)]


def _change_bar_at(moment: int, change: Callable[[Row], Row]) -> Callable[[Rows], Rows]:
    """An anomaly that changes the bar that contains a time of day (µs)."""
    return lambda rows: [change(row) if 0 <= moment - _time_of_day(row) < _length(row) else row for row in rows]


def _drop_hours(*spans: tuple[int, int]) -> Callable[[Rows], Rows]:
    """An anomaly that drops the bars which open in these hours of the day, `[first, end)`."""
    return lambda rows: [
        row for row in rows if not any(first * HOUR <= _time_of_day(row) < end * HOUR for first, end in spans)
    ]


def _repeat(change: Callable[[Row], Row]) -> Callable[[Rows], Rows]:
    """An anomaly that adds a second copy, changed by `change`, to each bar from 06:00 to 08:00."""

    def repeat(rows: Rows) -> Rows:
        copied = [[row, change(row)] if 6 * HOUR <= _time_of_day(row) < 8 * HOUR else [row] for row in rows]
        return list(chain.from_iterable(copied))

    return repeat


def _restart_grid(row: Row) -> Row:
    unit, length = _unit(row), _length(row)
    if _time_of_day(row) + length <= RESTART:
        return row
    shift = RESTART % length // unit
    open_time = int(row[_OPEN_TIME]) + shift
    midnight = (open_time * unit // DAY + 1) * DAY // unit
    return _replace(row, {_OPEN_TIME: open_time, _CLOSE_TIME: min(int(row[_CLOSE_TIME]) + shift, midnight - 1)})


def _close_early(row: Row) -> Row:
    # STOP is in whole ms; a close time in µs is the end of that ms.
    last = int(row[_OPEN_TIME]) * _unit(row) + STOP - _time_of_day(row) + 999
    return _replace(row, {_CLOSE_TIME: last // _unit(row)})


def _zero_like(cell: str) -> str:
    """Zero, with as many decimals as the cell."""
    _, point, fraction = cell.partition(".")
    return f"0{point}{'0' * len(fraction)}"


def _without_trades(row: Row) -> Row:
    price, zeros = row[1], [_zero_like(cell) for cell in row]
    return [row[0], *[price] * 4, zeros[5], row[6], *zeros[7:]]


def _switch_unit(row: Row) -> Row:
    opened, closed = int(row[_OPEN_TIME]), int(row[_CLOSE_TIME])
    if _unit(row) == 1:
        return _replace(row, {_OPEN_TIME: opened // 1000, _CLOSE_TIME: closed // 1000})
    return _replace(row, {_OPEN_TIME: opened * 1000, _CLOSE_TIME: closed * 1000 + 999})


def _shift_one_day(row: Row) -> Row:
    day = DAY // _unit(row)
    return _replace(row, {_OPEN_TIME: int(row[_OPEN_TIME]) + day, _CLOSE_TIME: int(row[_CLOSE_TIME]) + day})


def _lower_volumes(rows: Rows) -> Rows:
    """Volumes and trades a tenth lower on days with missing bars or odd close times (binance-public-data #475)."""
    length = max(map(_length, rows), default=DAY)
    days: dict[int, Rows] = {}
    for row in rows:
        days.setdefault(int(row[_OPEN_TIME]) * _unit(row) // DAY, []).append(row)
    odd = {
        day
        for day, of_day in days.items()
        if sum(map(_length, of_day)) < DAY or any(_length(r) < length for r in of_day)
    }
    return [_scale_down(row) if int(row[_OPEN_TIME]) * _unit(row) // DAY in odd else row for row in rows]


def _scale_down(row: Row) -> Row:
    def tenth_less(cell: str) -> Decimal:
        return (Decimal(cell) * 9 / 10).quantize(Decimal(cell), ROUND_DOWN)

    return _replace(row, {number: tenth_less(row[number]) for number in (5, 7, _TRADES, 9, 10)})


#: Anomalies of rows: functions of the rows of one day or several, in time order.
ROWS: dict[str, Callable[[Rows], Rows]] = {
    "off grid": lambda rows: [_restart_grid(row) for row in rows],
    "early close": _change_bar_at(STOP, _close_early),
    "close before open": _change_bar_at(14 * HOUR, lambda row: _replace(row, {_CLOSE_TIME: int(row[_OPEN_TIME]) - 1})),
    "missing bars": _drop_hours((13, 14)),
    "missing in places": _drop_hours((2, 5), (10, 12), (13, 14), (23, 24)),
    "zero trades": _change_bar_at(12 * HOUR, _without_trades),
    "mixed units": lambda rows: [_switch_unit(row) if number % 3 else row for number, row in enumerate(rows)],
    "duplicates": _repeat(lambda row: row),
    "conflicting duplicates": _repeat(lambda row: _replace(row, {_TRADES: int(row[_TRADES]) + 1})),
    "lower volumes": _lower_volumes,
    "unsorted": lambda rows: rows[::-1],
    "ends at 07:36": lambda rows: [row for row in rows if _time_of_day(row) <= TORN],
    "no bars": lambda rows: rows[:0],
    "another day": lambda rows: [_shift_one_day(row) for row in rows],
    "field missing": _change_bar_at(12 * HOUR, lambda row: row[:-1]),
    "no number": _change_bar_at(12 * HOUR, lambda row: _replace(row, {_CLOSE: "n/a"})),
    "not finite": _change_bar_at(12 * HOUR, lambda row: _replace(row, {_CLOSE: "NaN"})),
    "no time": _change_bar_at(12 * HOUR, lambda row: _replace(row, {_OPEN_TIME: "0"})),
}

#: Anomalies of a CSV's text.
TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "header": lambda text: text if text.startswith(HEADER) else HEADER + text,
    "no header": lambda text: text.removeprefix(HEADER),
    "blank lines": lambda text: b"\n" + text.replace(b"\n", b"\n\n") + b"\n",
    "CRLF": lambda text: text.replace(b"\n", b"\r\n"),
    "no last line end": lambda text: text.rstrip(b"\n"),
}

#: Anomalies of a zip's members: functions of the name and text of the member that should be there.
MEMBERS: dict[str, Callable[[str, bytes], Members]] = {
    "wrong file": lambda name, text: [(f"NOT{name}", text)],
    "two members": lambda name, text: [(name, text), ("README.txt", b"Thank you for downloading.\n")],
    "same member twice": lambda name, text: [(name, text), (name, text)],
    "member with a path": lambda name, text: [(f"../../../../../../{name}", text)],
    "member with a root": lambda name, text: [(f"/tmp/{name}", text)],  # noqa: S108 (what must not be written)
    "member in a folder": lambda name, text: [(f"data/{name}", text)],
    "no member": lambda _name, _text: [],
    "zip bomb": lambda name, text: [(name, text + b"\n" * _BOMB_BYTES)],
}

ANOMALIES: tuple[str, ...] = (*ROWS, *TEXTS, *MEMBERS)


@lru_cache(maxsize=64)
def spoiled(body: bytes, name: str) -> bytes:
    """A zip with one anomaly.

    Args:
        body: The zip, with one CSV file as its member.
        name: One of `ANOMALIES`.
    """
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        (info,) = archive.infolist()
        text = archive.read(info)
    if name in ROWS:
        text = _change_rows(text, ROWS[name])
    elif name in TEXTS:
        text = TEXTS[name](text)
    members = MEMBERS[name](info.filename, text) if name in MEMBERS else [(info.filename, text)]
    return _zipped(members, info)


def _change_rows(text: bytes, change: Callable[[Rows], Rows]) -> bytes:
    header = HEADER if text.startswith(HEADER) else b""
    rows = [line.split(",") for line in text.removeprefix(header).decode().splitlines()]
    return header + "".join(f"{','.join(row)}\n" for row in change(rows)).encode()


def _zipped(members: Members, like: zipfile.ZipInfo) -> bytes:
    """A zip of these members, with the date and attributes of another member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, like.date_time)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = like.external_attr
            archive.writestr(info, content)
            archive.NameToInfo.clear()  # "same member twice" is on purpose: no warning about a duplicate name
    return buffer.getvalue()


class Anomalous:
    """A source whose zips and REST rows have anomalies.

    Args:
        source: The source to change.
        names: The anomalies, applied one after the other. REST rows get those of `ROWS` alone.
    """

    def __init__(self, source: Source, names: Sequence[str]) -> None:
        self._source = source
        self._names = names

    def listings(self, market: Market, now: int) -> Sequence[Listing]:
        """The source's listings, unchanged."""
        return self._source.listings(market, now)

    def asset(self, path: str, now: int) -> Asset | None:
        """The zip with its anomalies, or the checksum that matches it: Binance publishes both from the same bytes."""
        zip_path = path.removesuffix(".CHECKSUM")
        found, asset = parse_path(zip_path), self._source.asset(zip_path, now)
        if found is None or asset is None:
            return self._source.asset(path, now)
        body = asset.body
        for name in self._names:
            body = spoiled(body, name)
        if path != zip_path:
            series, period = found
            body = checksum_text(series.market, body, f"{series.archive_stem(period)}.zip")
        return Asset(body, asset.published)

    def rows(self, series: Series, window: Window, now: int) -> bytes:
        """The window's rows with the row anomalies, which are applied to whole days first, as in a zip."""
        step = series.interval.step
        a_day = DAY // step if step and step <= DAY else 1
        whole_days = Window(
            window.start // DAY * DAY,
            -(-min(window.end, now + DAY) // DAY) * DAY,
            4 * window.limit + 2 * a_day,
            window.newest,
        )
        rows: Rows = [[str(cell) for cell in row] for row in json.loads(self._source.rows(series, whole_days, now))]
        for name in self._names:
            rows = ROWS[name](rows) if name in ROWS else rows
        # "no time" sets an open time to 0; that row stays in the window, where it was before.
        inside = [row for row in rows if row[0] == "0" or window.start <= int(row[0]) * _unit(row) < window.end]
        limited = inside[-window.limit :] if window.newest else inside[: window.limit]
        return json.dumps([_json_row(row) for row in limited], separators=(",", ":")).encode()


def _json_row(row: Row) -> list[Any]:
    return [int(cell) if number in _INTEGER_CELLS else cell for number, cell in enumerate(row)]
