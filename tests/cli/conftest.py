"""Fixtures of the command-line tests: the time of the sandbox, and a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.shell import NOW, Shell

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox


@pytest.fixture(scope="module")
def clock() -> str:
    return NOW


@pytest.fixture
def shell(exchange: Sandbox, tmp_path: Path) -> Shell:
    return Shell(exchange, tmp_path)
