"""Fixtures of the cache tests: day stores that are empty, filled or packed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckvd_sql import CryptoKlineVisionData
from ckvd_sql.cache.store import DayStore
from ckvd_sql.disk import files
from tests.support.cache_state import sandbox_settings
from tests.support.day_files import HOURS, YEAR, read, write

if TYPE_CHECKING:
    from ckvd_sql.sandbox import Sandbox


@pytest.fixture(scope="module")
def pristine(running_exchange: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with five days of hours and of minutes; tests read it, they don't change it."""
    root = tmp_path_factory.mktemp("pristine")
    data = CryptoKlineVisionData(cache_dir=root, **sandbox_settings(running_exchange))
    data.klines("BTCUSDT", "2024-01-01", "2024-01-06", "1h")
    data.klines("BTCUSDT", "2024-01-01", "2024-01-06", "1m")
    data.klines("ETHUSDT", "2024-01-01", "2024-01-06", "1h")
    return root


@pytest.fixture
def cache(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the pristine cache."""
    return Path(shutil.copytree(pristine, tmp_path / "cache"))


@pytest.fixture
def store(tmp_path: Path) -> DayStore:
    return DayStore(tmp_path / "cache")


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and folders count as settled at once, so that packs are made without a wait; not with coarse times."""
    monkeypatch.setattr(files, "_TICK", 0)


@pytest.fixture
def packed(store: DayStore) -> DayStore:
    """A store with a year of 1h in a pack."""
    write(store, HOURS, YEAR)
    for _ in range(2):
        read(DayStore(store.root), HOURS, YEAR[0], YEAR[-1])
    assert (store.folder(HOURS) / ".packs" / "days").is_file()
    return DayStore(store.root)
