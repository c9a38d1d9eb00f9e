"""Cache folders that can't be written or read: queries return their rows, with one warning.

File systems are mounted in namespaces of their own, which needs root; without it those tests are skipped.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ckvd_sql
from ckvd_sql.cache.store import DayStore
from tests.support.bars import read
from tests.support.cache_state import CALL, DATE, HOURS, expected_bars, sandbox_settings, wrong_days
from tests.support.processes import run_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckvd_sql.sandbox import Sandbox
    from tests.support.bars import Bar


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can enter, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="ckvd-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    subprocess.run(["chmod", "-R", "u+rwX", str(made)], check=False, capture_output=True)
    shutil.rmtree(made, ignore_errors=True)


#: Runs `before`, then a query on the cache; prints the rows, the warnings and the files below the cache folder.
QUERY_ON_CACHE = """
import json, logging, os, sys, tempfile
given = json.loads(sys.argv[1])
import ckvd_sql
from pathlib import Path

def query(cache):
    with ckvd_sql.connect(cache_dir=cache, **given["settings"]) as con:
        return con.sql("SELECT epoch_us(open_time), close FROM " + given["call"]).fetchall()

with tempfile.TemporaryDirectory() as other:
    query(other)  # late imports must happen before this process changes its user
exec(given["before"])
messages = []
class Notes(logging.Handler):
    def emit(self, record):
        messages.append(record.getMessage())
logging.getLogger("ckvd_sql").addHandler(Notes())
rows = query(given["cache"])
cache = Path(given["cache"])
files = []
try:
    for folder, _, names in os.walk(cache):
        files += [os.path.join(folder, name) for name in names if os.path.isfile(os.path.join(folder, name))]
except OSError:
    pass
print(json.dumps({"rows": rows, "warnings": messages, "files": files}))
"""


AS_NOBODY = "os.getuid() or (os.setgroups([]), os.setgid(65534), os.setuid(65534))"
SMALL_FILES = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))"


@functools.cache
def may_mount() -> bool:
    """Whether this user may mount a file system in a new namespace."""
    try:
        done = subprocess.run(
            ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=64k", "ckvd", "/mnt"],
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def on_mount(commands: str, folder: Path) -> tuple[str, ...]:
    """The command that runs a program in a mount namespace, after these commands; in them `$1` is the folder."""
    return ("unshare", "-m", "sh", "-ec", f'{commands}; shift; exec "$@"', "sh", str(folder))


def is_not_cached_warning(warning: str) -> bool:
    return "not stored" in warning


def times_and_closes(found: list[Bar]) -> list[list[Any]]:
    return [[row[0], row[4]] for row in found]


class TestFailedWrites:
    def query(
        self, exchange: Sandbox, cache: Path, before: str = "", wrapped: tuple[str, ...] = (), call: str = CALL
    ) -> dict[str, Any]:
        given = {"settings": sandbox_settings(exchange, retries=0), "cache": str(cache), "before": before, "call": call}
        result: dict[str, Any] = run_program(QUERY_ON_CACHE, given, wrapped=wrapped)
        assert result["rows"] == times_and_closes(expected_bars(HOURS, "2024-01-01", "2024-01-06"))
        assert [name for name in result["files"] if name.endswith(".tmp")] == []
        return result

    def assert_one_warning(self, result: dict[str, Any]) -> None:
        warnings = result["warnings"]
        assert len([warning for warning in warnings if is_not_cached_warning(warning)]) == 1, warnings

    @pytest.mark.skipif(not may_mount(), reason="mounting is not permitted")
    def test_on_a_full_disk_rows_are_returned_with_one_warning(self, exchange: Sandbox, folder: Path) -> None:
        result = self.query(exchange, folder, wrapped=on_mount('mount -t tmpfs -o size=12k ckvd "$1"', folder))
        self.assert_one_warning(result)

    @pytest.mark.skipif(not may_mount(), reason="mounting is not permitted")
    @pytest.mark.parametrize("inodes", [2, 3, 4, 8, 9])
    def test_on_a_disk_without_free_inodes_rows_are_returned_with_one_warning(
        self, exchange: Sandbox, folder: Path, inodes: int
    ) -> None:
        commands = f'mount -t tmpfs -o nr_inodes={inodes} ckvd "$1"'
        self.assert_one_warning(self.query(exchange, folder, wrapped=on_mount(commands, folder)))

    @pytest.mark.skipif(not may_mount(), reason="mounting is not permitted")
    def test_on_a_read_only_disk_rows_are_returned_with_one_warning(self, exchange: Sandbox, folder: Path) -> None:
        commands = 'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"'
        self.assert_one_warning(self.query(exchange, folder, wrapped=on_mount(commands, folder)))

    @pytest.mark.skipif(not may_mount(), reason="mounting is not permitted")
    def test_a_cache_on_a_read_only_disk_is_read_and_missing_days_are_returned(
        self, exchange: Sandbox, folder: Path
    ) -> None:
        with ckvd_sql.connect(cache_dir=folder, **sandbox_settings(exchange)) as con:
            con.execute(f"SELECT count(*) FROM {CALL} WHERE open_time < TIMESTAMPTZ '2024-01-03 00:00:00+00'")
        commands = 'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"'
        self.assert_one_warning(self.query(exchange, folder, wrapped=on_mount(commands, folder)))

    def test_above_the_file_size_limit_rows_are_returned_and_no_partial_file_stays(
        self, exchange: Sandbox, folder: Path
    ) -> None:
        result = self.query(exchange, folder / "cache", before=SMALL_FILES)
        self.assert_one_warning(result)
        assert not [name for name in result["files"] if name.endswith(".arrow")]

    def test_in_a_folder_of_another_user_rows_are_returned_with_one_warning(
        self, exchange: Sandbox, folder: Path
    ) -> None:
        cache = folder / "cache"
        cache.mkdir(mode=0o555)
        self.assert_one_warning(self.query(exchange, cache, before=AS_NOBODY))

    def test_in_a_folder_without_permissions_rows_are_returned_with_one_warning(
        self, exchange: Sandbox, folder: Path
    ) -> None:
        cache = folder / "cache"
        cache.mkdir()
        cache.chmod(0o000)
        self.assert_one_warning(self.query(exchange, cache, before=AS_NOBODY))

    def test_with_lock_files_of_another_user_rows_are_returned(self, exchange: Sandbox, folder: Path) -> None:
        cache = folder / "cache"
        with ckvd_sql.connect(cache_dir=cache, **sandbox_settings(exchange)) as con:
            con.execute(f"SELECT count(*) FROM {CALL}").fetchall()
        for path in [cache, *cache.rglob("*")]:
            path.chmod(0o777 if path.is_dir() else 0o600 if path.suffix == ".lock" else 0o644)
        DayStore(cache).path(HOURS, DATE).unlink()
        result = self.query(exchange, cache, before=AS_NOBODY)
        assert len(result["warnings"]) <= 1

    @pytest.mark.parametrize("kind", ["a file", "below a file", "a link to nowhere", "a link to itself", "too long"])
    def test_without_a_usable_cache_folder_rows_are_returned(
        self, exchange: Sandbox, tmp_path: Path, kind: str
    ) -> None:
        path = tmp_path / "cache"
        match kind:
            case "a file":
                path.write_text("mine")
            case "below a file":
                path.write_text("mine")
                path /= "below"
            case "a link to nowhere":
                path.symlink_to(tmp_path / "nowhere")
            case "a link to itself":
                path.symlink_to(path)
            case "too long":
                path = tmp_path / ("x" * 300)
        with ckvd_sql.connect(cache_dir=path, **sandbox_settings(exchange)) as con:
            assert read(con, CALL) == expected_bars(HOURS, "2024-01-01", "2024-01-06")

    def test_without_usable_lock_files_rows_are_returned(self, exchange: Sandbox, tmp_path: Path) -> None:
        for number in range(256):
            (tmp_path / ".locks" / f"{number:03d}.lock").mkdir(parents=True)
        with ckvd_sql.connect(cache_dir=tmp_path, **sandbox_settings(exchange)) as con:
            assert read(con, CALL) == expected_bars(HOURS, "2024-01-01", "2024-01-06")


class TestUnreadableDayFile:
    def test_that_is_a_named_pipe_does_not_block_a_query(self, exchange: Sandbox, folder: Path) -> None:
        cache = folder / "cache"
        with ckvd_sql.connect(cache_dir=cache, **sandbox_settings(exchange)) as con:
            con.execute(f"SELECT count(*) FROM {CALL}").fetchall()
        path = DayStore(cache).path(HOURS, DATE)
        path.unlink()
        os.mkfifo(path)
        given = {"settings": sandbox_settings(exchange), "cache": str(cache), "before": "", "call": CALL}
        try:
            result = run_program(QUERY_ON_CACHE, given, seconds=15)
        except subprocess.TimeoutExpired:
            pytest.fail("reading a named pipe hangs")
        assert result["rows"] == times_and_closes(expected_bars(HOURS, "2024-01-01", "2024-01-06"))

    def test_without_read_permission_is_set_aside_and_fetched_again(self, exchange: Sandbox, folder: Path) -> None:
        cache = folder / "cache"
        with ckvd_sql.connect(cache_dir=cache, **sandbox_settings(exchange)) as con:
            con.execute(f"SELECT count(*) FROM {CALL}").fetchall()
        for path in [cache, *cache.rglob("*")]:
            path.chmod(0o777 if path.is_dir() else 0o666)
        path = DayStore(cache).path(HOURS, DATE)
        path.chmod(0o000)
        given = {"settings": sandbox_settings(exchange), "cache": str(cache), "before": AS_NOBODY, "call": CALL}
        result = run_program(QUERY_ON_CACHE, given)
        assert result["rows"] == times_and_closes(expected_bars(HOURS, "2024-01-01", "2024-01-06"))
        assert len(result["warnings"]) == 1
        assert str(path) in result["warnings"][0]
        assert wrong_days(cache) == []
