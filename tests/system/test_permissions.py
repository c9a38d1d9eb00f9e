"""Who may use what is created in a cache: it follows the umask, and is writable by others only where it is shared."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cache_state import sandbox_settings, wrong_days
from tests.support.processes import run_program

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox

#: Fetches, packs and describes 60 days after `before`, then lists what is below the cache with modes and groups.
FETCH = """
import json, logging, os, sys
given = json.loads(sys.argv[1])
import tempfile
import ckvd_sql
from datetime import date
from pathlib import Path
from ckvd_sql import CryptoKlineVisionData

def fetch(cache, start, **more):
    data = CryptoKlineVisionData(cache_dir=cache, **given["settings"], **more)
    rows = data.klines("SOLUSDT", start, given["end"], "1h").num_rows
    with ckvd_sql.connect(cache_dir=cache, **given["settings"], **more) as con:
        con.execute("FROM ckvd_cache_days").fetchall()
    return rows

with tempfile.TemporaryDirectory() as other:
    fetch(other, given["start"])  # late imports must happen before this process changes its user
messages = []
class Notes(logging.Handler):
    def emit(self, record):
        messages.append(record.getMessage())
logging.getLogger("ckvd_sql").addHandler(Notes())
exec(given["before"])
rows = [fetch(given["cache"], given["start"], **given["more"]) for _ in range(2)]
found = {}
for folder, names, files in os.walk(given["cache"]):
    for name in [".", *files]:
        path = Path(folder, name)
        found[str(path.relative_to(given["cache"]))] = [path.stat().st_mode, path.stat().st_gid]
print(json.dumps({"rows": rows, "warnings": messages, "found": found}))
"""


def fetch(
    exchange: Sandbox, cache: Path, before: str, start: str = "2020-08-05", end: str = "2020-09-20", **more: str
) -> dict[str, Any]:
    given = {"settings": sandbox_settings(exchange), "cache": str(cache), "before": before, "more": more}
    result: dict[str, Any] = run_program(FETCH, {**given, "start": start, "end": end})
    return result


@pytest.mark.parametrize("shared", ["off", "group", "all"])
@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077], ids=oct)
def test_what_is_created_follows_the_umask_and_the_setting(
    exchange: Sandbox, folder: Path, umask: int, shared: str
) -> None:
    cache = folder / "cache"
    result = fetch(exchange, cache, f"os.umask({umask})", cache_shared=shared)
    file_bits, lock_bits, folder_bits = {
        "off": (0, 0, 0),
        "group": (0o440, 0o660, 0o2770),
        "all": (0o444, 0o664, 0o2775),
    }[shared]
    names = " ".join(result["found"])
    for part in (".listed", ".packs/", ".pack", ".arrow", ".locks/write-", ".lock", ".rest/weight-", ".json"):
        assert part in names
    for name, (mode, _) in result["found"].items():
        if stat.S_ISDIR(mode):
            expected = 0o755 & ~umask | folder_bits
        elif name.endswith(".lock"):
            expected = 0o644 & ~umask | lock_bits
        else:  # it is replaced, never written into
            expected = 0o444 & ~umask | file_bits
        assert oct(stat.S_IMODE(mode)) == oct(expected), name


def test_the_command_makes_a_cache_folder_that_nobody_else_may_write_into(exchange: Sandbox, folder: Path) -> None:
    before = "os.umask(0); from ckvd_sql.cli.main import _check_writable; from ckvd_sql.settings import Settings; "
    before += "_check_writable(Path(given['cache']), Settings().cache_shared)"
    result = fetch(exchange, folder / "cache", before)
    assert oct(result["found"]["."][0]) == oct(0o40755)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
def test_two_users_of_a_group_share_a_cache(exchange: Sandbox, folder: Path) -> None:
    cache = folder / "cache"

    def user(number: int, start: str, end: str) -> dict[str, Any]:
        become = f"os.umask(0o077); os.setgroups([5000]); os.setgid({number}); os.setuid({number})"
        return fetch(exchange, cache, become, start, end, cache_shared="group")

    cache.mkdir()
    os.chown(cache, 0, 5000)
    cache.chmod(0o2770)
    for number, start, end in [
        (5001, "2020-08-05", "2020-09-20"),
        (5002, "2020-08-01", "2020-10-10"),
        (5001, "2020-08-01", "2020-11-05"),
    ]:
        result = user(number, start, end)
        assert result["warnings"] == []
        assert {group for _, group in result["found"].values()} == {5000}
    assert wrong_days(cache) == []
