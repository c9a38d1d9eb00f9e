"""The number of inputs of property tests and fuzz tests, and a count of those that were tried."""

from __future__ import annotations

import os
from collections import Counter

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

#: The inputs that this process has tried so far, by kind; `tests.system.soak` prints them.
TRIED: Counter[str] = Counter()


def tries(default: int) -> int:
    """How many inputs a test tries: `CKVD_EXAMPLES` if it is set."""
    return int(os.environ.get("CKVD_EXAMPLES", default))


def thorough(examples: int) -> hypothesis_settings:
    """Hypothesis settings for this many inputs, the same ones in every run unless `CKVD_EXAMPLES` is set."""
    return hypothesis_settings(
        max_examples=examples,
        deadline=None,
        derandomize="CKVD_EXAMPLES" not in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
