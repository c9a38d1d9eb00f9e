"""The disk and the neighbours: whatever they do, no wrong day is read, no day is lost, nothing hangs or lingers.

Real processes, real signals, real file systems, and the sandbox on loopback. Programs that are killed, interrupted
or put on a bad disk are the texts below; they say what became of them as JSON. `tests.system.soak` runs some longer.

Measured, not asserted (2 cores, a day of 1,440 bars of 1m, medians, files in memory): mapping a day takes 150 µs,
the SHA-256 of its body 160 µs, even a CRC-32 of it 46 µs. All are more than the tenth of the mapping that the issue
allows, so a flipped byte in the body is found by `verify`, not by the first mapping.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

import ckvd_sql
from ckvd_sql import CacheError, CryptoKlineVisionData, Settings, maintenance
from ckvd_sql.cache.dayfile import Provenance
from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.bars import BAR_SCHEMA, read_rest
from ckvd_sql.market.series import DAY, INTERVALS, Market, Series, day_start, days_between, parse_time
from ckvd_sql.sandbox import Sandbox, market_bars
from ckvd_sql.sandbox.faults import fault_from
from ckvd_sql.scan.resolver import Resolver
from tests.support.bars import bars, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.bars import Bar

NOW = "2024-06-15T12:00:30"
HOURS = Series(Market.SPOT, "BTCUSDT", INTERVALS["1h"])
MINUTES = Series(Market.SPOT, "BTCUSDT", INTERVALS["1m"])
WEEKS = Series(Market.SPOT, "BTCUSDT", INTERVALS["1w"])
FIRST, LAST = date(2024, 1, 1), date(2024, 1, 5)
ON = date(2024, 1, 3)
CALL = "ckvd_klines('BTCUSDT', '1h', '2024-01-01', '2024-01-06')"

#: No wait in this file is longer, in seconds; where it ends, something hangs.
PATIENCE = 60


def truth(series: Series, start: str | date, end: str | date) -> list[Bar]:
    """The exchange's closed bars that open in `[start, end)`, as `read` gives them."""
    return bars(market_bars(series, parse_time(start, "start"), parse_time(end, "end"), parse_time(NOW, "now")))


@functools.lru_cache(maxsize=512)
def whole_day(series: Series, day: date) -> pa.RecordBatch:
    """A day as a day file should have it."""
    rows = market_bars(series, day_start(day), day_start(day) + DAY, parse_time(NOW, "now"))
    return read_rest(json.dumps(rows).encode(), "the oracle")


def wrong_days(root: Path) -> list[str]:
    """The day files below a cache folder that do not verify, or are not what the exchange has."""
    store, wrong = DayStore(root), []
    for series in store.series():
        for day in sorted(store.days(series)):
            try:
                store.verify(series, day)
                right = store.read(series, day).equals(whole_day(series, day))
            except CacheError:
                right = False
            if not right:
                wrong.append(f"{series} {day}")
    return wrong


def leftovers(root: Path) -> list[str]:
    """The files below a cache folder that are neither day files nor the shared locks, whose number is bounded."""
    files = [path for path in root.rglob("*") if path.is_file() and path.parent.name != ".locks"]
    return sorted(str(path.relative_to(root)) for path in files if path.suffix != ".arrow")


def hosts(exchange: Sandbox, **more: Any) -> dict[str, Any]:
    """The settings that make a program ask the sandbox."""
    return {**exchange.settings, **more}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can reach, which pytest's own are not."""
    made = Path(tempfile.mkdtemp(prefix="ckvd-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    subprocess.run(["chmod", "-R", "u+rwX", str(made)], check=False, capture_output=True)
    shutil.rmtree(made, ignore_errors=True)


def run(code: str, given: dict[str, Any], *, wrapped: tuple[str, ...] = (), seconds: float = PATIENCE) -> Any:
    """Run a program; what it says."""
    done = subprocess.run(
        [*wrapped, sys.executable, "-c", code, json.dumps(given)],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])


# kill -9.

#: Forks a fetch again and again and kills it after a random time, until told that this was enough. It says each time
#: whether the fetch had come to its end. Forking saves importing everything two hundred times.
KILLED = """
import json, logging, os, random, signal, sys, time
given = json.loads(sys.argv[1])
logging.getLogger("ckvd_sql").setLevel(logging.ERROR)
from ckvd_sql import CryptoKlineVisionData
import ckvd_sql.fetch.session, fsspec.implementations.http
chance = random.Random(given["seed"])
data = CryptoKlineVisionData(cache_dir=given["cache"], **given["settings"])

def fetch():
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        data.klines("BTCUSDT", given["start"], given["end"], "15m")
        status = 0
    finally:
        os._exit(status)

for line in sys.stdin:
    child = fetch()
    time.sleep(chance.random() ** 2 * given["longest"])
    os.kill(child, signal.SIGKILL)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class KillLoop:
    """Kills fetches of one range on one cache at random moments, and looks at what they leave.

    Attributes:
        kills: How many fetches were killed before they had ended.
        wrong: Day files that were readable and wrong, or not readable.
        most: The greatest number of leftovers seen after a kill.
    """

    start, end = "2024-04-20", "2024-06-15T12:00"
    series = Series(Market.SPOT, "BTCUSDT", INTERVALS["15m"])

    def __init__(self, exchange: Sandbox, folder: Path, seed: int) -> None:
        self.cache = folder / "killed"
        self.settings = hosts(exchange, retries=1, timeout=20)
        given = {
            "seed": seed,
            "cache": str(self.cache),
            "settings": self.settings,
            "start": self.start,
            "end": self.end,
            "longest": 0.7,
        }
        self._program = subprocess.Popen(
            [sys.executable, "-c", KILLED, json.dumps(given)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.kills = 0
        self.wrong: list[str] = []
        self.most = 0

    def once(self) -> None:
        """One fetch, killed; a cache that has become whole is emptied."""
        assert self._program.stdin
        assert self._program.stdout
        self._program.stdin.write("\n")
        self._program.stdin.flush()
        status = int(self._program.stdout.readline())
        self.kills += status == signal.SIGKILL
        self.wrong += wrong_days(self.cache)
        self.most = max(self.most, len(leftovers(self.cache)))
        if status == 0:
            shutil.rmtree(self.cache)

    def finish(self) -> list[Bar]:
        """End the program, and do the job to its end; what it gives."""
        self.close()
        with ckvd_sql.connect(cache_dir=self.cache, **self.settings) as con:
            return read(con, f"ckvd_klines('BTCUSDT', '15m', '{self.start}', '{self.end}')")

    def close(self) -> None:
        """End the program."""
        assert self._program.stdin
        assert self._program.stdout
        with contextlib.suppress(BrokenPipeError):
            self._program.stdin.close()
        self._program.wait(PATIENCE)
        self._program.stdout.close()


@pytest.fixture(scope="module")
def loop(running_exchange: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillLoop]:
    loop = KillLoop(running_exchange, tmp_path_factory.mktemp("cache"), seed=7)
    for _ in range(15):
        loop.once()
    yield loop
    loop.close()


class TestKillNine:
    def test_leaves_no_day_file_that_is_wrong(self, loop: KillLoop) -> None:
        assert loop.kills >= 5
        assert loop.wrong == []

    def test_leaves_no_leftover_that_grows_and_the_next_run_finishes_the_job(self, loop: KillLoop) -> None:
        found = loop.finish()
        assert found == truth(loop.series, loop.start, loop.end)
        assert wrong_days(loop.cache) == []
        assert loop.most <= 20
        assert [name for name in leftovers(loop.cache) if name.endswith(".tmp")] == []
        assert len(leftovers(loop.cache)) <= 5


# Disks that refuse.

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


# Damaged day files.


@pytest.fixture(scope="module")
def pristine(running_exchange: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of five days of hours and two of minutes."""
    root = tmp_path_factory.mktemp("pristine")
    data = CryptoKlineVisionData(cache_dir=root, **hosts(running_exchange))
    data.klines("BTCUSDT", "2024-01-01", "2024-01-06", "1h")
    data.klines("BTCUSDT", "2024-01-01", "2024-01-06", "1m")
    data.klines("ETHUSDT", "2024-01-01", "2024-01-06", "1h")
    return root


@pytest.fixture
def cache(pristine: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(pristine, tmp_path / "cache"))


def put(path: Path, data: bytes) -> None:
    """New bytes at a path, as a new file."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def foreign_arrow(path: Path) -> None:
    with ipc.new_file(path, pa.schema([("x", pa.int64())])) as writer:
        writer.write_batch(pa.RecordBatch.from_pydict({"x": [1, 2, 3]}))


def bars_without_metadata(path: Path) -> None:
    with ipc.new_file(path, BAR_SCHEMA) as writer:
        writer.write_batch(whole_day(HOURS, ON))


def compressed(path: Path) -> None:
    kept = ipc.open_file(pa.py_buffer(path.read_bytes()))
    options = ipc.IpcWriteOptions(compression="zstd")
    with ipc.new_file(path, kept.schema, options=options) as writer:
        writer.write_batch(kept.get_batch(0))


def cut_at(share: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = path.read_bytes()
        put(path, data[: int(len(data) * share)])

    return damage


def flipped_at(share: float) -> Callable[[Path], None]:
    """A bit flipped in the head (0 to 1) or, counted from the end, in the foot (-1 to 0)."""

    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(share * 1200)] ^= 0x10
        put(path, bytes(data))

    return damage


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").write_text("in it")


def another(series: str, day: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        put(path, (path.parents[4] / "binance" / "spot" / series / f"{day}.arrow").read_bytes())

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    **{f"cut at {share:.0%}": cut_at(share) for share in (0.001, 0.1, 0.4, 0.5, 0.8, 0.95, 0.999)},
    **{
        f"a bit flipped at {share:+.0%} of head or foot": flipped_at(share)
        for share in (0, 0.006, 0.3, 0.9, -0.01, -0.5)
    },
    "empty": lambda path: put(path, b""),
    "text": lambda path: put(path, b"open_time,open\n1,2\n"),
    "zeros": lambda path: put(path, bytes(path.stat().st_size)),
    "a folder": a_folder,
    "a foreign Arrow file": foreign_arrow,
    "an Arrow file of bars that says nothing": bars_without_metadata,
    "a compressed Arrow file": compressed,
    "a Parquet file": lambda path: parquet.write_table(pa.table({"open_time": [1]}), path),
    "of another symbol": another("ETHUSDT/1h", str(ON)),
    "of another interval": another("BTCUSDT/1m", str(ON)),
    "of another date": another("BTCUSDT/1h", "2024-01-02"),
}


class TestADamagedDayFile:
    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
    def test_is_set_aside_warned_of_and_fetched_again(
        self, exchange: Sandbox, cache: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        path = DayStore(cache).path(HOURS, ON)
        damage(path)
        with ckvd_sql.connect(cache_dir=cache, **hosts(exchange)) as con:
            assert read(con, CALL) == truth(HOURS, "2024-01-01", "2024-01-06")
            assert wrong_days(cache) == []
            warnings = [note.getMessage() for note in caplog.records if note.name == "ckvd_sql"]
            assert len(warnings) == 1
            assert str(path) in warnings[0]
            assert path.with_suffix(".damaged").exists()
            exchange.forget()
            assert read(con, CALL) == truth(HOURS, "2024-01-01", "2024-01-06")
        assert exchange.requests == ()
        assert len(caplog.records) == 1

    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
    def test_offline_is_an_error_that_names_the_file(
        self, exchange: Sandbox, cache: Path, damage: Callable[[Path], None]
    ) -> None:
        path = DayStore(cache).path(HOURS, ON)
        damage(path)
        said = path.read_bytes() if path.is_file() else b""
        with ckvd_sql.connect(cache_dir=cache, offline=True, **hosts(exchange)) as con:
            with pytest.raises(duckdb.Error, match=f"CacheError: .*{path}"):
                read(con, CALL)
            days = "ckvd_klines('BTCUSDT', '1h', '2024-01-04', '2024-01-06')"
            assert read(con, days) == truth(HOURS, "2024-01-04", "2024-01-06")
        assert path.exists()
        assert not path.is_file() or path.read_bytes() == said

    def test_is_healed_again_and_again_whatever_was_set_aside_before(self, exchange: Sandbox, cache: Path) -> None:
        path = DayStore(cache).path(HOURS, ON)
        for damage in (a_folder, a_folder, DAMAGES["empty"], a_folder):
            damage(path)
            with ckvd_sql.connect(cache_dir=cache, **hosts(exchange)) as con:
                assert read(con, CALL) == truth(HOURS, "2024-01-01", "2024-01-06")
            assert wrong_days(cache) == []

    def test_of_a_week_comes_from_its_month_s_archive_again(self, exchange: Sandbox, tmp_path: Path) -> None:
        call = "ckvd_klines('BTCUSDT', '1w', '2024-01-01', '2024-03-01')"
        with ckvd_sql.connect(cache_dir=tmp_path, **hosts(exchange)) as con:
            before = read(con, call)
            DayStore(tmp_path).path(WEEKS, date(2024, 1, 8)).write_bytes(b"")
            exchange.forget()
            assert read(con, call) == before
        asked = [request.path for request in exchange.requests]
        assert asked
        assert all("/monthly/klines/BTCUSDT/1w/BTCUSDT-1w-2024-01.zip" in path for path in asked)

    def test_is_not_what_a_process_short_of_open_files_has_met(self, cache: Path) -> None:
        store = DayStore(cache)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        try:
            with pytest.raises(CacheError, match="Too many open files") as refused:
                store.read(HOURS, ON)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert not refused.value.damaged
        assert wrong_days(cache) == []

    def test_that_is_a_named_pipe_is_set_aside_too(self, exchange: Sandbox, cache: Path) -> None:
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

    def test_among_whole_months_of_minutes_is_found_too(
        self, exchange: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        call = "ckvd_klines('BTCUSDT', '1m', '2024-01-01', '2024-03-01')"
        with ckvd_sql.connect(cache_dir=tmp_path, **hosts(exchange)) as con:
            whole = read(con, call)
        path = DayStore(tmp_path).path(MINUTES, ON)
        for damage in (cut_at(0.5), flipped_at(0.5), flipped_at(-0.5)):
            damage(path)
            caplog.clear()
            with ckvd_sql.connect(cache_dir=tmp_path, **hosts(exchange)) as con:
                assert read(con, call) == whole
            assert [str(path) in note.getMessage() for note in caplog.records] == [True]


class TestEveryByteOfADayFile:
    """Each one, on the reading alone; `DAMAGES` shows what follows."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> tuple[DayStore, Path]:
        store = DayStore(tmp_path)
        store.write(HOURS, ON, whole_day(HOURS, ON), Provenance("vision", "http://127.0.0.1", "0" * 64, 0))
        return store, store.path(HOURS, ON)

    def test_cut_anywhere_it_is_refused(self, place: tuple[DayStore, Path]) -> None:
        store, path = place
        original = path.read_bytes()
        for size in range(len(original) - 1, -1, -1):
            os.truncate(path, size)
            assert is_refused(store.read), size
            assert is_refused(store.describe), size

    def test_flipped_in_head_or_foot_it_is_refused_by_the_first_look(self, place: tuple[DayStore, Path]) -> None:
        store, path = place
        original = path.read_bytes()
        body = original.index(whole_day(HOURS, ON).column(0).buffers()[1].to_pybytes())
        values = range(body, body + whole_day(HOURS, ON).nbytes)
        assert (
            flips_taken(
                functools.partial(store.read, HOURS), path, [at for at in range(len(original)) if at not in values]
            )
            == []
        )

    def test_flipped_anywhere_it_is_found_by_verify(self, place: tuple[DayStore, Path]) -> None:
        store, path = place
        assert flips_taken(functools.partial(store.verify, HOURS), path, list(range(path.stat().st_size))) == []

    def test_flipped_anywhere_in_a_day_of_minutes_it_is_found_by_verify(self, tmp_path: Path) -> None:
        store = DayStore(tmp_path)
        store.write(MINUTES, ON, whole_day(MINUTES, ON), Provenance("rest", "http://127.0.0.1", "", 0))
        path = store.path(MINUTES, ON)
        chance = random.Random(3)  # noqa: S311 (a fixed choice)
        places = chance.sample(range(path.stat().st_size), 400)
        assert flips_taken(functools.partial(store.verify, MINUTES), path, places) == []

    def test_flipped_in_the_values_is_a_finding_of_cache_verify(self, cache: Path) -> None:
        path = DayStore(cache).path(HOURS, ON)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x01
        put(path, bytes(data))
        findings = list(maintenance.verify(Resolver(Settings.load(cache_dir=cache))))
        assert [(found.series, found.day) for found in findings if found.problem] == [(HOURS, ON)]


def is_refused(look: Callable[..., Any]) -> bool:
    try:
        look(HOURS, ON)
    except CacheError:
        return True
    return False


def flips_taken(look: Callable[..., Any], path: Path, places: list[int], *, first: int = 0) -> list[tuple[int, int]]:
    """The places whose bit can be flipped without `look` refusing the file, and which bit: another at each place.

    The file is itself again afterwards.
    """
    original, taken = path.read_bytes(), []
    with path.open("r+b", buffering=0) as file:
        for at in places:
            bit = (first + at) % 8
            os.pwrite(file.fileno(), bytes([original[at] ^ (1 << bit)]), at)
            with contextlib.suppress(CacheError):
                look(ON)
                taken.append((at, bit))
            os.pwrite(file.fileno(), original[at : at + 1], at)
    return taken


#: Reads two months of mapped minutes over and over while a neighbour replaces, sets aside and deletes their files.
DISTURBED = """
import json, os, sys, threading
given = json.loads(sys.argv[1])
import ckvd_sql
from pathlib import Path
done = threading.Event()
def disturb():
    days = sorted(Path(given["cache"]).rglob("2024-*.arrow"))
    while not done.is_set():
        for number, path in enumerate(days):
            try:
                data = path.read_bytes()
                if number % 3 == 0:
                    path.with_suffix(".new").write_bytes(data)
                    os.replace(path.with_suffix(".new"), path)
                elif number % 3 == 1:
                    path.unlink()
                else:
                    os.replace(path, path.with_suffix(".damaged"))
            except FileNotFoundError:
                pass
        done.wait(0.01)
con = ckvd_sql.connect(cache_dir=given["cache"], **given["settings"])
neighbour = threading.Thread(target=disturb)
neighbour.start()
counts = []
for _ in range(given["times"]):
    reader = con.sql("SELECT * FROM " + given["call"]).to_arrow_reader(2048)
    counts.append(sum(batch.num_rows for batch in reader))
done.set()
neighbour.join()
print(json.dumps(counts))
"""


class TestAMappedFile:
    def test_that_is_replaced_or_deleted_while_a_query_reads_it_does_not_end_the_process(
        self, exchange: Sandbox, tmp_path: Path
    ) -> None:
        call = "ckvd_klines('BTCUSDT', '1m', '2024-01-01', '2024-02-01')"
        CryptoKlineVisionData(cache_dir=tmp_path, **hosts(exchange)).klines("BTCUSDT", "2024-01-01", "2024-02-01", "1m")
        given = {"settings": hosts(exchange), "cache": str(tmp_path), "call": call, "times": 4}
        assert run(DISTURBED, given) == [31 * 1440] * 4

    def test_keeps_its_rows_for_those_who_hold_them(self, exchange: Sandbox, cache: Path) -> None:
        data = CryptoKlineVisionData(cache_dir=cache, **hosts(exchange))
        table = data.klines("BTCUSDT", "2024-01-01", "2024-01-06", "1m")
        shutil.rmtree(cache)
        days = [whole_day(MINUTES, day) for day in days_between(FIRST, LAST)]
        assert table.select(BAR_SCHEMA.names).equals(pa.Table.from_batches(days))


# A crowd.

#: Five threads of a process that ask for the same month when told to, through SQL and Python; what each got, hashed.
CROWD = """
import hashlib, json, sys, threading
given = json.loads(sys.argv[1])
import ckvd_sql
con = ckvd_sql.connect(cache_dir=given["cache"], **given["settings"])
data = ckvd_sql.CryptoKlineVisionData(cache_dir=given["cache"], **given["settings"])
got = [None] * given["threads"]
columns = ["open_time", "open", "high", "low", "close", "volume", "close_time", "trades"]
def ask(number):
    if number % 2:
        with con.cursor() as cursor:
            table = cursor.sql(f"SELECT {', '.join(columns)} FROM ckvd_klines({given['call']})").to_arrow_table()
    else:
        symbol, interval, start, end = given["call"].replace("'", "").split(", ")
        table = data.klines(symbol, start, end, interval).select(columns)
    text = json.dumps([[str(value) for value in row.values()] for row in table.to_pylist()])
    got[number] = [table.num_rows, hashlib.sha256(text.encode()).hexdigest()]
threads = [threading.Thread(target=ask, args=(number,)) for number in range(given["threads"])]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
con.close()
print(json.dumps(got))
"""


def crowd(exchange: Sandbox, cache: Path, calls: list[str], threads: int = 5) -> list[list[Any]]:
    """A process a call, all let go at once; what each of their threads got: rows and hash."""
    given = {"cache": str(cache), "settings": hosts(exchange, timeout=30), "threads": threads}
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", CROWD, json.dumps({**given, "call": call})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for call in calls
    ]
    try:
        for program in programs:
            assert program.stdout
            assert program.stdout.readline() == "ready\n"
        return [said for text in ask_all(programs) for said in json.loads(text)]
    finally:
        for program in programs:
            program.kill()
            program.communicate()


def ask_all(programs: list[subprocess.Popen[str]]) -> list[str]:
    """Let all programs go at once; what they say."""
    for program in programs:
        assert program.stdin
        program.stdin.write("\n")
        program.stdin.flush()
    said = [program.communicate(timeout=PATIENCE)[0] for program in programs]
    assert [program.returncode for program in programs] == [0] * len(programs)
    return said


def downloads(exchange: Sandbox) -> Counter[str]:
    """How often each archive was asked for."""
    return Counter(one.path for one in exchange.requests if one.path.endswith(".zip"))


class TestACrowd:
    def test_of_eight_processes_and_forty_threads_downloads_a_cold_month_once_and_gets_the_same_rows(
        self, exchange: Sandbox, tmp_path: Path
    ) -> None:
        got = crowd(exchange, tmp_path, ["'BTCUSDT', '1h', '2024-02-01', '2024-03-01'"] * 8)
        assert len(got) == 40
        assert len({tuple(said) for said in got}) == 1
        assert got[0][0] == 29 * 24
        assert downloads(exchange) == {"/data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-02.zip": 1}
        assert wrong_days(tmp_path) == []

    def test_that_asks_for_days_of_the_running_month_downloads_each_once(
        self, exchange: Sandbox, tmp_path: Path
    ) -> None:
        got = crowd(exchange, tmp_path, ["'BTCUSDT', '1h', '2024-06-01', '2024-06-10'"] * 2)
        assert {said[0] for said in got} == {9 * 24}
        assert len(downloads(exchange)) == 9
        assert set(downloads(exchange).values()) == {1}
        assert wrong_days(tmp_path) == []

    def test_of_writers_of_one_day_leaves_it_whole_at_every_moment(self, tmp_path: Path) -> None:
        """Callers of a month and callers of a day hold different locks, and may fetch the same day."""
        store, day = DayStore(tmp_path), whole_day(MINUTES, ON)
        failed: list[BaseException] = []

        def write() -> None:
            try:
                for _ in range(25):
                    store.write(MINUTES, ON, day, Provenance("rest", "http://127.0.0.1", "", 0))
                    assert store.read(MINUTES, ON).equals(day)
            except Exception as error:  # noqa: BLE001 (told below)
                failed.append(error)

        writers = [threading.Thread(target=write) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(PATIENCE)
        assert failed == []
        assert leftovers(tmp_path) == []


# Interruptions.

#: Asks, is disturbed in some way, and says how the asking ended and which threads are left. Then it stays alive until
#: told to end, so that a lock that it still holds would be in the way of others.
INTERRUPTED = """
import gc, json, sys, threading, time
given = json.loads(sys.argv[1])
import ckvd_sql
settings = dict(given["settings"], cache_dir=given["cache"])
how = given["how"]
con = ckvd_sql.connect(**settings)
data = ckvd_sql.CryptoKlineVisionData(**settings)
interval = "1h" if how in ("python", "fetch", "sql", "interrupt") else "1m"
call = f"SELECT * FROM ckvd_klines('BTCUSDT', '{interval}', '2024-01-01', '2024-05-01')"
if how == "interrupt":
    threading.Thread(target=lambda: (sys.stdin.readline(), con.interrupt()), daemon=True).start()
if how in ("python", "fetch"):
    import polars  # as those do who use it; it changes how signals arrive
print("ready", flush=True)
result = reader = None
try:
    if how == "python":
        data.get_data("BTCUSDT", "2024-01-01", "2024-05-01", interval)
    elif how == "fetch":
        data.fetch("BTCUSDT", "2024-01-01", "2024-05-01", interval)
    elif how in ("sql", "interrupt"):
        con.sql(call).fetchall()
    elif how == "abandoned":
        result = con.execute(call)
        assert result.fetchone()
        result = con.execute("SELECT 1")
    elif how == "dropped":
        with con.cursor() as cursor:
            assert cursor.execute(call).fetchone()
    elif how == "reader":
        reader = con.sql(call).to_arrow_reader(1000)
        assert reader.read_next_batch().num_rows
        reader.close()
        del reader
    elif how == "closed":
        assert con.execute(call).fetchone()
        con.close()
    elif how == "limit":
        assert con.execute(call + " LIMIT 5").fetchall()
    ended = "by itself"
except BaseException as error:
    ended = f"{type(error).__name__}: {error}"
result = reader = None
gc.collect()

def ours():
    return [one.name for one in threading.enumerate() if one.name.startswith(("ckvd", "asyncio"))]

for _ in range(300):
    if not ours():
        break
    time.sleep(0.1)
print(json.dumps({"ended": ended, "threads": ours()}), flush=True)
sys.stdin.readline()
con.close()
"""


class TestAnInterruption:
    def disturbed(
        self, exchange: Sandbox, cache: Path, how: str, disturb: Callable[[subprocess.Popen[str]], None] | None = None
    ) -> str:
        """Disturb a program in the midst of a slow fetch; how its asking ended. Another goes on at once."""
        patient = how in {"python", "fetch"}  # then nothing but Ctrl-C ends the waiting in time
        given = {
            "cache": str(cache),
            "settings": hosts(exchange, retries=0, timeout=3600 if patient else 2),
            "how": how,
        }
        slow = {"kind": "stall", "seconds": 60} if disturb else {"kind": "latency", "seconds": 1}
        exchange.add(fault_from({"path": r"2024-0[1-4].*\.zip$", **slow}))
        program = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert program.stdout
            assert program.stdout.readline() == "ready\n"
            if disturb:
                wait_until(lambda: any(one.path.endswith(("2024-01.zip", "2024-02.zip")) for one in exchange.requests))
                disturb(program)
            said = json.loads(read_line(program))
            exchange.clear_faults()
            self.assert_another_goes_on(exchange, cache)
        finally:
            program.kill()
            program.communicate()
        assert said["threads"] == []
        ended: str = said["ended"]
        return ended

    def assert_another_goes_on(self, exchange: Sandbox, cache: Path) -> None:
        for series in (HOURS, MINUTES):
            call = f"ckvd_klines('BTCUSDT', '{series.interval.name}', '2024-01-31', '2024-02-03')"
            with ckvd_sql.connect(cache_dir=cache, **hosts(exchange)) as con:
                assert read(con, call) == truth(series, "2024-01-31", "2024-02-03")
        assert wrong_days(cache) == []

    @pytest.mark.parametrize("how", ["python", "fetch"])
    def test_by_ctrl_c_in_python_ends_at_once_and_leaves_no_thread_and_no_lock(
        self, exchange: Sandbox, tmp_path: Path, how: str
    ) -> None:
        ended = self.disturbed(exchange, tmp_path, how, lambda program: program.send_signal(signal.SIGINT))
        assert ended.startswith("KeyboardInterrupt")

    def test_by_ctrl_c_in_sql_ends_with_the_request_and_leaves_no_thread_and_no_lock(
        self, exchange: Sandbox, tmp_path: Path
    ) -> None:
        ended = self.disturbed(exchange, tmp_path, "sql", lambda program: program.send_signal(signal.SIGINT))
        assert "interrupt" in ended.lower()

    def test_by_interrupt_ends_with_the_request_and_leaves_no_thread_and_no_lock(
        self, exchange: Sandbox, tmp_path: Path
    ) -> None:
        def interrupt(program: subprocess.Popen[str]) -> None:
            assert program.stdin
            program.stdin.write("\n")
            program.stdin.flush()

        assert "interrupt" in self.disturbed(exchange, tmp_path, "interrupt", interrupt).lower()

    @pytest.mark.parametrize("how", ["abandoned", "dropped", "reader", "closed", "limit"])
    def test_of_a_result_that_is_not_read_to_its_end_leaves_no_thread_and_no_lock(
        self, exchange: Sandbox, tmp_path: Path, how: str
    ) -> None:
        assert self.disturbed(exchange, tmp_path, how) == "by itself"

    def test_at_any_moment_of_a_fetch_leaves_no_lock(self, exchange: Sandbox, tmp_path: Path) -> None:
        """Streams that are closed after a random time, again and again, in one process that lives on."""
        chance = random.Random(11)  # noqa: S311 (a fixed choice)
        with ckvd_sql.connect(cache_dir=tmp_path, retries=0, timeout=10, **hosts(exchange)) as con:
            for _ in range(12):
                pause = chance.random() * 0.15
                timer = threading.Timer(pause, con.interrupt)
                timer.start()
                with contextlib.suppress(duckdb.Error):
                    con.execute(
                        "SELECT count(*) FROM ckvd_klines('BTCUSDT', '1h', '2024-01-01', '2024-06-01')"
                    ).fetchall()
                timer.join()
                gc.collect()
                assert locks_held(tmp_path) == []
                shutil.rmtree(tmp_path / "binance", ignore_errors=True)
        assert [one.name for one in threading.enumerate() if one.name == "ckvd-fetch"] == []

    def test_of_a_process_that_ends_with_a_result_half_read_does_not_hang(
        self, exchange: Sandbox, tmp_path: Path
    ) -> None:
        code = (
            "import json, sys, ckvd_sql; given = json.loads(sys.argv[1]); con = ckvd_sql.connect(**given);"
            "result = con.execute(\"SELECT * FROM ckvd_klines('BTCUSDT', '1m', '2024-01-01', '2024-05-01')\");"
            "print(json.dumps(str(result.fetchone()[0])))"
        )
        assert run(code, hosts(exchange, cache_dir=str(tmp_path))) == "BTCUSDT"


def locks_held(cache: Path) -> list[str]:
    """The lock files of a cache that somebody holds."""
    import fcntl  # noqa: PLC0415 (POSIX alone)

    held = []
    for path in (cache / ".locks").glob("*.lock"):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(path.name)
    return held


def wait_until(done: Callable[[], bool]) -> None:
    """Wait for something, but not for ever."""
    last = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < last
        time.sleep(0.01)


def read_line(program: subprocess.Popen[str], seconds: float = 40) -> str:
    """The next line that a program says; fails where it says none in time."""
    assert program.stdout
    timer = threading.Timer(seconds, program.kill)
    timer.start()
    try:
        line = next((line for line in program.stdout if line.startswith("{")), "")  # not DuckDB's progress bar
    finally:
        timer.cancel()
    assert line, "it hangs"
    return line


#: Uses everything, forks with multiprocessing, and lets the child use it all again.
FORKED = """
import json, multiprocessing, sys
given = json.loads(sys.argv[1])
import ckvd_sql
settings = dict(given["settings"], cache_dir=given["cache"])
con = ckvd_sql.connect(**settings)
data = ckvd_sql.CryptoKlineVisionData(**settings)

def ask(month, answers=None):
    call = f"ckvd_klines('BTCUSDT', '1h', '2024-{month:02d}-01', '2024-{month:02d}-21')"
    got = {}
    if "data" in given["ways"]:
        got["data"] = data.klines("BTCUSDT", f"2024-{month:02d}-01", f"2024-{month:02d}-21", "1h").num_rows
    if "frame" in given["ways"]:
        got["frame"] = len(data.get_data("BTCUSDT", f"2024-{month:02d}-01", f"2024-{month:02d}-21", "1h"))
    if "new" in given["ways"]:
        with ckvd_sql.connect(**settings) as own:
            got["new"] = own.sql(f"SELECT count(*) FROM {call}").fetchall()[0][0]
    if "old" in given["ways"]:
        got["old"] = con.sql(f"SELECT count(*) FROM {call}").fetchall()[0][0]
    if answers is None:
        return got
    answers.put(got)

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    parents = ask(1)
    answers = context.Queue()
    children = [context.Process(target=ask, args=(month, answers)) for month in (1, 2, 2)]
    for child in children:
        child.start()
    try:
        got = [answers.get(timeout=20) for _ in children]
    except Exception:
        got = "it hangs"
    for child in children:
        child.join(1)
        child.kill()
    print(json.dumps({"parent": parents, "children": got, "after": ask(3)}))
    con.close()
"""


class TestAForkAfterUse:
    @pytest.mark.parametrize(
        "way",
        [
            "data",
            "new",
            "old",
        ],
    )
    def test_lets_the_child_ask_on_its_own(self, exchange: Sandbox, tmp_path: Path, way: str) -> None:
        given = {"settings": hosts(exchange), "cache": str(tmp_path), "ways": [way]}
        said = run(FORKED, given)
        rows = {way: 20 * 24}
        assert said == {"parent": rows, "children": [rows] * 3, "after": rows}
        assert wrong_days(tmp_path) == []
        assert locks_held(tmp_path) == []
