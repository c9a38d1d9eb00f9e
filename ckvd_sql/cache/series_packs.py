"""The packs of one series that a snapshot uses: opened, validated, checked, made and dropped.

Which days are read from packs is the snapshot's business.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ckvd_sql.cache import packs
from ckvd_sql.disk.files import FileStamp
from ckvd_sql.market.bars import join_days

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckvd_sql.cache.directory import Stamps
    from ckvd_sql.cache.folder import OpenFiles, SeriesFolder
    from ckvd_sql.cache.packs import Pack, PackPeriod
    from ckvd_sql.market.provenance import SourcedRows
    from ckvd_sql.market.series import Series

log = logging.getLogger("ckvd_sql")


class SeriesPacks:
    """The packs of a series at one moment.

    Args:
        folder: The series' folder.
        series: The series.
        open_files: Counts what is kept open.
    """

    def __init__(self, folder: SeriesFolder, series: Series, open_files: OpenFiles) -> None:
        self._folder = folder
        self._series = series
        self._open_files = open_files
        self._packs: dict[str, Pack | None] = {}
        self._made: set[str] = set()

    @property
    def stamps(self) -> dict[str, FileStamp]:
        """The paths of the packs in use, with their stamps."""
        files = {name: pack.file for name, pack in self._packs.items() if pack and pack.file}
        return {self._folder.derived_path(f"{name}.pack"): file.stamp for name, file in files.items()}

    def was_read(self, period: PackPeriod) -> bool:
        """Whether it is known if there is a valid pack of a period."""
        return period.name in self._packs

    def was_made(self, period: PackPeriod) -> bool:
        """Whether the pack of a period has been made already, so that it is not tried again."""
        return period.name in self._made

    def has_changed(self, period: PackPeriod) -> bool:
        """Whether the file of a pack in use was replaced or overwritten; the pack is then no longer used."""
        known = self._packs.get(period.name)
        changed = bool(known and known.file and known.file.stamp != FileStamp.of_path(self._path(period)))
        if changed:
            del self._packs[period.name]
        return changed

    def read(self, period: PackPeriod, columns: frozenset[str], stamps: Callable[[], Stamps | None]) -> Pack | None:
        """The pack of a period, if it is valid; one of which a value of these columns is damaged is deleted.

        Args:
            period: The period.
            columns: The columns of which the values are checked.
            stamps: Gives the stamps of the day files; None where that is not possible now.
        """
        if period.name not in self._packs:
            pack = packs.read(self._path(period), self._series, period, mapped=self._folder.mapped)
            now = stamps() if pack else None
            valid = pack if pack and now is not None and pack.is_valid(now) else None
            self._packs[period.name] = valid
            if valid and valid.file:
                self._open_files.count(valid.file)
        pack = self._packs[period.name]
        try:
            if pack:
                pack.check(columns)
        except ValueError as error:
            log.warning("pack %s can't be used: %s; it is deleted", self._path(period), error)
            self.drop(period)
        return self._packs[period.name]

    def make(self, period: PackPeriod, days: list[SourcedRows], stamps: Stamps) -> Pack | None:
        """A new pack of the days whose files have these stamps; None where it is large and can't be written."""
        self._made.add(period.name)
        try:
            return self._make(period, days, stamps)
        except MemoryError:  # the days themselves may still be read
            return None

    def _make(self, period: PackPeriod, days: list[SourcedRows], stamps: Stamps) -> Pack | None:
        written = self._folder.write_derived(period.file_name, packs.encode(self._series, days, stamps))
        pack = packs.read(self._path(period), self._series, period, mapped=self._folder.mapped) if written else None
        if pack and pack.file and pack.is_valid(stamps):  # and not what another process has written meanwhile
            self._open_files.count(pack.file)
            self._packs[period.name] = pack
        elif len(joined := join_days([day.rows for day in days])) == 1:
            self._open_files.add(size=joined[0].nbytes)
            numbers = stamps[:, 0].tolist()
            self._packs[period.name] = packs.Pack(
                numbers[0], numbers[-1], joined[0], packs.source_runs(numbers, days), packs.fingerprint(stamps)
            )
        return self._packs.get(period.name)

    def drop(self, period: PackPeriod) -> str:
        """Delete the pack of a period; its path."""
        self._packs[period.name] = None
        Path(self._path(period)).unlink(missing_ok=True)
        return self._path(period)

    def _path(self, period: PackPeriod) -> str:
        return self._folder.derived_path(period.file_name)
