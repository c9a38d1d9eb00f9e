"""What a user is told about days that are fetched, or could not be: many files, missing days, what helps."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckvd_sql.errors import OfflineError, ProviderUnavailableError
from ckvd_sql.market.periods import format_days

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from ckvd_sql.errors import CkvdError
    from ckvd_sql.fetch.jobs import Job
    from ckvd_sql.market.series import Series
    from ckvd_sql.scan.blocks import Block

log = logging.getLogger("ckvd_sql")

#: More files than these are announced before they are fetched: a month of daily files of ten symbols.
_MANY_FILES = 300

#: Advice for a network on which nothing answers.
_NO_NETWORK = (
    "; without a network CKVD_OFFLINE=1 reads what is cached, and `ckvd sandbox` stands in for Binance; CKVD_PROXY "
    "names a proxy, CKVD_VISION_URL and CKVD_SPOT_URL a mirror"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Days of a series that could not be had, and why."""

    series: Series
    days: tuple[date, ...]
    error: CkvdError


def announce_many(jobs: Sequence[Job]) -> None:
    """Log that a statement is about to fetch many files."""
    files = sum(1 if job.monthly else len(job.archived) for job in jobs)
    if files > _MANY_FILES:
        log.warning(
            "this statement fetches %s files of the archive, for %s days; a range of open_time in the call or in WHERE "
            "needs fewer, and so does ckvd_latest for the last bars",
            f"{files:,}",
            f"{sum(len(job.days) for job in jobs):,}",
        )


def with_missing_days(failure: Failure, blocks: Iterable[Block]) -> CkvdError:
    """The error of a failure; where no source could be reached it names the series' missing days from there on."""
    error = failure.error
    of_jobs = {day for block in blocks if block.job and block.series == failure.series for day in block.job.days}
    days = sorted({*failure.days, *(day for day in of_jobs if day >= failure.days[0])})
    missing = f"missing days of {failure.series}: {format_days(days)}"
    if isinstance(error, ProviderUnavailableError):
        advice = _NO_NETWORK if error.status is None and error.url else ""
        return ProviderUnavailableError(f"{error}; {missing}{advice}", url=error.url, status=error.status, days=days)
    if isinstance(error, OfflineError):
        return OfflineError(f"the network is switched off (CKVD_OFFLINE); {missing}", days)
    return error
