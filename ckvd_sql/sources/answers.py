"""How much of an answer is read: no more than a genuine one can have, and only as it was asked for; and what was read.

Bounds hold while bytes arrive, before anything is unpacked or parsed. Which answer may have how many bytes is stated
here; what the bytes mean is for `sources/parse.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckvd_sql.errors import MalformedDataError
from ckvd_sql.market.periods import DAY, Month, day_start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ckvd_sql.market.periods import Period
    from ckvd_sql.market.series import Series

#: Asked for by both clients: an answer is never unpacked on the way, so that a small one can't become a large one.
PLAIN = {"Accept-Encoding": "identity"}

#: A `.CHECKSUM` is 64 hex digits and a file's name: some 100 bytes.
CHECKSUM_BYTES = 1024

#: The list of all spot symbols is some 15 MB.
SYMBOLS_BYTES = 48 << 20

#: Of an error only the code and the message are used, some 100 bytes; the rest is not read.
REFUSAL_BYTES = 64 << 10

#: Bytes for what is not rows: brackets, a zip's directory.
_FRAME = 64 << 10

_REST_ROW = 400  # as JSON; a genuine one has some 190
_ZIPPED_ROW = 200  # a genuine one has some 50 packed, and 145 as CSV

_LONGEST_NUMBER = 18  # digits of a header that is read as a number


@dataclass(slots=True)
class Traffic:
    """What has been received.

    Attributes:
        files: The number of answers with a body that was wanted.
        size: Their bytes.
    """

    files: int = 0
    size: int = 0

    def add(self, body: bytes) -> None:
        """Count an answer."""
        self.files += 1
        self.size += len(body)


def rest_bytes(limit: int) -> int:
    """The most bytes of an answer with this many klines."""
    return limit * _REST_ROW + _FRAME


def archive_bytes(series: Series, period: Period) -> int:
    """The most bytes of the zip of a day or a month, by the number of bars that its grid has."""
    return grid_bars(series, period) * _ZIPPED_ROW + _FRAME


def grid_bars(series: Series, period: Period) -> int:
    """How many bars open in a day or a month."""
    first, last = (period.first, period.last) if isinstance(period, Month) else (period, period)
    return len(series.interval.slots(day_start(first), day_start(last) + DAY))


async def read_bounded(
    url: str, chunks: AsyncIterator[bytes], encodings: Sequence[str], length: str | None, limit: int
) -> bytes:
    """The body of an answer with status 200.

    Args:
        url: What was asked, for errors.
        chunks: The body as it arrives, not unpacked.
        encodings: The values of its `Content-Encoding` headers.
        length: The value of its `Content-Length` header, if there is one.
        limit: The most bytes that it may have.

    Raises:
        MalformedDataError: It is longer, or says so, or it is packed although that was not asked for.
    """
    if any(encoding.strip().lower() not in {"", "identity"} for encoding in encodings):
        raise MalformedDataError(
            f"{url} answered packed as {', '.join(encodings)[:80]}, which was not asked for", url=url
        )
    if length and length.isdecimal() and (len(length) > _LONGEST_NUMBER or int(length) > limit):
        raise _too_long(url, limit)
    found, size = [], 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise _too_long(url, limit)
        found.append(chunk)
    return b"".join(found)


async def read_start(chunks: AsyncIterator[bytes], limit: int) -> bytes:
    """The first bytes of a body; the rest is left unread."""
    found = bytearray()
    async for chunk in chunks:
        found += chunk
        if len(found) >= limit:
            break
    return bytes(found[:limit])


def check_length(url: str, data: bytes, limit: int) -> bytes:
    """The data of a source that was asked for one byte more than the limit. Raises `MalformedDataError`."""
    if len(data) > limit:
        raise _too_long(url, limit)
    return data


def _too_long(url: str, limit: int) -> MalformedDataError:
    return MalformedDataError(f"{url} answered with more than {limit} bytes, too much for what was asked", url=url)
