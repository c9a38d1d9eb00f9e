"""Exceptions travel between processes: they pickle, copy, and are equal on the other side."""

from __future__ import annotations

import copy
import importlib
import pickle
import pkgutil
from datetime import UTC, date, datetime
from typing import Any

import pytest

import ckvd_sql
from ckvd_sql import errors
from ckvd_sql.sandbox.rest import _RefusedError
from ckvd_sql.sources.refusals import DelistedError
from ckvd_sql.tables.lazy import StreamError

DAYS = (date(2024, 1, 1), date(2024, 1, 3))
WHERE: dict[str, Any] = {"url": "https://api.example/x", "status": 503}

EXAMPLES: dict[type[Exception], Exception] = {
    type(error): error
    for error in (
        errors.CkvdError("a sentence"),
        errors.InvalidArgumentError("symbol", ["B"], "text"),
        errors.InvalidSymbolError("symbol", "X/Y", "letters"),
        errors.InvalidIntervalError("interval", "2h30m", "1m or 1h"),
        errors.InvalidMarketError("market", None, "spot, um or cm"),
        errors.InvalidTimeError("start", 5, "a time"),
        errors.SettingsError("timeout", -1, "seconds"),
        errors.CacheError("it is torn", "/x/2024-01-01.arrow", damaged=False),
        errors.LakeError("it is damaged", "s3://x/2023.parquet", damaged=True),
        errors.OfflineError("days are missing", DAYS),
        errors.ProviderError("it failed", **WHERE),
        errors.RateLimitError("wait", retry_after=1.5, until=datetime(2024, 1, 1, tzinfo=UTC), **WHERE),
        errors.ProviderUnavailableError("it is down", days=DAYS, **WHERE),
        errors.ChecksumError("it differs", url="https://x", expected="a" * 64, actual="b" * 64),
        errors.MalformedDataError("it is no CSV", **WHERE),
        DelistedError("it is gone", **WHERE),
        StreamError("CkvdError: a sentence"),
        _RefusedError(-1121, "Invalid symbol."),
    )
}


def exceptions_of_the_package() -> set[type[Exception]]:
    found = set()
    for module in pkgutil.walk_packages(ckvd_sql.__path__, "ckvd_sql."):
        if not module.name.endswith("__main__"):
            values = vars(importlib.import_module(module.name)).values()
            found |= {one for one in values if isinstance(one, type) and issubclass(one, Exception)}
    return {one for one in found if one.__module__.startswith("ckvd_sql")}


def test_every_exception_has_an_example_here() -> None:
    assert exceptions_of_the_package() == set(EXAMPLES)


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "send",
    [copy.copy, copy.deepcopy, *(lambda error, at=at: pickle.loads(pickle.dumps(error, at)) for at in range(6))],  # noqa: S301 (its own)
    ids=["copy", "deepcopy", *(f"pickle {at}" for at in range(6))],
)
def test_an_exception_arrives_as_it_was_sent(kind: type[Exception], send: Any) -> None:
    error = EXAMPLES[kind]
    error.__notes__ = ["a note"]
    found = send(error)
    assert type(found) is kind
    assert (str(found), found.args, vars(found)) == (str(error), error.args, vars(error))
