"""The exchange's clock, by the `Date` header of its answers: a hint, used only near this machine's clock."""

from __future__ import annotations

import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

import pytest

from tests.support.bars import bars, read, series
from tests.support.connections import connect
from tests.support.logs import warnings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stand_in import StandIn

HOUR_MS = 3_600_000


def recent_rows(hours: int) -> list[list[object]]:
    """Hourly rows of the last complete hours, as REST has them."""
    last = int(time.time() * 1000) // HOUR_MS * HOUR_MS
    opens = range(last - hours * HOUR_MS, last, HOUR_MS)
    return [[at, "2.0", "3.0", "1.0", "2.0", "9.0", at + HOUR_MS - 1, "18.0", 5, "4.0", "8.0", "0"] for at in opens]


@pytest.mark.parametrize("behind", [1_700_000_000, 86_400, 3_600], ids=["of 1970", "a day behind", "an hour behind"])
def test_a_date_header_far_behind_drops_no_bar_and_is_warned_of_once(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, behind: int
) -> None:
    monkeypatch.setattr(
        BaseHTTPRequestHandler, "date_time_string", lambda *_: formatdate(time.time() - behind, usegmt=True)
    )
    stand_in.rows[series("spot", "BTCUSDT", "1h")] = rows = recent_rows(72)
    with connect(stand_in, tmp_path, now=None) as con:
        assert read(con, "ckvd_klines('BTCUSDT', '1h', now() - INTERVAL 80 HOUR)") == bars(rows)
    assert len([text for text in warnings(caplog) if "the exchange's clock" in text]) == 1
