"""The lake: periods of series, read from and written to a folder or a bucket. It decides nothing about days."""

from __future__ import annotations

import contextlib
import functools
import time
from typing import TYPE_CHECKING, TypeVar

import pyarrow.parquet as pq

from ckvd_sql.errors import LakeError
from ckvd_sql.lake import parquet
from ckvd_sql.lake.layout import key_of
from ckvd_sql.lake.objects import objects_at
from ckvd_sql.lake.parquet import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import date

    import pyarrow as pa

    from ckvd_sql.lake.objects import Found
    from ckvd_sql.lake.parquet import LakeBars, LakeMetadata
    from ckvd_sql.market.periods import FilePeriod
    from ckvd_sql.market.series import Series
    from ckvd_sql.settings import Settings

T = TypeVar("T")

#: For how long a lake that could not be reached is not asked again by this process, in seconds.
_DOWN_FOR = 600.0

#: When lakes could not be reached, by their URLs.
_down: dict[str, float] = {}


class LakeStore:
    """The files of one lake. Safe for any number of threads and processes.

    Args:
        url: Its URL.
        settings: The proxy, and for a folder who else may write into it.

    Attributes:
        url: Its URL, without a slash at the end.
    """

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = url
        self._objects = objects_at(url, settings)

    @property
    def down(self) -> bool:
        """Whether the lake could not be reached some minutes ago, and is left alone."""
        return time.monotonic() - _down.get(self.url, -_DOWN_FOR) < _DOWN_FOR

    def read(
        self, series: Series, period: FilePeriod, first: date, last: date, columns: Collection[str] | None = None
    ) -> LakeBars | None:
        """The bars of some days of a period, as `parquet.read`; None where the lake does not have the period.

        None too while the lake is down, which the first failure alone tells.

        Raises:
            LakeError: The lake can't be reached, or the period's file is damaged.
        """
        found = self._find(series, period)
        if found is None:
            return None
        return self._parse(series, period, found, lambda file: parquet.read(file, series, period, first, last, columns))

    def describe(self, series: Series, period: FilePeriod) -> tuple[LakeMetadata, str] | None:
        """The metadata of a period and the tag of its file; otherwise as `read`."""
        found = self._find(series, period, tail=True)
        if found is None:
            return None
        return self._parse(series, period, found, lambda file: parquet.describe(file, series, period)), found.tag

    def write(self, metadata: LakeMetadata, bars: pa.RecordBatch, tag: str | None = None) -> bool:
        """Write a period, whole or not at all.

        Args:
            metadata: What it says about itself.
            bars: Its bars.
            tag: That of the file that it replaces; None where there must be none.

        Returns:
            Whether it was written; if not, another writer was faster.

        Raises:
            LakeError: The lake can't be written.
        """
        key, content = key_of(metadata.series, metadata.period), parquet.encode(metadata, bars)
        return self._objects.create(key, content) if tag is None else self._objects.replace(key, content, tag)

    def tag(self, series: Series, period: FilePeriod) -> str | None:
        """The tag of a period's file, whatever is in it; None where there is none. Raises `LakeError`."""
        found = self._find(series, period, tail=True)
        if found is None:
            return None
        found.content.close()
        return found.tag

    def url_of(self, series: Series, period: FilePeriod) -> str:
        """Where a period's file is, or would be."""
        return f"{self.url}/{key_of(series, period)}"

    def _find(self, series: Series, period: FilePeriod, *, tail: bool = False) -> Found | None:
        if self.down:
            return None
        try:
            return self._objects.find(key_of(series, period), tail=tail)
        except LakeError:
            known, _down[self.url] = self.down, time.monotonic()
            if known:  # another thread has failed before
                return None
            raise

    def _parse(self, series: Series, period: FilePeriod, found: Found, parse: Callable[[pq.ParquetFile], T]) -> T:
        with contextlib.closing(found.content):
            try:
                return parse(pq.ParquetFile(found.content, page_checksum_verification=True))
            except UNREADABLE as error:
                url = self.url_of(series, period)
                raise LakeError(f"lake file {url} can't be used: {error}", url, damaged=True) from error


def lake_of(settings: Settings) -> LakeStore | None:
    """The lake of some settings; None where they name none, or one on the network while that is switched off."""
    if settings.lake_url is None or (settings.offline and not settings.lake_url.startswith("file:")):
        return None
    return _opened(settings.lake_url, settings)


@functools.lru_cache(maxsize=16)
def _opened(url: str, settings: Settings) -> LakeStore:
    return LakeStore(url, settings)
