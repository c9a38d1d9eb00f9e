"""Fetches killed at any moment leave no wrong day, and the next run completes the range."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.cache_state import expected_bars, leftovers, wrong_days
from tests.support.kill_loop import KillLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckvd_sql.sandbox import Sandbox


@pytest.fixture(scope="module")
def loop(running_exchange: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillLoop]:
    loop = KillLoop(running_exchange, tmp_path_factory.mktemp("cache"), seed=7)
    for _ in range(15):
        loop.once()
    yield loop
    loop.close()


class TestKilledFetch:
    def test_leaves_no_wrong_day_file(self, loop: KillLoop) -> None:
        assert loop.kills >= 5
        assert loop.wrong == []

    def test_leaves_few_temporary_files_and_the_next_run_completes_the_range(self, loop: KillLoop) -> None:
        found = loop.finish()
        assert found == expected_bars(loop.series, loop.start, loop.end)
        assert wrong_days(loop.cache) == []
        assert loop.most_leftovers <= 20
        assert [name for name in leftovers(loop.cache) if name.endswith(".tmp")] == []
        assert len(leftovers(loop.cache)) <= 5
