"""Deleting what is cached: the days of some series in a range, or the packs that were derived from them.

Only files of this cache are deleted, by their names; symbolic links are, and not what they point to. Readers that have
a file mapped keep it until they are done, and what is asked for later is fetched again.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from ckvd_sql.cache.directory import SUFFIX
from ckvd_sql.cache.folder import DERIVED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.market.periods import Span
    from ckvd_sql.market.series import Series

#: What an unreadable day file is renamed to.
_DAMAGED = ".damaged"


@dataclass(frozen=True, slots=True)
class Clearing:
    """What is to be deleted of a series.

    Attributes:
        series: The series.
        days: The days whose files are among them.
        files: The day files, damaged ones too, and the packs.
        size: Their bytes.
        whole: Whether it is all of the series, so that what lies beside its days goes too.
    """

    series: Series
    days: tuple[date, ...]
    files: tuple[Path, ...]
    size: int
    whole: bool

    def carry_out(self) -> None:
        """Delete it. What another process deletes at the same time is no error. Raises `OSError`."""
        for file in self.files:
            file.unlink(missing_ok=True)
        folder = self.files[0].parent if self.files[0].parent.name != DERIVED else self.files[0].parents[1]
        if self.days or self.whole:  # packs hold the days that are gone, and are made again from the others
            shutil.rmtree(folder / DERIVED, ignore_errors=True)
        if self.whole:
            for file in folder.glob(".*"):
                if file.is_file() or file.is_symlink():
                    file.unlink(missing_ok=True)
            for one in (folder, folder.parent, folder.parent.parent):
                with contextlib.suppress(OSError):  # it holds something else
                    one.rmdir()


def plan_clearing(
    store: DayStore, series: Iterable[Series], span: Span | None, *, packs_only: bool = False
) -> Iterator[Clearing]:
    """What would be deleted of each series that has something.

    Args:
        store: The cache.
        series: The series.
        span: The range whose UTC days are meant, each whole; None for all.
        packs_only: Only the packs, of all days.
    """
    for one in series:
        folder = store.folder(one)
        named = [] if packs_only else sorted(_day_files(folder))
        chosen = [(day, file) for day, file in named if span is None or span.touches(day)]
        packs = sorted(file for file in (folder / DERIVED).glob("*") if file.is_file()) if packs_only else []
        files = (*(file for _, file in chosen), *packs)
        if files:
            days = tuple(sorted({day for day, _ in chosen}))
            size = sum(_size(file) for file in files)
            yield Clearing(one, days, files, size, whole=bool(chosen) and len(chosen) == len(named))


def _day_files(folder: Path) -> Iterator[tuple[date, Path]]:
    """The day files of a folder, damaged ones too, with their days."""
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            name = file.name.removesuffix(_DAMAGED).removesuffix(SUFFIX)
            if name != file.name and not file.is_dir():
                with contextlib.suppress(ValueError):
                    yield date.fromisoformat(name), file


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
