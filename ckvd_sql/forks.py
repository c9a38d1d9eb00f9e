"""Which processes can't use polars: forked ones whose parent had started polars' threads, which don't live on there.

Any use of those threads would wait for ever, as polars' documents say: https://docs.pola.rs/user-guide/misc/multiprocessing/
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ckvd_sql.errors import CkvdError

_started_before_fork = False
_hangs = False


def check_polars(what: str) -> None:
    """Raise `CkvdError` where polars would wait for ever; `what` needs it."""
    if _hangs:
        raise CkvdError(
            f"{what} can't run in this forked process: polars was used before the fork, and its threads do not live on "
            "here; start processes with multiprocessing.get_context('spawn'), or call klines, which needs no polars"
        )


def _before_fork() -> None:
    global _started_before_fork  # noqa: PLW0603 (one state a process)
    _started_before_fork = "polars" in sys.modules and _has_polars_threads()


def _in_child() -> None:
    global _hangs  # noqa: PLW0603
    _hangs = _hangs or _started_before_fork


def _has_polars_threads() -> bool:
    """Whether polars has started its pool; yes where the system does not tell."""
    try:
        names = [task.joinpath("comm").read_text(encoding="utf-8") for task in Path("/proc/self/task").iterdir()]
    except OSError:
        return True
    return any(name.startswith("polars-") and name.removeprefix("polars-").strip().isdigit() for name in names)


os.register_at_fork(before=_before_fork, after_in_child=_in_child)
