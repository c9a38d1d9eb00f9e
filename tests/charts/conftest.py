"""A server of `ckvd view` on the sandbox, with some days in its cache."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql import CryptoKlineVisionData, Settings
from ckvd_sql.charts.server import ViewServer
from ckvd_sql.scan.resolver import Resolver

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server(settings: dict[str, Any]) -> Iterator[ViewServer]:
    CryptoKlineVisionData(**settings).fetch("BTCUSDT", "2023-03-01", "2023-04-11", "1h")
    with ViewServer(Resolver(Settings.load(**settings))) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()
