"""How many inputs property tests and fuzz tests try, and how many they have tried."""

from __future__ import annotations

import os
from collections import Counter

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

#: What this process has tried so far, by kind; `tests.system.soak` prints it.
TRIED: Counter[str] = Counter()


def tries(default: int) -> int:
    """How many inputs a test tries."""
    return int(os.environ.get("CKVD_EXAMPLES", default))


def thorough(examples: int) -> hypothesis_settings:
    """This many inputs for each test, the same ones in every run unless their number was asked for."""
    return hypothesis_settings(
        max_examples=examples,
        deadline=None,
        derandomize="CKVD_EXAMPLES" not in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
