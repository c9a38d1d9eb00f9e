"""How many inputs property tests and fuzz tests try."""

from __future__ import annotations

import os

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings


def tries(default: int) -> int:
    """How many inputs a test tries."""
    return int(os.environ.get("CKVD_EXAMPLES", default))


def thorough(examples: int) -> hypothesis_settings:
    """This many inputs for each test, the same ones in every run unless CKVD_EXAMPLES is set."""
    return hypothesis_settings(
        max_examples=examples,
        deadline=None,
        derandomize="CKVD_EXAMPLES" not in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
