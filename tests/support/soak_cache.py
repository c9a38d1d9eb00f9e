"""Rounds of `make soak` on caches that are copied over, on coarse clocks, read with few open files, or forged."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from ckvd_sql.cache.store import DayStore
from ckvd_sql.disk import files
from tests.support.copies import COPIES, make_writable, whole_seconds
from tests.support.damage import forged, read_forged, replace
from tests.support.day_files import HOURS, YEAR, bars_of, expected, read, write
from tests.support.limits import fill, read_with_few_files, spot, sums_of
from tests.support.live_copies import copy_as_ordinary_user, filled, public_folder, reader

if TYPE_CHECKING:
    import random

    from ckvd_sql.sandbox import Sandbox

#: Ways of copying a backup over a live cache.
OPTIONS = [(), ("--force",), ("--remove-destination",), ("--force", "--no-preserve=timestamps"), ("--update",)]

FEW_FILES = 256
LONG = [date(2023, 1, 1) + timedelta(days=number) for number in range(500)]
SUMS = "SELECT count(*)::BIGINT, sum(trades)::HUGEINT::VARCHAR FROM ckvd_klines({}, '3m', '{}', '{}')"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a round tried, and what of it was wrong.

    Attributes:
        tried: How often what was tried.
        wrong: Answers that were not as expected.
        crashed: Processes that ended otherwise than they should.
    """

    tried: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)


def copy_over_live_cache(exchange: Sandbox, rng: random.Random) -> Outcome:
    """A process reads a range again and again while backups are copied over its cache.

    Where files are mapped, the copies are an ordinary user's; where they are read, they are truncated and written.
    """
    outcome = Outcome()
    for mapped in (True, False):
        with public_folder() as folder:
            cache, backup, given = filled(exchange, folder)
            with reader(given, mmap=mapped) as result:
                for _ in range(40):
                    if mapped:
                        copy_as_ordinary_user(backup, cache, *rng.choice(OPTIONS))
                    else:
                        overwrite(cache, backup, rng)
                    outcome.tried["copies"] += 1
            outcome.tried["queries"] += result["rounds"]
        outcome.wrong.extend(map(str, result["wrong"]))
        if result["status"]:
            outcome.crashed.append(f"a reader of a copied cache ended with {result['status']}")
    return outcome


def overwrite(cache: Path, backup: Path, rng: random.Random) -> None:
    """Write a few files of a cache again, truncated for a moment."""
    found = sorted(backup.rglob("*.arrow"))
    for path in rng.sample(found, 5):
        target = cache / path.relative_to(backup)
        with contextlib.suppress(FileNotFoundError):  # it was set aside meanwhile, and is not fetched yet
            target.chmod(0o644)
            shutil.copyfile(path, target)


def count_seconds(rng: random.Random) -> Outcome:
    """Days are written, overwritten in place and deleted on a disk that counts seconds; each is read back at once."""
    outcome = Outcome()
    days, salts = YEAR[:60], dict.fromkeys(YEAR[:40], 0)
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(files, "_times", whole_seconds):
        store, other = DayStore(Path(folder) / "cache"), DayStore(Path(folder) / "other")
        write(store, HOURS, salts)
        readers = [DayStore(store.root), DayStore(store.root)]
        for number in range(120):
            if number % 60 == 30:
                time.sleep(3.2)  # packs are made and used once the disk has been quiet
            day = rng.choice(days)
            what = rng.choice(["write", "overwrite", "overwrite", "delete"])
            if what == "write":
                salts[day] = number
                write(store, HOURS, [day], salt=number)
            elif what == "delete":
                salts.pop(day, None)
                store.path(HOURS, day).unlink(missing_ok=True)
            elif day in salts:
                salts[day] = number
                shutil.rmtree(other.root, ignore_errors=True)
                write(other, HOURS, [day], salt=number)
                make_writable(store, HOURS)
                COPIES[rng.choice(sorted(COPIES))](other.folder(HOURS), store.folder(HOURS), f"{day}.arrow")
            outcome.tried["reads of own writes"] += 1
            for one in (rng.choice(readers), DayStore(store.root)):
                if not read(one, HOURS, days[0], days[-1]).equals(expected(HOURS, sorted(salts), salts)):
                    outcome.wrong.append(f"stale after step {number}, {what} of {day}")
    return outcome


def read_few_files(rng: random.Random) -> Outcome:
    """Ranges of more days, and more symbols, than the process may have open files."""
    outcome = Outcome()
    symbols = [f"COIN{number}USDT" for number in range(300)]
    with tempfile.TemporaryDirectory() as folder:
        store = DayStore(Path(folder))
        fill(store, spot("BTCUSDT", "3m"), LONG)
        several = [fill(store, spot(symbol, "3m"), LONG[-2:]) for symbol in symbols]
        statements, sums = [], []
        for _ in range(8):
            first = rng.randrange(len(LONG) - FEW_FILES)
            last = rng.randrange(first + FEW_FILES, len(LONG))
            statements.append(SUMS.format("'BTCUSDT'", LONG[first], LONG[last]))
            sums.append(sums_of([bars_of(spot("BTCUSDT", "3m"), day) for day in LONG[first:last]]))
        statements.append(SUMS.format(symbols, LONG[-2], LONG[-1] + timedelta(days=1)))
        sums.append([sum(rows for rows, _ in several), str(sum(int(trades) for _, trades in several))])
        found = read_with_few_files(store, statements, FEW_FILES)
        outcome.tried["queries"] += len(statements)
    if found != {"found": sums, "damaged": 0}:
        outcome.wrong.append(f"with {FEW_FILES} open files: {found} instead of {sums}")
    return outcome


def read_forged_files(rng: random.Random) -> Outcome:
    """Day files and packs that were changed and sealed again: refused, or read with the same rows."""
    outcome, day = Outcome(), YEAR[0]
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(files, "_TICK", 0):
        store = DayStore(Path(folder) / "cache")
        write(store, HOURS, YEAR)
        content = store.path(HOURS, day).read_bytes()
        other = DayStore(Path(folder) / "forged")
        write(other, HOURS, [day])
        try:
            _, wrong = read_forged(other, day, [forged(rng, content, 24) for _ in range(800)], Path(folder) / "files")
            outcome.wrong.extend(["a forged day file was read with other rows"] * wrong)
        except AssertionError as error:  # the process did not end as it should
            outcome.crashed.append(str(error))
        outcome.tried["forged files"] += 800

        for _ in range(2):
            read(DayStore(store.root), HOURS, YEAR[0], YEAR[-1])
        pack = store.folder(HOURS) / ".packs" / "2023.pack"
        packed, rows, right = pack.read_bytes(), len(expected(HOURS, YEAR)), expected(HOURS, YEAR)
        for _ in range(40):
            replace(pack, forged(rng, packed, rows))
            if not read(DayStore(store.root), HOURS, YEAR[0], YEAR[-1]).equals(right):
                outcome.wrong.append("a forged pack was read with other rows")
            outcome.tried["forged files"] += 1
    return outcome
