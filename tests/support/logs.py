"""What the package logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The package's warnings."""
    return [one.getMessage() for one in caplog.records if one.name == "ckvd_sql" and one.levelname == "WARNING"]
