"""The weight file: one that is damaged or impossible is begun anew, and does not block requests."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql import CkvdError
from ckvd_sql.disk.files import with_digest
from ckvd_sql.market.series import Market
from ckvd_sql.sandbox import Fault
from ckvd_sql.sources.weight import LONGEST_BAN, WeightBudget
from tests.support.arrow import table_bars
from tests.support.damage import writable
from tests.support.faults import ARCHIVE

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import MakeClient, Truth

SPAN = ("2024-05-01", "2024-05-03")
MINUTE = int(time.time() // 60)


def budget(folder: Path) -> WeightBudget:
    return WeightBudget(Market.SPOT, "http://127.0.0.1:1", folder)


def file_of(folder: Path) -> Path:
    return folder / "weight-spot-127.0.0.1-1.json"


def state(**changes: Any) -> bytes:
    """A state as it is stored, behind its digest."""
    content = json.dumps({"minute": int(time.time() // 60), "weight": 5, "until": 0.0} | changes).encode()
    return with_digest(content, "weight-spot-127.0.0.1-1.json")


IMPOSSIBLE: dict[str, bytes] = {
    "a ban until 2286": state(until=9_999_999_999),
    "a ban without end": state(until=float("inf")),
    "a ban until no number": state(until=float("nan")),
    "a ban beyond 64 bits": state(until=10**400),
    "a ban in words": state(until="tomorrow"),
    "negative weight": state(weight=-(10**9)),
    "a huge weight": state(weight=10**18, minute=MINUTE),
    "half a weight": state(weight=0.5),
    "a flag for a weight": state(weight=True),
    "no minute": state(minute=None),
    "another field": state(banned=True),
    "a list": with_digest(b"[1, 2, 3]", "weight-spot-127.0.0.1-1.json"),
    "deep nesting": with_digest(b"[" * 100_000, "weight-spot-127.0.0.1-1.json"),
    "no JSON": with_digest(b"\xff", "weight-spot-127.0.0.1-1.json"),
    "without a digest": b'{"minute": 0, "weight": 0, "until": 1e12}',
    "of another host": with_digest(b'{"minute": 0, "weight": 0, "until": 1e9}', "weight-um-127.0.0.1-1.json"),
}


@pytest.mark.parametrize("stored", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_state_that_can_not_be_is_begun_anew(tmp_path: Path, stored: bytes) -> None:
    writable(file_of(tmp_path)).write_bytes(stored)
    one = budget(tmp_path)
    assert one.stopped_until() <= time.time()
    assert one.reserve(100) == 0
    assert file_of(tmp_path).read_bytes() != stored


@pytest.mark.parametrize("stored", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_process_goes_by_what_it_knows_while_the_state_can_not_be(tmp_path: Path, stored: bytes) -> None:
    one, until = budget(tmp_path), time.time() + 600
    one.stop(until)
    writable(file_of(tmp_path)).write_bytes(stored)
    assert one.stopped_until() == until


def test_the_longest_ban_is_kept_and_a_longer_one_is_not(tmp_path: Path) -> None:
    one, until = budget(tmp_path), time.time() + LONGEST_BAN
    one.stop(until)
    assert one.stopped_until() == budget(tmp_path).stopped_until() == until
    one.stop(until + 10**6)
    assert one.stopped_until() == budget(tmp_path).stopped_until() == 0


def test_an_absurd_weight_from_the_exchange_is_over_with_the_minute(tmp_path: Path) -> None:
    one = budget(tmp_path)
    one.observe(10**30)
    assert 0 < one.reserve(1) <= 60
    assert 0 < budget(tmp_path).reserve(1) <= 60


@pytest.mark.timeout(20)
def test_a_link_in_place_of_the_state_is_neither_read_nor_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(state(until=time.time() + 600))
    before = outside.read_bytes()
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in (file_of(folder).name, f".{file_of(folder).name}.tmp", f"{file_of(folder).stem}.tmp"):
        (folder / name).symlink_to(outside)
    one = budget(folder)
    assert one.stopped_until() == 0
    assert one.reserve(1) == 0
    assert outside.read_bytes() == before
    assert not file_of(folder).is_symlink()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("damage", ["a ban until 2286", "without a digest", "pipe"])
def test_rest_is_asked_in_spite_of_such_a_state(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, damage: str
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    client = make_client()
    client.klines("BTCUSDT", *SPAN)
    (path,) = (client.settings.cache_dir / ".rest").glob("*.json")
    path.unlink()
    if damage == "pipe":
        os.mkfifo(path)
    else:
        content = json.dumps({"minute": 0, "weight": 0, "until": 9_999_999_999}).encode()
        writable(path).write_bytes(content if damage == "without a digest" else with_digest(content, path.name))
    span = ("2024-04-01", "2024-04-03")
    try:
        found = make_client().klines("BTCUSDT", *span)
    except CkvdError as error:
        pytest.fail(str(error))
    assert table_bars(found) == truth("BTCUSDT", "1h", *span)
