"""Caches that several modules of this folder read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckvd_sql import CryptoKlineVisionData
from ckvd_sql.cache import directory
from ckvd_sql.cache.store import DayStore
from tests.support.cache_state import hosts
from tests.support.day_files import HOURS, YEAR, read, write

if TYPE_CHECKING:
    from ckvd_sql.sandbox import Sandbox


@pytest.fixture(scope="module")
def pristine(running_exchange: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of five days of hours and two of minutes."""
    root = tmp_path_factory.mktemp("pristine")
    data = CryptoKlineVisionData(cache_dir=root, **hosts(running_exchange))
    data.klines("BTCUSDT", "2024-01-01", "2024-01-06", "1h")
    data.klines("BTCUSDT", "2024-01-01", "2024-01-06", "1m")
    data.klines("ETHUSDT", "2024-01-01", "2024-01-06", "1h")
    return root


@pytest.fixture
def cache(pristine: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(pristine, tmp_path / "cache"))


@pytest.fixture
def store(tmp_path: Path) -> DayStore:
    return DayStore(tmp_path / "cache")


@pytest.fixture
def packed(store: DayStore, monkeypatch: pytest.MonkeyPatch) -> DayStore:
    """A store with a year of 1h in a pack, and a look that is kept without waiting for the folder to settle."""
    monkeypatch.setattr(directory, "_SETTLED", 0)
    write(store, HOURS, YEAR)
    for _ in range(2):
        read(DayStore(store.root), HOURS, YEAR[0], YEAR[-1])
    assert (store.folder(HOURS) / ".packs" / "days").is_file()
    return DayStore(store.root)
