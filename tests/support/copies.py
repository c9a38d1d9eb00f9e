"""Day files overwritten in place, as copying tools do, and disks whose clock counts seconds."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    from ckvd_sql.cache.store import DayStore
    from ckvd_sql.market.series import Series

SECOND = 1_000_000_000

#: Ways of copying: `$FROM` is the folder of the other cache, `$TO` the one that is overwritten, `$FILE` a file's name.
WAYS = {
    "cp": "cp $FROM/$FILE $TO/$FILE",
    "cp -p": "cp -p $FROM/$FILE $TO/$FILE",
    "cp -r": "cp -r $FROM/. $TO/",
    "cp -a": "cp -a $FROM/. $TO/",
    "cp --reflink=auto": "cp --reflink=auto $FROM/$FILE $TO/$FILE",
    "cat": "cat $FROM/$FILE > $TO/$FILE",
    "dd": "dd if=$FROM/$FILE of=$TO/$FILE conv=notrunc status=none",
    "dd, times kept": "dd if=$FROM/$FILE of=$TO/$FILE conv=notrunc status=none; touch -r $FROM/$FILE $TO/$FILE",
    "tar": "tar -C $FROM -cf - $FILE | tar -C $TO -xf -",
    "tar --overwrite": "tar -C $FROM -cf - $FILE | tar -C $TO --overwrite -xf -",
    "mv": "cp -p $FROM/$FILE $TO/other; mv $TO/other $TO/$FILE",
}


def shell(command: str) -> Callable[[Path, Path, str], None]:
    """Copies by this command."""

    def copy(source: Path, target: Path, file: str) -> None:
        named = command.replace("$FROM", str(source)).replace("$TO", str(target)).replace("$FILE", file)
        subprocess.run(["sh", "-ec", named], check=True)

    return copy


#: Each copies a file by its name from one folder into another.
COPIES: dict[str, Callable[[Path, Path, str], object]] = {
    **{way: shell(command) for way, command in WAYS.items()},
    "shutil.copy": lambda source, target, file: shutil.copy(source / file, target / file),
    "shutil.copy2": lambda source, target, file: shutil.copy2(source / file, target / file),
    "shutil.copyfile": lambda source, target, file: shutil.copyfile(source / file, target / file),
}


def make_writable(store: DayStore, series: Series) -> None:
    """As the files of earlier versions are, and all files are to the superuser."""
    for path in store.folder(series).glob("*.arrow"):
        path.chmod(0o644)


def whole_seconds(status: os.stat_result) -> tuple[int, int]:
    """Times of files and folders without a fraction of a second, in place of `ckvd_sql.disk.files._times`."""
    return status.st_mtime_ns // SECOND * SECOND, status.st_ctime_ns // SECOND * SECOND
