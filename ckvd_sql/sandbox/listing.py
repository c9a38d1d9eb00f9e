"""The listing of the archive's bucket, as S3 gives it: the symbols that have archives on a market, in pages.

    GET /?delimiter=/&prefix=data/spot/monthly/klines/&marker=...

Source of the form: Amazon's documents, "ListObjects" (version 1).
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from ckvd_sql.market.periods import Month, day_of, day_start
from ckvd_sql.market.series import Market
from ckvd_sql.sandbox.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ckvd_sql.sandbox.rest import Source

#: Entries of a page; S3 gives 1,000.
PAGE = 1000

_PREFIX = re.compile(r"data/(?P<market>spot|futures/um|futures/cm)/(?P<scope>daily|monthly)/klines/")
_HEADERS = {"Content-Type": "application/xml"}


def answer(source: Source, params: Mapping[str, str], now: int) -> Answer:
    """The page of the folders below `prefix` after `marker`, at an instant in µs."""
    prefix, marker = params["prefix"], params.get("marker", "")
    found = _PREFIX.fullmatch(prefix)
    paths = sorted(f"{prefix}{name}/" for name in _names(source, found, now)) if found else []
    following = [path for path in paths if path > marker]
    page, more = following[:PAGE], len(following) > PAGE
    folders = "".join(f"<CommonPrefixes><Prefix>{escape(path)}</Prefix></CommonPrefixes>" for path in page)
    end = f"<NextMarker>{escape(page[-1])}</NextMarker>" if more else ""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>data.binance.vision</Name><Prefix>{escape(prefix)}</Prefix><Marker>{escape(marker)}</Marker>{end}"
        f"<MaxKeys>{PAGE}</MaxKeys><Delimiter>/</Delimiter><IsTruncated>{str(more).lower()}</IsTruncated>{folders}"
        "</ListBucketResult>"
    )
    return Answer(200, _HEADERS, text.encode())


def _names(source: Source, asked: re.Match[str], now: int) -> Iterator[str]:
    """The symbols of which a day, or a whole month, was over."""
    market = Market(asked["market"].removeprefix("futures/"))
    for one in source.listings(market, now):
        listed = day_of(one.listed)
        over = day_start(Month.of(listed).next.first) if asked["scope"] == "monthly" else day_start(listed)
        if over <= now:
            yield one.symbol
