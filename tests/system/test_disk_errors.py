"""Disks that refuse: the rows are served all the same, one warning says that they are not kept."""

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
from tests.support.cache_state import CALL, HOURS, ON, hosts, truth, wrong_days
from tests.support.processes import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckvd_sql.sandbox import Sandbox
    from tests.support.bars import Bar


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can reach, which pytest's own are not."""
    made = Path(tempfile.mkdtemp(prefix="ckvd-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    subprocess.run(["chmod", "-R", "u+rwX", str(made)], check=False, capture_output=True)
    shutil.rmtree(made, ignore_errors=True)


#: Fetches five days of hours onto a cache that refuses, by SQL, and says what came of it. `before` is run first.
REFUSED = """
import json, logging, os, sys, tempfile
given = json.loads(sys.argv[1])
import ckvd_sql
from pathlib import Path

def ask(cache):
    with ckvd_sql.connect(cache_dir=cache, **given["settings"]) as con:
        return con.sql("SELECT epoch_us(open_time), close FROM " + given["call"]).fetchall()

with tempfile.TemporaryDirectory() as other:
    ask(other)  # everything that is imported late is there before this process becomes nobody
exec(given["before"])
messages = []
class Notes(logging.Handler):
    def emit(self, record):
        messages.append(record.getMessage())
logging.getLogger("ckvd_sql").addHandler(Notes())
rows = ask(given["cache"])
cache = Path(given["cache"])
files = []
try:
    for folder, _, names in os.walk(cache):
        files += [os.path.join(folder, name) for name in names if os.path.isfile(os.path.join(folder, name))]
except OSError:
    pass
print(json.dumps({"rows": rows, "warnings": messages, "files": files}))
"""


NOBODY = "os.getuid() or (os.setgroups([]), os.setgid(65534), os.setuid(65534))"
SMALL_FILES = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))"


@functools.cache
def may_mount() -> bool:
    """Whether this user may mount a file system for a process of its own."""
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
    """A program's prefix: run in mounts of its own, made by these commands, in which `$1` is the folder."""
    return ("unshare", "-m", "sh", "-ec", f'{commands}; shift; exec "$@"', "sh", str(folder))


def is_unkept(warning: str) -> bool:
    return "not kept" in warning


def closes(found: list[Bar]) -> list[list[Any]]:
    return [[row[0], row[4]] for row in found]


class TestDisksThatRefuse:
    def refused(
        self, exchange: Sandbox, cache: Path, before: str = "", wrapped: tuple[str, ...] = (), call: str = CALL
    ) -> dict[str, Any]:
        given = {"settings": hosts(exchange, retries=0), "cache": str(cache), "before": before, "call": call}
        said: dict[str, Any] = run(REFUSED, given, wrapped=wrapped)
        assert said["rows"] == closes(truth(HOURS, "2024-01-01", "2024-01-06"))
        assert [name for name in said["files"] if name.endswith(".tmp")] == []
        return said

    def assert_told_once(self, said: dict[str, Any]) -> None:
        assert len([warning for warning in said["warnings"] if is_unkept(warning)]) == 1, said["warnings"]

    @pytest.mark.skipif(not may_mount(), reason="mounting is not permitted here")
    def test_on_a_full_disk_rows_are_served_and_one_warning_says_that_they_are_not_kept(
        self, exchange: Sandbox, folder: Path
    ) -> None:
        said = self.refused(exchange, folder, wrapped=on_mount('mount -t tmpfs -o size=12k ckvd "$1"', folder))
        self.assert_told_once(said)

    @pytest.mark.skipif(not may_mount(), reason="mounting is not permitted here")
    @pytest.mark.parametrize("inodes", [2, 3, 4, 8, 9])
    def test_on_a_disk_that_takes_no_more_files_rows_are_served(
        self, exchange: Sandbox, folder: Path, inodes: int
    ) -> None:
        commands = f'mount -t tmpfs -o nr_inodes={inodes} ckvd "$1"'
        self.assert_told_once(self.refused(exchange, folder, wrapped=on_mount(commands, folder)))

    @pytest.mark.skipif(not may_mount(), reason="mounting is not permitted here")
    def test_on_a_read_only_disk_rows_are_served_and_one_warning_says_that_they_are_not_kept(
        self, exchange: Sandbox, folder: Path
    ) -> None:
        commands = 'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"'
        self.assert_told_once(self.refused(exchange, folder, wrapped=on_mount(commands, folder)))

    @pytest.mark.skipif(not may_mount(), reason="mounting is not permitted here")
    def test_a_cache_on_a_read_only_disk_is_read_and_what_it_lacks_is_served(
        self, exchange: Sandbox, folder: Path
    ) -> None:
        with ckvd_sql.connect(cache_dir=folder, **hosts(exchange)) as con:
            con.execute(f"SELECT count(*) FROM {CALL} WHERE open_time < TIMESTAMPTZ '2024-01-03 00:00:00+00'")
        commands = 'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"'
        self.assert_told_once(self.refused(exchange, folder, wrapped=on_mount(commands, folder)))

    def test_where_a_day_file_is_too_large_for_the_disk_rows_are_served_and_nothing_half_written_stays(
        self, exchange: Sandbox, folder: Path
    ) -> None:
        said = self.refused(exchange, folder / "cache", before=SMALL_FILES)
        self.assert_told_once(said)
        assert not [name for name in said["files"] if name.endswith(".arrow")]

    def test_in_a_folder_of_another_user_rows_are_served(self, exchange: Sandbox, folder: Path) -> None:
        cache = folder / "cache"
        cache.mkdir(mode=0o555)
        self.assert_told_once(self.refused(exchange, cache, before=NOBODY))

    def test_in_a_folder_that_may_not_be_entered_rows_are_served(self, exchange: Sandbox, folder: Path) -> None:
        cache = folder / "cache"
        cache.mkdir()
        cache.chmod(0o000)
        self.assert_told_once(self.refused(exchange, cache, before=NOBODY))

    def test_in_a_cache_whose_lock_files_are_another_users_rows_are_served(
        self, exchange: Sandbox, folder: Path
    ) -> None:
        cache = folder / "cache"
        with ckvd_sql.connect(cache_dir=cache, **hosts(exchange)) as con:
            con.execute(f"SELECT count(*) FROM {CALL}").fetchall()
        for path in [cache, *cache.rglob("*")]:
            path.chmod(0o777 if path.is_dir() else 0o600 if path.suffix == ".lock" else 0o644)
        DayStore(cache).path(HOURS, ON).unlink()
        said = self.refused(exchange, cache, before=NOBODY)
        assert len(said["warnings"]) <= 1

    @pytest.mark.parametrize("kind", ["a file", "below a file", "a link to nowhere", "a link to itself", "too long"])
    def test_where_there_can_be_no_cache_folder_rows_are_served(
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
        with ckvd_sql.connect(cache_dir=path, **hosts(exchange)) as con:
            assert read(con, CALL) == truth(HOURS, "2024-01-01", "2024-01-06")

    def test_where_no_lock_can_be_taken_rows_are_served(self, exchange: Sandbox, tmp_path: Path) -> None:
        for number in range(256):
            (tmp_path / ".locks" / f"{number:03d}.lock").mkdir(parents=True)
        with ckvd_sql.connect(cache_dir=tmp_path, **hosts(exchange)) as con:
            assert read(con, CALL) == truth(HOURS, "2024-01-01", "2024-01-06")


class TestADamagedDayFile:
    def test_that_is_a_named_pipe_is_set_aside_too(self, exchange: Sandbox, folder: Path) -> None:
        cache = folder / "cache"
        with ckvd_sql.connect(cache_dir=cache, **hosts(exchange)) as con:
            con.execute(f"SELECT count(*) FROM {CALL}").fetchall()
        path = DayStore(cache).path(HOURS, ON)
        path.unlink()
        os.mkfifo(path)
        given = {"settings": hosts(exchange), "cache": str(cache), "before": "", "call": CALL}
        try:
            said = run(REFUSED, given, seconds=15)
        except subprocess.TimeoutExpired:
            pytest.fail("reading a named pipe hangs")
        assert said["rows"] == closes(truth(HOURS, "2024-01-01", "2024-01-06"))

    def test_that_may_not_be_read_is_set_aside_and_fetched_again(self, exchange: Sandbox, folder: Path) -> None:
        cache = folder / "cache"
        with ckvd_sql.connect(cache_dir=cache, **hosts(exchange)) as con:
            con.execute(f"SELECT count(*) FROM {CALL}").fetchall()
        for path in [cache, *cache.rglob("*")]:
            path.chmod(0o777 if path.is_dir() else 0o666)
        path = DayStore(cache).path(HOURS, ON)
        path.chmod(0o000)
        given = {"settings": hosts(exchange), "cache": str(cache), "before": NOBODY, "call": CALL}
        said = run(REFUSED, given)
        assert said["rows"] == closes(truth(HOURS, "2024-01-01", "2024-01-06"))
        assert len(said["warnings"]) == 1
        assert str(path) in said["warnings"][0]
        assert wrong_days(cache) == []
