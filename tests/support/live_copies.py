"""A process that reads a cache, and backups that are copied over it at the same time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from ckvd_sql import CryptoKlineVisionData
from tests.support.cache_state import sandbox_settings
from tests.support.processes import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckvd_sql.sandbox import Sandbox

SPAN = ("2024-01-01", "2024-01-21")
OTHER_USER = 65_534

#: Sums a range again and again until its input ends; then how often, and what it found that was not as expected.
READ = """
import json, logging, select, sys
given = json.loads(sys.argv[1])
import ckvd_sql
logging.getLogger("ckvd_sql").setLevel(logging.CRITICAL)
statement = "SELECT count(*)::BIGINT, sum(trades)::HUGEINT::VARCHAR FROM ckvd_klines('BTCUSDT', '3m', ?, ?)"
rounds, wrong = 0, []
while not select.select([sys.stdin], [], [], 0)[0]:
    with ckvd_sql.connect(cache_dir=given["cache"], **given["settings"]) as con:
        for _ in range(5):
            try:
                found = con.execute(statement, given["span"]).fetchone()
                if list(found) != given["expected"]:
                    wrong.append(found)
            except Exception as error:
                wrong.append(str(error))
            rounds += 1
            print(rounds, flush=True)
print(json.dumps({"rounds": rounds, "wrong": wrong[:3]}))
"""


@contextmanager
def public_folder() -> Iterator[Path]:
    """A temporary folder that other users can enter and write into."""
    with tempfile.TemporaryDirectory(prefix="ckvd-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o777)
        yield Path(made)


@contextmanager
def reader(given: dict[str, Any], **more: bool) -> Iterator[dict[str, Any]]:
    """A process that reads; it has read at least once. What it found is in the result at the end."""
    given = given | {"settings": given["settings"] | more}
    process = subprocess.Popen(
        [sys.executable, "-c", READ, json.dumps(given)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    result: dict[str, Any] = {}
    try:
        assert process.stdout
        assert process.stdout.readline() == "1\n"
        yield result
        found, _ = process.communicate("end\n", timeout=PATIENCE)
        result |= {"status": process.returncode, **json.loads(found.splitlines()[-1])}
    finally:
        process.kill()
        process.wait()


def copy_as_ordinary_user(source: Path, target: Path, *options: str) -> int:
    """The exit status of `cp -a`, run by somebody who is not the superuser; the files are given to that user."""
    whose: dict[str, Any] = {}
    if os.getuid() == 0:
        subprocess.run(["chown", "-R", str(OTHER_USER), str(source), str(target)], check=True)
        whose = {"user": OTHER_USER, "extra_groups": []}
    copied = subprocess.run(
        ["cp", "-a", *options, f"{source}/.", str(target)], check=False, capture_output=True, **whose
    )
    return copied.returncode


def filled(exchange: Sandbox, folder: Path) -> tuple[Path, Path, dict[str, Any]]:
    """A cache of days that are large enough to be mapped, a backup of it, and what the reader is given."""
    settings = sandbox_settings(exchange)
    data = CryptoKlineVisionData(cache_dir=folder / "cache", **settings)
    bars = data.klines("BTCUSDT", *SPAN, "3m")
    assert min(path.stat().st_size for path in (folder / "cache").rglob("*.arrow")) > 32_768
    shutil.copytree(folder / "cache", folder / "backup", copy_function=shutil.copy2)
    expected = [bars.num_rows, str(pc.sum(bars.column("trades")).as_py())]
    given = {"cache": str(folder / "cache"), "span": SPAN, "expected": expected, "settings": settings}
    return folder / "cache", folder / "backup", given
