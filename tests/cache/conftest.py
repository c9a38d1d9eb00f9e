"""Caches that several modules of this folder read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckvd_sql import CryptoKlineVisionData
from tests.support.cache_state import hosts

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
