"""A plain HTTP client of the sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckvd_sql.sandbox import Sandbox


@pytest.fixture(scope="module")
def session(running_exchange: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running_exchange.url, timeout=20) as session:
        yield session


@pytest.fixture
def client(session: httpx.Client, exchange: Sandbox) -> httpx.Client:
    assert exchange.url == session.base_url
    return session
