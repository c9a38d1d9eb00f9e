"""Item 8: the two views over the cache, with a hundred thousand day files in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import PRODUCT
from benchmarks.goals.live import collect, field_of, request
from benchmarks.outcome import Check, Outcome, Row
from benchmarks.timing import median

if TYPE_CHECKING:
    from benchmarks.bench import Bench

_FILES = 100_000


def cache_views(bench: Bench) -> Outcome:
    """Item 8: all of `ckvd_cache_days`, and one month of one symbol of `ckvd_cache`."""
    data = bench.data("symbols")
    files = data.set.days * data.set.symbols
    outcome = Outcome("8", f"The cache views over {files:,} day files")
    for kept in data.cache.rglob(".packs/inventory"):
        kept.unlink()
    with field_of(data, (PRODUCT,)) as field:
        ever = field.turns(1, request(data, "days of cache"), warm=0)[PRODUCT]
    outcome.rows.append(
        Row("ckvd_cache_days, the first time ever", PRODUCT, ever[0] * 1000, "ms", None, 1, "opens each")
    )
    for title, work, limit in (
        ("ckvd_cache_days, all of it", "days of cache", 1000),
        ("ckvd_cache, a month of one symbol", "pruned cache", 100),
    ):
        with field_of(data, (PRODUCT,)) as field:
            asked = request(data, work, 200, 230) | {"symbols": data.set.names[-1:]}
            first = field.turns(1, asked, warm=0)[PRODUCT]
            then = field.turns(bench.rounds(7, 2), asked, warm=0)[PRODUCT]
            collect(bench, field)
        extra = f"the first one in its process {first[0] * 1000:.0f} ms"
        outcome.rows.append(Row(title, PRODUCT, median(then) * 1000, "ms", None, len(then), extra))
        outcome.checks.append(Check(title, median(then) * 1000, limit, unit="ms"))
        outcome.checks.append(Check(f"{title}, first in its process", first[0] * 1000, limit, unit="ms"))
    if files < _FILES:
        outcome.notes.append(f"Measured over {files:,} files, not {_FILES:,}.")
    return outcome
