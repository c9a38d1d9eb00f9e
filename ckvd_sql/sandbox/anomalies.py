"""What Binance's files have really had wrong with them: tables of pure functions, by what they do.

An anomaly of rows changes the bars of a zip, and REST's too where a fault asks for that; one of text or of members
changes the zip alone. Rows are told by their time of day, so that a day looks the same in whatever window or month.
A zip's checksum is that of the changed bytes: it was published so. Knows neither faults nor HTTP.
"""

from __future__ import annotations

import io
import json
import zipfile
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from ckvd_sql.market.periods import DAY, HOUR, MINUTE
from ckvd_sql.sandbox.archive import HEADER, Asset, checksum_text, parse_path
from ckvd_sql.sandbox.rest import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ckvd_sql.market.series import Market, Series
    from ckvd_sql.sandbox.rest import Source
    from ckvd_sql.sandbox.symbols import Listing

#: A row's twelve cells as an archive writes them.
Row: TypeAlias = list[str]
Rows: TypeAlias = list[Row]
Members: TypeAlias = list[tuple[str, bytes]]

_OPENED, _CLOSED, _TRADES = 0, 6, 8
_WHOLE = (_OPENED, _CLOSED, _TRADES)  # the cells that REST gives as numbers
_MS_DIGITS = 13

#: The time of day at which the grid began anew on 2018-02-09.
RESTART = 9 * HOUR + 58 * MINUTE + 14_789_000
#: The moment at which spot trading stopped on 2023-03-24.
STOP = 12 * HOUR + 39 * MINUTE + 41_646_000
#: The last bar of 2025-04-22 as it was first published.
TORN = 7 * HOUR + 36 * MINUTE

_BOMB = 64 << 20  # bytes that a bomb unpacks to


def _unit(row: Row) -> int:
    """µs in one step of the row's times."""
    return 1 if len(row[_OPENED]) > _MS_DIGITS else 1000


def _clock(row: Row) -> int:
    """The time of day at which the row opens, µs."""
    return int(row[_OPENED]) * _unit(row) % DAY


def _length(row: Row) -> int:
    """How long the row's bar is, µs."""
    return (int(row[_CLOSED]) + 1 - int(row[_OPENED])) * _unit(row)


def _with(row: Row, **cells: object) -> Row:
    """The row with some cells changed, each by its number: `_with(row, _6=0)`."""
    changed = {int(name[1:]): str(value) for name, value in cells.items()}
    return [changed.get(number, cell) for number, cell in enumerate(row)]


def _holding(moment: int, change: Callable[[Row], Row]) -> Callable[[Rows], Rows]:
    """Change the bar in whose time a time of day falls."""
    return lambda rows: [change(row) if 0 <= moment - _clock(row) < _length(row) else row for row in rows]


def _without(*spans: tuple[int, int]) -> Callable[[Rows], Rows]:
    """Leave out the bars that open in these hours of the day, `[first, end)`."""
    return lambda rows: [
        row for row in rows if not any(first * HOUR <= _clock(row) < end * HOUR for first, end in spans)
    ]


def _restarted(row: Row) -> Row:
    unit, length = _unit(row), _length(row)
    if _clock(row) + length <= RESTART:
        return row
    shift = RESTART % length
    opened = int(row[_OPENED]) + shift // unit
    midnight = (opened * unit // DAY + 1) * DAY // unit
    return _with(row, _0=opened, _6=min(int(row[_CLOSED]) + shift // unit, midnight - 1))


def _stopped(row: Row) -> Row:
    # In µs as in ms, the bar lasted to the end of that millisecond.
    last = int(row[_OPENED]) * _unit(row) + STOP - _clock(row) + 999
    return _with(row, _6=last // _unit(row))


def _zero(cell: str) -> str:
    _, point, fraction = cell.partition(".")
    return f"0{point}{'0' * len(fraction)}"


def _untraded(row: Row) -> Row:
    price, quiet = row[1], [_zero(cell) for cell in row]
    return [row[0], *[price] * 4, quiet[5], row[6], *quiet[7:]]


def _in_other_unit(row: Row) -> Row:
    opened, closed = int(row[_OPENED]), int(row[_CLOSED])
    if _unit(row) == 1:
        return _with(row, _0=opened // 1000, _6=closed // 1000)
    return _with(row, _0=opened * 1000, _6=closed * 1000 + 999)


def _again(change: Callable[[Row], Row]) -> Callable[[Rows], Rows]:
    """Repeat the bars of the hours from six to eight, changed or not."""
    return lambda rows: [
        one for row in rows for one in ((row, change(row)) if 6 * HOUR <= _clock(row) < 8 * HOUR else (row,))
    ]


def _a_day_later(row: Row) -> Row:
    return _with(row, _0=int(row[_OPENED]) + DAY // _unit(row), _6=int(row[_CLOSED]) + DAY // _unit(row))


#: Anomalies of rows. Rows are in time order, of one day or several.
ROWS: dict[str, Callable[[Rows], Rows]] = {
    "off grid": lambda rows: [_restarted(row) for row in rows],
    "early close": _holding(STOP, _stopped),
    "close before open": _holding(14 * HOUR, lambda row: _with(row, _6=int(row[_OPENED]) - 1)),
    "missing bars": _without((13, 14)),
    "missing in places": _without((2, 5), (10, 12), (13, 14), (23, 24)),
    "zero trades": _holding(12 * HOUR, _untraded),
    "mixed units": lambda rows: [_in_other_unit(row) if number % 3 else row for number, row in enumerate(rows)],
    "duplicates": _again(lambda row: row),
    "conflicting duplicates": _again(lambda row: _with(row, _8=int(row[_TRADES]) + 1)),
    "unsorted": lambda rows: rows[::-1],
    "ends at 07:36": lambda rows: [row for row in rows if _clock(row) <= TORN],
    "no bars": lambda rows: rows[:0],
    "another day": lambda rows: [_a_day_later(row) for row in rows],
    "field missing": _holding(12 * HOUR, lambda row: row[:-1]),
    "no number": _holding(12 * HOUR, lambda row: _with(row, _4="n/a")),
    "not finite": _holding(12 * HOUR, lambda row: _with(row, _4="NaN")),
    "no time": _holding(12 * HOUR, lambda row: _with(row, _0="0")),
}

#: Anomalies of a CSV's text.
TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "header": lambda text: text if text.startswith(HEADER) else HEADER + text,
    "no header": lambda text: text.removeprefix(HEADER),
    "blank lines": lambda text: b"\n" + text.replace(b"\n", b"\n\n") + b"\n",
    "CRLF": lambda text: text.replace(b"\n", b"\r\n"),
    "no last line end": lambda text: text.rstrip(b"\n"),
}

#: Anomalies of a zip's members, from the name and text of the one that should be there.
MEMBERS: dict[str, Callable[[str, bytes], Members]] = {
    "wrong file": lambda name, text: [(f"NOT{name}", text)],
    "two members": lambda name, text: [(name, text), ("README.txt", b"Thank you for downloading.\n")],
    "same member twice": lambda name, text: [(name, text), (name, text)],
    "member with a path": lambda name, text: [(f"../../../../../../{name}", text)],
    "member with a root": lambda name, text: [(f"/tmp/{name}", text)],  # noqa: S108 (what must not be written)
    "member in a folder": lambda name, text: [(f"data/{name}", text)],
    "no member": lambda _name, _text: [],
    "zip bomb": lambda name, text: [(name, text + b"\n" * _BOMB)],
}

ANOMALIES: tuple[str, ...] = (*ROWS, *TEXTS, *MEMBERS)


@lru_cache(maxsize=64)
def spoiled(body: bytes, name: str) -> bytes:
    """A zip with one anomaly."""
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        (info,) = archive.infolist()
        text = archive.read(info)
    if name in ROWS:
        header = HEADER if text.startswith(HEADER) else b""
        rows = [line.split(",") for line in text.removeprefix(header).decode().splitlines()]
        text = header + "".join(f"{','.join(row)}\n" for row in ROWS[name](rows)).encode()
    elif name in TEXTS:
        text = TEXTS[name](text)
    members = MEMBERS[name](info.filename, text) if name in MEMBERS else [(info.filename, text)]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, content in members:
            made = zipfile.ZipInfo(member, info.date_time)
            made.compress_type = zipfile.ZIP_DEFLATED
            made.external_attr = info.external_attr
            archive.writestr(made, content)
            archive.NameToInfo.clear()  # lest it warns of a name that is there twice: that is the point
    return buffer.getvalue()


class Anomalous:
    """A source with anomalies in its zips and, where the call is one for klines, in its rows.

    Args:
        source: The source as it would be.
        names: The anomalies, one upon the other.
    """

    def __init__(self, source: Source, names: Sequence[str]) -> None:
        self._source = source
        self._names = names

    def listings(self, market: Market, now: int) -> Sequence[Listing]:
        """The source's."""
        return self._source.listings(market, now)

    def asset(self, path: str, now: int) -> Asset | None:
        """The zip with its anomalies, or the checksum of that."""
        zipped = path.removesuffix(".CHECKSUM")
        found, asset = parse_path(zipped), self._source.asset(zipped, now)
        if found is None or asset is None:
            return self._source.asset(path, now)
        body = asset.body
        for name in self._names:
            body = spoiled(body, name)
        if path != zipped:
            series, period = found
            body = checksum_text(series.market, body, f"{series.archive_stem(period)}.zip")
        return Asset(body, asset.published)

    def rows(self, series: Series, window: Window, now: int) -> bytes:
        """The rows with those anomalies that are of rows; whole days of them, then the window's."""
        step = series.interval.step
        a_day = DAY // step if step and step <= DAY else 1
        wide = Window(
            window.start // DAY * DAY,
            -(-min(window.end, now + DAY) // DAY) * DAY,
            4 * window.limit + 2 * a_day,
            window.newest,
        )
        rows: Rows = [[str(cell) for cell in row] for row in json.loads(self._source.rows(series, wide, now))]
        for name in self._names:
            rows = ROWS[name](rows) if name in ROWS else rows
        # A time that is none is always in the window, as the row that it spoils was.
        there = [row for row in rows if row[0] == "0" or window.start <= int(row[0]) * _unit(row) < window.end]
        kept = there[-window.limit :] if window.newest else there[: window.limit]
        return json.dumps([_json_row(row) for row in kept], separators=(",", ":")).encode()


def _json_row(row: Row) -> list[Any]:
    return [int(cell) if number in _WHOLE else cell for number, cell in enumerate(row)]
