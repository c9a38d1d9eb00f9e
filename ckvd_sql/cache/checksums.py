"""Archives whose published checksum is wrong for good, remembered beside the day files of their series.

It does not know how that was found out. A memory that is damaged is ignored; then the archive is downloaded again.
"""

from __future__ import annotations

import contextlib
import re
from collections import OrderedDict
from typing import TYPE_CHECKING

from ckvd_sql.disk.files import read_whole
from ckvd_sql.market.provenance import WrongChecksum

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckvd_sql.cache.folder import SeriesFolder
    from ckvd_sql.market.series import Series

#: The file of a series: a line for each archive, of the published SHA-256, that of its zip, and its URL.
_NAME = ".checksums"
_LINE = re.compile(r"([0-9a-f]{64}) ([0-9a-f]{64}) (\S.*)")

#: The most archives that are remembered in a process, and in the file of a series.
_MOST = 4096


class WrongChecksums:
    """The memory of one cache. Safe for any number of threads and processes.

    Args:
        folder: Gives the folder of a series.
    """

    def __init__(self, folder: Callable[[Series], SeriesFolder]) -> None:
        self._folder = folder
        self._known: OrderedDict[str, WrongChecksum] = OrderedDict()

    def recall(self, series: Series, url: str) -> WrongChecksum | None:
        """What is remembered of the archive at a URL."""
        return self._known.get(url) or _read(self._folder(series)).get(url)

    def remember(self, series: Series, url: str, wrong: WrongChecksum) -> None:
        """Remember that a series' archive has a wrong checksum. A disk that refuses is no error."""
        _add(self._known, url, wrong)
        if not _LINE.fullmatch(_line(url, wrong)):
            return
        folder = self._folder(series)

        def content() -> bytes:
            known = _read(folder)
            _add(known, url, wrong)
            return "".join(f"{_line(*entry)}\n" for entry in known.items()).encode()

        with contextlib.suppress(OSError, ValueError):
            folder.write_beside(_NAME, content)


def _add(known: OrderedDict[str, WrongChecksum], url: str, wrong: WrongChecksum) -> None:
    known[url] = wrong
    with contextlib.suppress(KeyError):  # another thread may do the same
        while len(known) > _MOST:
            known.popitem(last=False)


def _line(url: str, wrong: WrongChecksum) -> str:
    return f"{wrong.published} {wrong.actual} {url}"


def _read(folder: SeriesFolder) -> OrderedDict[str, WrongChecksum]:
    """What the file of a series has, without the lines that are none of ours."""
    try:
        lines = read_whole(f"{folder.path}/{_NAME}").decode().split("\n")
    except (OSError, ValueError):
        return OrderedDict()
    found = filter(None, map(_LINE.fullmatch, lines))
    return OrderedDict((match[3], WrongChecksum(match[1], match[2])) for match in found)
