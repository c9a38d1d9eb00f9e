"""Where a day's bars come from: the sources of the failover, and what is recorded about a fetched day. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa


class Source(StrEnum):
    """Where the bars of a UTC day come from, in the order of the failover; the values of the SQL column `source`."""

    CACHE = "cache"
    LAKE = "lake"
    VISION = "vision"
    REST = "rest"
    #: No source has the day, because it is before the symbol's first bar. Only a plan says so.
    UNLISTED = "unlisted"


class GapCheck(StrEnum):
    """The result of asking REST for the bars that are missing from an archived day.

    Attributes:
        CONFIRMED: REST does not have them either: the gap is real.
        UNCONFIRMED: REST will never tell, because it no longer serves the symbol.
        TORN: REST has some of them: the archive was published incomplete.
        UNCHECKED: REST can't be asked now; the day is served and not stored.
    """

    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"
    TORN = "torn"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a stored day's bars came from.

    Attributes:
        source: `VISION` or `REST`.
        url: The URL of the archive, or of the REST host.
        sha256: The archive's SHA-256 in hex; empty for REST.
        fetched_at: When, in microseconds since the epoch.
        verified: Whether the archive's checksum matched; False only where the user let a wrong one pass, None for REST.
        gaps: What REST said about bars that are missing from an archived day; None where none are, and for REST.
        duplicates: Whether every source has different rows for one open time, of which the last one is stored.
    """

    source: Source
    url: str
    sha256: str
    fetched_at: int
    verified: bool | None = None
    gaps: GapCheck | None = None
    duplicates: bool = False

    @property
    def checksum(self) -> str:
        """The result of the checksum as stored and shown: `verified`, `unverified`, or empty for REST."""
        return "" if self.verified is None else "verified" if self.verified else "unverified"


class SourcedRows(NamedTuple):
    """Rows, and the source that they came from in the first place: `VISION` or `REST`."""

    source: Source
    rows: pa.RecordBatch


class WrongChecksum(NamedTuple):
    """An archive's published SHA-256 that is not that of its zip, and that of the zip; both in hex."""

    published: str
    actual: str
