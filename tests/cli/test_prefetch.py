"""`ckvd sql`: which days are fetched before a statement runs, and the progress of that."""

from __future__ import annotations

import pytest

from ckvd_sql.cli.sqltext import find_queries
from ckvd_sql.market.parse import parse_time
from tests.support.shell import NOW, PATIENCE, WEEK, Shell, on_terminal


def found(statement: str) -> list[tuple[tuple[str, ...], str, str]]:
    queries = find_queries(statement, parse_time(NOW, "now"))
    return [(query.symbols, query.interval.name, query.market.value) for query in queries]


BTC = (("BTCUSDT",), "1h", "spot")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (f"SELECT * FROM {WEEK}", [BTC]),
        ("FROM CKVD_KLINES('BTCUSDT', '1h', DATE '2024-06-08', TIMESTAMP '2024-06-09 12:00')", [BTC]),
        ("FROM ckvd_klines('BTCUSDT', '1h', now() - INTERVAL 3000 DAY)", [BTC]),
        (
            "FROM ckvd_klines(['BTCUSDT', 'ETHUSDT'], '1d', '2024-06-08'::DATE, market := 'um')",
            [(("BTCUSDT", "ETHUSDT"), "1d", "um")],
        ),
        ("FROM ckvd_klines(symbol := 'BTCUSDT', interval => '1h', \"start\" := '2024-06-08')", [BTC]),
        (f"WITH a AS (FROM {WEEK}) SELECT * FROM a JOIN ckvd_gaps('BTCUSDT', '1h', '2024-06-08') ON true", [BTC, BTC]),
        (f"SELECT max(close) FROM {WEEK} a JOIN {WEEK} b ON a.open_time = b.open_time WHERE a.volume > 9", [BTC, BTC]),
        (f"CREATE TABLE t AS SELECT (SELECT count(*) FROM {WEEK})", [BTC]),
        (f"COPY (FROM {WEEK}) TO 'bars.csv'", [BTC]),
        (f"FROM {WEEK} LIMIT 5", []),
        (f"FROM {WEEK} WHERE open_time > '2024-06-10'", []),
        (f"SELECT source, count(*) FROM {WEEK} GROUP BY ALL", [BTC]),
        (f"CREATE VIEW v AS FROM {WEEK}", []),
        (f"EXPLAIN FROM {WEEK}", []),
        (f"DESCRIBE FROM {WEEK}", []),
        (f"SELECT 'FROM {WEEK.replace(chr(39), '')}' AS text", []),
        ("FROM ckvd_klines(getvariable('symbol'), '1h', '2024-06-08')", []),
        ("FROM ckvd_klines($1, '1h', '2024-06-08')", []),
        ("FROM ckvd_klines('BTC USDT', '1h', '2024-06-08')", []),
        ("FROM ckvd_klines('BTCUSDT')", []),
        ("FROM ckvd_klines('BTCUSDT', '1h', ", []),
    ],
)
def test_only_calls_that_read_every_day_are_fetched_in_advance(
    statement: str, expected: list[tuple[tuple[str, ...], str, str]]
) -> None:
    assert found(statement) == expected


def test_missing_days_of_a_statement_are_fetched_before_it_runs(shell: Shell) -> None:
    sources = f"SELECT DISTINCT b.source FROM (SELECT source FROM {WEEK}) b ORDER BY ALL"
    assert shell.out("sql", f"SELECT count(*) AS n FROM {WEEK}; {sources}", "-f", "csv") == "source\nrest\nvision\n"


def test_a_limit_fetches_only_what_it_needs(shell: Shell) -> None:
    shell.out("sql", "FROM ckvd_klines('BTCUSDT', '1h', '2023-01-01') LIMIT 1")
    assert len(shell.cached()) < 200


def test_progress_is_shown_on_a_terminal_but_not_in_a_pipe(shell: Shell) -> None:
    status, shown = on_terminal(shell, "sql", f"SELECT count(*) AS n FROM {WEEK}")
    assert status == 0
    assert "BTCUSDT" in shown
    assert "7/7" in shown
    with shell.start("sql", "FROM ckvd_klines('ETHUSDT', '1h', '2024-06-08')") as process:
        assert process.communicate(timeout=PATIENCE)[1] == b""
