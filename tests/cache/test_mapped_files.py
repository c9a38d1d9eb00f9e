"""Memory-mapped day files that are replaced or deleted while a query reads them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pyarrow as pa

from ckvd_sql import CryptoKlineVisionData
from ckvd_sql.market.bars import BAR_SCHEMA
from ckvd_sql.market.periods import days_between
from tests.support.cache_state import FIRST, LAST, MINUTES, expected_day, sandbox_settings
from tests.support.processes import run_program

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox

#: Reads mapped minutes repeatedly while another thread replaces, sets aside and deletes their files.
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
disturber = threading.Thread(target=disturb)
disturber.start()
counts = []
for _ in range(given["times"]):
    reader = con.sql("SELECT * FROM " + given["call"]).to_arrow_reader(2048)
    counts.append(sum(batch.num_rows for batch in reader))
done.set()
disturber.join()
print(json.dumps(counts))
"""


class TestMappedDayFile:
    def test_may_be_replaced_or_deleted_while_a_query_reads_it(self, exchange: Sandbox, tmp_path: Path) -> None:
        call = "ckvd_klines('BTCUSDT', '1m', '2024-01-01', '2024-02-01')"
        CryptoKlineVisionData(cache_dir=tmp_path, **sandbox_settings(exchange)).klines(
            "BTCUSDT", "2024-01-01", "2024-02-01", "1m"
        )
        given = {"settings": sandbox_settings(exchange), "cache": str(tmp_path), "call": call, "times": 4}
        assert run_program(DISTURBED, given) == [31 * 1440] * 4

    def test_keeps_its_rows_after_the_file_is_deleted(self, exchange: Sandbox, cache: Path) -> None:
        data = CryptoKlineVisionData(cache_dir=cache, **sandbox_settings(exchange))
        table = data.klines("BTCUSDT", "2024-01-01", "2024-01-06", "1m")
        shutil.rmtree(cache)
        days = [expected_day(MINUTES, day) for day in days_between(FIRST, LAST)]
        assert table.select(BAR_SCHEMA.names).equals(pa.Table.from_batches(days))
