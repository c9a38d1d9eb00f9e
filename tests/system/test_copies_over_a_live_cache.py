"""A backup copied over a cache that a process reads at the same time: the process lives, and its rows are right."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.live_copies import copy_as_ordinary_user, filled, reader

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox


@pytest.mark.parametrize(("options", "copied"), [((), False), (("--force",), True), (("--remove-destination",), True)])
def test_a_copy_is_refused_or_replaces_files_that_are_mapped(
    exchange: Sandbox, folder: Path, options: tuple[str, ...], *, copied: bool
) -> None:
    cache, backup, given = filled(exchange, folder)
    with reader(given) as result:
        for _ in range(5):
            assert (copy_as_ordinary_user(backup, cache, *options) == 0) is copied
    assert result["status"] == 0
    assert result["wrong"] == []


def test_files_that_are_read_and_not_mapped_may_be_truncated_and_are_fetched_again(
    exchange: Sandbox, folder: Path
) -> None:
    cache, _, given = filled(exchange, folder)
    with reader(given, mmap=False) as result:
        for _ in range(5):
            for path in sorted(cache.rglob("*.arrow")):
                content = path.read_bytes()
                path.chmod(0o644)
                path.write_bytes(content[: len(content) // 2])
                time.sleep(0.005)
                path.write_bytes(content)
    assert result["status"] == 0
    assert result["wrong"] == []
