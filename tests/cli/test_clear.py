"""`ckvd cache clear`: what is deleted, what stays, and that it asks."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import ckvd_sql
from ckvd_sql import CryptoKlineVisionData
from tests.support.shell import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox
    from tests.support.shell import Shell

SERIES = [("BTCUSDT", "1h", "spot"), ("ETHUSDT", "1h", "spot"), ("BTCUSDT", "1d", "spot"), ("BTCUSDT", "1h", "um")]


@pytest.fixture
def filled(shell: Shell, exchange: Sandbox) -> Shell:
    """A shell whose cache has five days of some series."""
    settings: dict[str, Any] = {**exchange.settings, "cache_dir": shell.cache}
    client = CryptoKlineVisionData(**settings)
    for symbol, interval, market in SERIES:
        client.fetch(symbol, "2024-06-01", "2024-06-06", interval, market)
    return shell


def cached(shell: Shell) -> set[str]:
    """The day files below the cache."""
    return {str(path.relative_to(shell.cache / "binance")) for path in shell.cached()}


def days(series: str, *numbers: int) -> set[str]:
    return {f"{series}/2024-06-{day:02}.arrow" for day in numbers}


@pytest.mark.parametrize(
    ("arguments", "gone"),
    [
        (["ETHUSDT"], days("spot/ETHUSDT/1h", 1, 2, 3, 4, 5)),
        (["BTC*", "--market", "um"], days("um/BTCUSDT/1h", 1, 2, 3, 4, 5)),
        (["--interval", "1d"], days("spot/BTCUSDT/1d", 1, 2, 3, 4, 5)),
        (["ethusdt", "--start", "2024-06-02", "--end", "2024-06-04"], days("spot/ETHUSDT/1h", 2, 3)),
        (["ETHUSDT", "--end", "2024-06-02 12:00"], days("spot/ETHUSDT/1h", 1, 2)),
    ],
)
def test_what_is_named_is_deleted_and_nothing_else(filled: Shell, arguments: list[str], gone: set[str]) -> None:
    before = cached(filled)
    shown = filled.out("cache", "clear", *arguments, "--yes")
    assert cached(filled) == before - gone
    assert f"deleted {len(gone)} days of 1 series" in shown


def test_without_arguments_everything_of_ours_is_deleted(filled: Shell) -> None:
    foreign = filled.cache / "binance" / "spot" / "BTCUSDT" / "notes.txt"
    foreign.write_text("mine")
    assert "deleted 20 days of 4 series" in filled.out("cache", "clear", "--yes")
    assert cached(filled) == set()
    assert foreign.read_text() == "mine"
    assert sorted(path.name for path in (filled.cache / "binance").iterdir()) == ["spot"]
    assert "nothing is cached" in filled.out("cache")


def test_the_days_that_stay_are_read_and_the_others_fetched_again(filled: Shell, exchange: Sandbox) -> None:
    query = "SELECT count(*) AS n FROM ckvd_klines('BTCUSDT', '1h', '2024-06-01', '2024-06-06')"
    assert "120" in filled.out("sql", query)  # makes packs
    filled.out("cache", "clear", "BTCUSDT", "--interval", "1h", "--market", "spot", "--start", "2024-06-03", "--yes")
    exchange.forget()
    assert "48" in filled.out("sql", "--offline", query.replace("06-06", "06-03"))
    assert "OfflineError" in filled.error("sql", "--offline", query)
    assert "120" in filled.out("sql", query)
    assert len([one for one in exchange.requests if one.path.endswith(".zip")]) == 3


def test_packs_alone_can_be_deleted(shell: Shell) -> None:
    shell.out("sql", "SELECT count(*) FROM ckvd_klines('BTCUSDT', '1h', '2024-01-01', '2024-05-01')")
    shell.out("sql", "SELECT count(*), sum(close) FROM ckvd_klines('BTCUSDT', '1h', '2024-01-01', '2024-05-01')")
    packs = shell.cache / "binance" / "spot" / "BTCUSDT" / "1h" / ".packs"
    before = cached(shell)
    assert [path for path in packs.iterdir() if path.is_file()]
    assert "deleted packs of 1 series" in shell.out("cache", "clear", "--packs", "--yes")
    assert [path for path in packs.glob("*") if path.is_file()] == []
    assert cached(shell) == before


def test_a_reader_keeps_what_it_has_mapped(filled: Shell, exchange: Sandbox) -> None:
    settings: dict[str, Any] = {**exchange.settings, "cache_dir": filled.cache}
    with ckvd_sql.connect(**settings) as con:
        reader = con.sql("FROM ckvd_klines('BTCUSDT', '1h', '2024-06-01', '2024-06-06')").to_arrow_reader(10)
        first = reader.read_next_batch()
        filled.out("cache", "clear", "--yes")
        assert first.num_rows + sum(batch.num_rows for batch in reader) == 120


def test_a_link_is_deleted_and_not_what_it_points_to(filled: Shell, tmp_path: Path) -> None:
    day = filled.cache / "binance" / "spot" / "ETHUSDT" / "1h" / "2024-06-01.arrow"
    elsewhere = tmp_path / "elsewhere.arrow"
    day.replace(elsewhere)
    day.symlink_to(elsewhere)
    filled.out("cache", "clear", "ETHUSDT", "--yes")
    assert elsewhere.exists()
    assert not day.is_symlink()


def test_nothing_to_delete_is_said(shell: Shell) -> None:
    assert "nothing of that is cached" in shell.out("cache", "clear", "XRPUSDT")


def test_without_a_terminal_it_needs_to_be_told_yes(filled: Shell) -> None:
    before = cached(filled)
    assert "add --yes" in filled.error("cache", "clear", status=2)
    assert cached(filled) == before


@pytest.mark.parametrize(("answer", "deleted"), [(b"y\n", True), (b"n\n", False), (b"\n", False)])
def test_on_a_terminal_it_asks(filled: Shell, answer: bytes, *, deleted: bool) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ckvd_sql.cli", "cache", "clear", "ETHUSDT"]
    with subprocess.Popen(
        command, env=filled.env, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=filled.folder
    ) as process:
        os.write(ours, answer)
        shown, _ = process.communicate(timeout=PATIENCE)
    os.close(ours)
    os.close(theirs)
    assert b"Delete 5 days of 1 series" in shown
    assert ("spot/ETHUSDT/1h/2024-06-01.arrow" in cached(filled)) is not deleted
