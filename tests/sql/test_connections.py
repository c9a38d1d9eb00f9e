"""Connections: in memory, files, read-only, cursors and the default one, and what they leave behind."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import ckvd_sql
from tests.support.bars import read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import Truth

SPAN = ("BTCUSDT", "1h", "2024-06-03", "2024-06-04")
CALL = f"ckvd_klines{SPAN}"
OUR_FUNCTIONS = "SELECT function_name FROM duckdb_functions() WHERE function_name LIKE '%ckvd%'"


@pytest.fixture
def database(tmp_path: Path) -> str:
    return str(tmp_path / "user.duckdb")


@pytest.fixture
def default_connection() -> Iterator[None]:
    duckdb.set_default_connection(duckdb.connect())
    yield
    duckdb.default_connection().close()
    duckdb.set_default_connection(duckdb.connect())


def run_in_process(code: str, **values: Any) -> subprocess.CompletedProcess[str]:
    """Run code in another process, with the values as `given`."""
    given = json.dumps(values, default=str)
    program = f"import json, sys\ngiven = json.loads(sys.argv[1])\n{code}"
    return subprocess.run([sys.executable, "-c", program, given], capture_output=True, text=True, check=False)


def test_register_returns_the_connection_it_was_given(settings: dict[str, Any], truth: Truth) -> None:
    con = duckdb.connect()
    assert ckvd_sql.register(con, **settings) is con
    assert read(con, CALL) == truth(*SPAN)
    con.close()


def test_registering_again_is_harmless(settings: dict[str, Any], truth: Truth) -> None:
    con = duckdb.connect()
    for _ in range(5):
        ckvd_sql.register(con, **settings)
    names = {name for (name,) in con.sql(OUR_FUNCTIONS).fetchall()}
    assert len([name for name in names if name.startswith("__")]) == 1
    assert read(con, CALL) == truth(*SPAN)
    con.close()


@pytest.mark.usefixtures("default_connection")
def test_the_default_connection_needs_no_name(settings: dict[str, Any], truth: Truth) -> None:
    ckvd_sql.register(**settings)
    assert duckdb.execute(f"SELECT count(*) FROM {CALL}").fetchall() == [(len(truth(*SPAN)),)]
    ckvd_sql.register(**settings)
    assert duckdb.execute(f"SELECT count(*) FROM {CALL}").fetchall() == [(len(truth(*SPAN)),)]


def test_cursors_of_a_database_in_memory_see_the_names(settings: dict[str, Any], truth: Truth) -> None:
    con = ckvd_sql.connect(**settings)
    cursor = con.cursor()
    assert read(cursor, CALL) == read(cursor.cursor(), CALL) == truth(*SPAN)
    con.close()


def test_a_cursor_of_a_file_is_registered_for_itself(settings: dict[str, Any], database: str, truth: Truth) -> None:
    con = ckvd_sql.connect(database, **settings)
    cursor = ckvd_sql.register(con.cursor(), **settings)
    assert read(cursor, CALL) == read(con, CALL) == truth(*SPAN)
    cursor.close()
    con.close()


def test_closing_a_cursor_leaves_the_connection_registered(settings: dict[str, Any], truth: Truth) -> None:
    con = ckvd_sql.connect(**settings)
    cursor = ckvd_sql.register(con.cursor(), **settings)
    assert read(cursor, CALL) == truth(*SPAN)
    cursor.close()
    assert read(con, CALL) == truth(*SPAN)
    con.close()


@pytest.mark.parametrize("name", [":memory:", ":memory:shared", "file"])
def test_two_connections_can_share_one_database(
    settings: dict[str, Any], database: str, truth: Truth, name: str
) -> None:
    path = database if name == "file" else name
    one, two = (ckvd_sql.connect(path, **settings) for _ in range(2))
    assert read(one, CALL) == read(two, CALL) == truth(*SPAN)
    one.close()
    assert read(two, CALL) == truth(*SPAN)
    two.close()


def test_a_read_only_file_can_be_joined_with_klines(settings: dict[str, Any], database: str, truth: Truth) -> None:
    with duckdb.connect(database) as con:
        con.execute("CREATE TABLE mine AS SELECT TIMESTAMPTZ '2024-06-03 05:00:00+00' AS moment")
    con = ckvd_sql.connect(database, read_only=True, **settings)
    assert read(con, CALL) == truth(*SPAN)
    assert con.sql(f"SELECT count(*) FROM mine JOIN {CALL} ON moment = open_time").fetchall() == [(1,)]
    con.close()


def test_the_names_stay_when_another_database_or_schema_is_used(
    settings: dict[str, Any], database: str, truth: Truth
) -> None:
    con = ckvd_sql.connect(**settings)
    con.execute("CREATE SCHEMA own; USE own")
    assert read(con, CALL) == truth(*SPAN)
    con.execute(f"ATTACH '{database}' AS other; USE other")
    assert read(con, CALL) == truth(*SPAN)
    con.close()


def test_registering_works_within_a_transaction(settings: dict[str, Any], truth: Truth) -> None:
    con = duckdb.connect()
    con.execute("BEGIN")
    ckvd_sql.register(con, **settings)
    assert read(con, CALL) == truth(*SPAN)
    con.close()


def test_only_the_users_own_objects_stay_in_a_file(settings: dict[str, Any], database: str) -> None:
    con = ckvd_sql.connect(database, **settings)
    con.execute(f"CREATE TABLE mine AS FROM {CALL}")
    con.execute(f"CREATE VIEW bars AS FROM {CALL}")
    con.sql("FROM ckvd_cache").fetchall()
    con.close()
    plain = duckdb.connect(database)
    assert plain.sql(OUR_FUNCTIONS).fetchall() == []
    assert plain.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall() == [("bars",)]
    assert plain.sql("SELECT table_name FROM duckdb_tables()").fetchall() == [("mine",)]
    assert plain.sql("SELECT count(*) FROM mine").fetchall() == [(24,)]
    plain.close()


def test_a_view_in_a_file_reads_again_in_another_session(settings: dict[str, Any], database: str, truth: Truth) -> None:
    con = ckvd_sql.connect(database, **settings)
    con.execute(f"CREATE VIEW bars AS FROM {CALL}")
    con.close()
    for read_only in (False, True):
        con = ckvd_sql.connect(database, read_only=read_only, **settings)
        assert read(con, "bars") == truth(*SPAN)
        con.close()


def test_closing_the_connection_frees_the_file(settings: dict[str, Any], database: str, truth: Truth) -> None:
    con = ckvd_sql.connect(database, **settings)
    con.execute(f"CREATE VIEW bars AS FROM {CALL}")
    assert read(con, CALL) == truth(*SPAN)
    opening = "import duckdb\nduckdb.connect(given['path']).execute('CREATE OR REPLACE TABLE other (a INT)')"
    assert run_in_process(opening, path=database).returncode != 0
    con.close()
    ended = run_in_process(opening, path=database)
    assert ended.returncode == 0, ended.stderr


def test_a_bad_setting_leaves_no_file_behind(database: str, tmp_path: Path) -> None:
    with pytest.raises(ckvd_sql.SettingsError):
        ckvd_sql.connect(database, retries="many")
    assert list(tmp_path.iterdir()) == []


ENDINGS = {
    "a connection that stays open": "con = ckvd_sql.connect(**given)\ncon.sql(QUERY).fetchall()",
    "a connection that is closed": "con = ckvd_sql.connect(**given)\ncon.sql(QUERY).fetchall()\ncon.close()",
    "a context": "with ckvd_sql.connect(**given) as con:\n    con.sql(QUERY).fetchall()",
    "an open cursor": "con = ckvd_sql.connect(**given)\ncursor = con.cursor()\ncursor.execute(QUERY).fetchone()",
    "a registered cursor": "c = duckdb.connect().cursor()\nckvd_sql.register(c, **given).execute(QUERY).fetchone()",
    "a result half read": "con = ckvd_sql.connect(**given)\nresult = con.execute(QUERY)\nresult.fetchone()",
    "a relation unread": "con = ckvd_sql.connect(**given)\nrelation = con.sql(QUERY)",
    "a reader half read": "r = ckvd_sql.connect(**given).sql(QUERY).to_arrow_reader(10)\nr.read_next_batch()",
    "the default connection": "ckvd_sql.register(**given)\nduckdb.sql(QUERY).fetchall()",
    "a connection in a function": "def f():\n    ckvd_sql.connect(**given).sql(QUERY).fetchall()\nf()",
    "two connections": "a = ckvd_sql.connect(**given)\nb = ckvd_sql.connect(**given)\na.sql(QUERY).fetchall()",
    "registered twice": "con = ckvd_sql.connect(**given)\nckvd_sql.register(con, **given).sql(QUERY).fetchall()",
    "a Python client": "ckvd_sql.CryptoKlineVisionData(**given).get_data('BTCUSDT', '2024-06-03', '2024-06-05')",
    "a client's stream given up": (
        "con = ckvd_sql.connect(**given)\n"
        "con.execute(\"FROM ckvd_klines('BTCUSDT', '1h', '2023-01-01', '2024-06-01')\").fetchone()"
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_that_ends_without_cleanup_prints_nothing(
    settings: dict[str, Any], exchange: Sandbox, ending: str
) -> None:
    assert exchange.url
    head = f'import duckdb, ckvd_sql\nQUERY = "FROM {CALL}"\n'
    ended = run_in_process(head + ENDINGS[ending], **settings)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_interrupted_query_leaves_the_connection_usable(
    settings: dict[str, Any], exchange: Sandbox, truth: Truth
) -> None:
    assert exchange.url
    con = ckvd_sql.connect(**settings)
    timer = threading.Timer(0.3, con.interrupt)
    timer.start()
    with pytest.raises(duckdb.Error):
        con.sql("SELECT count(*) FROM ckvd_klines('BTCUSDT', '1m', '2020-01-01', '2024-06-01')").fetchall()
    timer.join()
    assert read(con, CALL) == truth(*SPAN)
    con.close()
