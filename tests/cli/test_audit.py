"""`ckvd audit`: findings as a table, csv and json, and the exit status."""

from __future__ import annotations

import csv
import io
import json
from datetime import date
from typing import TYPE_CHECKING

from ckvd_sql.cache.store import DayStore
from ckvd_sql.market.provenance import Provenance, Source
from ckvd_sql.sandbox import Fault
from tests.support.bars import series
from tests.support.days import to_arrow
from tests.support.truth import true_rows

if TYPE_CHECKING:
    from ckvd_sql.sandbox import Sandbox
    from tests.support.shell import Shell

DAY = ("--start", "2024-05-01", "--end", "2024-05-02")
CLEAN = "1 cached days audited: 0 error, 0 warning, 0 info"


def store_wrong_day(shell: Shell) -> None:
    """Put a day into the cache that has a bar with volume and no trades."""
    rows = true_rows("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    rows[5][8] = 0
    provenance = Provenance(Source.VISION, "https://archive.example/x.zip", "0" * 64, 0, verified=True)
    DayStore(shell.cache).write(series("spot", "BTCUSDT", "1h"), date(2024, 5, 1), to_arrow(rows), provenance)


def test_a_clean_day_has_no_finding_and_sends_no_request(shell: Shell, exchange: Sandbox) -> None:
    shell.out("fetch", "BTCUSDT", *DAY)
    exchange.forget()
    assert shell.out("audit", "BTCUSDT", *DAY).strip() == CLEAN
    assert json.loads(shell.out("audit", "BTCUSDT", *DAY, "-f", "json")) == []
    assert shell.out("audit", "BTCUSDT", *DAY, "-f", "csv").strip() == (
        "symbol,date,open_time,check,severity,found,expected"
    )
    assert exchange.requests == ()


def test_an_error_is_listed_and_the_exit_status_is_1(shell: Shell) -> None:
    store_wrong_day(shell)
    done = shell.run("audit", "BTCUSDT", *DAY)
    shown = done.stdout.decode().splitlines()
    assert (done.returncode, done.stderr) == (1, b"")
    assert shown[0].split() == ["SYMBOL", "DATE", "OPEN_TIME", "CHECK", "SEVERITY", "FOUND", "EXPECTED"]
    assert shown[1].split()[:5] == ["BTCUSDT", "2024-05-01", "2024-05-01T05:00:00Z", "trades", "error"]
    assert shown[2] == "1 cached days audited: 1 error, 0 warning, 0 info"


def test_csv_and_json_have_the_same_findings(shell: Shell) -> None:
    store_wrong_day(shell)
    records = json.loads(shell.run("audit", "BTCUSDT", *DAY, "-f", "json").stdout)
    rows = list(csv.DictReader(io.StringIO(shell.run("audit", "BTCUSDT", *DAY, "-f", "csv").stdout.decode())))
    assert records == rows
    assert [(one["check"], one["open_time"]) for one in records] == [("trades", "2024-05-01T05:00:00Z")]


def test_a_finding_about_a_day_has_no_open_time(shell: Shell, exchange: Sandbox) -> None:
    exchange.add(Fault(r"\.zip", "status", status=404))
    shell.out("fetch", "BTCUSDT", *DAY)
    done = shell.run("audit", "BTCUSDT", *DAY, "-f", "json")
    assert done.returncode == 0  # for information alone
    assert [(one["check"], one["open_time"], one["severity"]) for one in json.loads(done.stdout)] == [
        ("source", None, "info")
    ]


def test_a_remote_audit_says_its_requests_first(shell: Shell, exchange: Sandbox) -> None:
    shell.out("fetch", "BTCUSDT", *DAY)
    exchange.forget()
    done = shell.run("audit", "BTCUSDT", *DAY, "--remote")
    assert (done.returncode, done.stdout.decode().strip()) == (0, CLEAN)
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"the audit sends at most {len(exchange.requests)} requests")
    assert "OfflineError" in shell.error("audit", "BTCUSDT", *DAY, "--remote", "--offline")


def test_nothing_cached_is_no_clean_bill(shell: Shell) -> None:
    done = shell.run("audit", "BTCUSDT", *DAY)
    assert "nothing to audit" in done.stderr.decode()
    assert done.stdout.decode().startswith("0 cached days audited")
