"""`ckvd cache`: the list of cached series, `verify` and `refresh`."""

from __future__ import annotations

import json

from ckvd_sql.cli.terminal import human_size
from tests.support.damage import writable
from tests.support.shell import Shell, rows_of


def test_cache_shows_each_series_and_the_total(shell: Shell) -> None:
    assert "nothing is cached" in shell.out("cache")
    assert json.loads(shell.out("cache", "--json")) == []
    shell.out("fetch", "BTCUSDT", "--interval", "1d", "--start", "2024-06-12", "--end", "2024-06-14")
    shell.out("fetch", "BTCUSDT", "--market", "um", "--start", "2024-06-12", "--end", "2024-06-13")
    records = json.loads(shell.out("cache", "--json"))
    size = sum(path.stat().st_size for path in shell.cached())
    assert [list(one.values())[:-1] for one in records] == [
        ["spot", "BTCUSDT", "1d", "2024-06-12", "2024-06-13", 2],
        ["um", "BTCUSDT", "1h", "2024-06-12", "2024-06-12", 1],
    ]
    assert sum(one["bytes"] for one in records) == size
    shown = shell.out("cache")
    assert rows_of(shown)[0][:6] == ["spot", "BTCUSDT", "1d", "2024-06-12", "2024-06-13", "2"]
    assert f"2 series, 3 days, {human_size(size)} in {shell.cache}" in shown


def test_the_cache_folder_can_be_an_option(shell: Shell) -> None:
    shell.out("fetch", "BTCUSDT", "--start", "2024-06-12", "--end", "2024-06-13", "--cache-dir", "other")
    assert shell.cached() == []
    assert "1 series" in shell.out("cache", "--cache-dir", "other")


def test_sizes_are_printed_with_units() -> None:
    assert [human_size(size) for size in (0, 1023, 1024, 5 << 20)] == ["0 B", "1023 B", "1.0 KiB", "5.0 MiB"]


def test_cache_verify_finds_a_damaged_value_and_cache_refresh_repairs_it(shell: Shell) -> None:
    shell.run("fetch", "BTCUSDT", "--start", "2024-06-01", "--end", "2024-06-04")
    assert "3 days read, 0 with problems" in shell.out("cache", "verify")
    file = shell.cached()[1]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    writable(file).write_bytes(content)
    found = shell.run("cache", "verify")
    assert found.returncode == 1
    assert f"BTCUSDT 1h (spot) {file.stem}: " in found.stdout.decode()
    assert f"{file.stem}: 1 bars changed" in shell.out("cache", "refresh")
    assert "3 days read, 0 with problems" in shell.out("cache", "verify", "--remote")


def test_cache_verify_remote_needs_the_network(shell: Shell) -> None:
    shell.run("fetch", "BTCUSDT", "--start", "2024-06-01", "--end", "2024-06-02")
    assert "OfflineError" in shell.error("cache", "verify", "--remote", "--offline")
