"""What this process has learnt from an archive about when series were traded, in memory. It sends no requests."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from ckvd_sql.market.periods import Month
    from ckvd_sql.market.series import Series
    from ckvd_sql.settings import Settings

#: For how long a symbol that was not found is not searched for again, in seconds.
_ABSENT_FOR = 600.0

_ARCHIVES = 64


@dataclass(slots=True)
class Learnt:
    """By the key of a series: what a search of the archive has found.

    Attributes:
        last_months: The last month that has an archive.
        first_days: The first day that the archive has; None where the archive can't tell.
    """

    last_months: dict[str, Month] = field(default_factory=dict)
    first_days: dict[str, date | None] = field(default_factory=dict)
    _absent: dict[str, float] = field(default_factory=dict)

    def note_absent(self, series: Series) -> None:
        """Remember for some minutes that the archive has nothing of a series."""
        self._absent[series.key] = time.monotonic()

    def is_absent(self, series: Series) -> bool:
        """Whether a search some minutes ago at most found nothing of a series."""
        searched = self._absent.get(series.key)
        return searched is not None and time.monotonic() - searched < _ABSENT_FOR


def learnt_from(settings: Settings) -> Learnt:
    """What has been learnt from the archive of these settings; whoever uses the same cache shares it."""
    return _learnt(settings.vision_url, settings.cache_dir)


@functools.lru_cache(maxsize=_ARCHIVES)
def _learnt(_vision_url: str, _cache_dir: Path) -> Learnt:
    return Learnt()
