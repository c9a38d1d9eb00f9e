"""Fixtures of the system tests: a folder that several users can use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.live_copies import public_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can enter and write into, unlike pytest's own."""
    with public_folder() as made:
        yield made
