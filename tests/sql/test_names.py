"""The SQL names are in no database of the user's, and never hide a table or view of the user's."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import ckvd_sql
from tests.support.bars import read
from tests.support.processes import run_program

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Truth

SPAN = ("BTCUSDT", "1h", "2024-06-03", "2024-06-04")
CALL = f"ckvd_klines{SPAN}"
VIEWS = ["ckvd_cache", "ckvd_cache_days"]

#: Objects of the user's as statements, and what they are called in an error.
USERS = {"CREATE TABLE {0} AS SELECT 1 AS a": "table", "CREATE VIEW {0} AS SELECT 1 AS a": "view"}

#: What the names looked like in a database of an earlier version.
LEFT = """
    CREATE MACRO ckvd_symbols(market := 'spot') AS TABLE FROM query(__ckvd_bind_1('ckvd_symbols', market));
    CREATE VIEW ckvd_cache AS FROM query(__ckvd_bind_1('ckvd_cache', '{}'));
    CREATE VIEW ckvd_cache_days AS FROM query(__ckvd_bind_1('ckvd_cache_days', '{}'))
"""

#: Programs of plain DuckDB.
IMPORT = """
import duckdb, json, sys
con = duckdb.connect()
con.execute(f"IMPORT DATABASE '{json.loads(sys.argv[1])['folder']}'")
counted = con.execute("SELECT count(*), twice(4) FROM closes").fetchall()
print(json.dumps([counted, con.execute("SHOW TABLES").fetchall()]))
"""
OPEN = """
import duckdb, json, sys
duckdb.connect(json.loads(sys.argv[1])["path"])
print(json.dumps("it is not locked"))
"""


@pytest.fixture(params=["memory", "file"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == "memory" else str(tmp_path / "user.duckdb")


def put_earlier_names(path: Path) -> None:
    with duckdb.connect(path) as con:
        con.create_function("__ckvd_bind_1", lambda _name, _given: "SELECT 1", ["VARCHAR", "VARCHAR"], "VARCHAR")
        con.execute(LEFT)
        con.remove_function("__ckvd_bind_1")


def test_plain_duckdb_imports_what_a_registered_database_exports(
    settings: dict[str, Any], database: str, tmp_path: Path
) -> None:
    with ckvd_sql.connect(database, **settings) as con:
        con.execute(f"CREATE TABLE mine AS FROM {CALL}; CREATE VIEW closes AS SELECT close FROM mine")
        con.execute("CREATE MACRO twice(a) AS 2 * a")
        con.cursor().execute(f"EXPORT DATABASE '{tmp_path / 'exported'}'")
    counted, tables = run_program(IMPORT, {"folder": str(tmp_path / "exported")})
    assert counted == [[24, 8]]
    assert tables == [["closes"], ["mine"]]


def test_plain_duckdb_reads_a_copy_of_a_registered_database(
    settings: dict[str, Any], database: str, tmp_path: Path
) -> None:
    with ckvd_sql.connect(database, **settings) as con:
        con.execute(f"CREATE TABLE mine AS FROM {CALL}")
        con.execute(f"ATTACH '{tmp_path / 'copy.duckdb'}' AS copied")
        con.execute(f"COPY FROM DATABASE {'memory' if database == ':memory:' else 'user'} TO copied")
    with duckdb.connect(tmp_path / "copy.duckdb") as plain:
        assert plain.sql("SHOW ALL TABLES").select("name").fetchall() == [("mine",)]
        assert plain.sql("SELECT count(*) FROM duckdb_functions() WHERE database_name = 'copy'").fetchall() == [(0,)]
        assert plain.sql("SELECT count(*) FROM mine").fetchall() == [(24,)]


def test_each_view_is_listed_once(settings: dict[str, Any], database: str) -> None:
    with ckvd_sql.connect(database, **settings) as con:
        ckvd_sql.register(con, **settings)
        for one in (con, con.cursor()):
            names = [
                one.sql("SHOW TABLES").fetchall(),
                one.sql("SELECT name FROM (SHOW ALL TABLES) ORDER BY ALL").fetchall(),
                one.sql("SELECT table_name FROM information_schema.tables ORDER BY ALL").fetchall(),
            ]
            assert names == [[(view,) for view in VIEWS]] * 3


@pytest.mark.parametrize("statement", USERS)
@pytest.mark.parametrize("name", [*VIEWS, "CKVD_Cache"])
def test_a_table_or_view_with_the_name_of_one_of_ours_is_refused(
    settings: dict[str, Any], tmp_path: Path, name: str, statement: str
) -> None:
    path = tmp_path / "user.duckdb"
    for con in (duckdb.connect(), duckdb.connect(path)):
        con.execute(statement.format(name))
        with pytest.raises(ckvd_sql.CkvdError, match=f"the {USERS[statement]} .*{name}.* rename it"):
            ckvd_sql.register(con, **settings)
        assert con.sql(f"FROM {name}").fetchall() == [(1,)]
        assert con.sql("SHOW TABLES").fetchall() == [(name,)]
        con.close()
    for read_only in (False, True):
        with pytest.raises(ckvd_sql.CkvdError, match=f"the {USERS[statement]} user.main..*{name}.* rename it"):
            ckvd_sql.connect(path, read_only=read_only, **settings)
    assert run_program(OPEN, {"path": str(path)}) == "it is not locked"


@pytest.mark.parametrize(
    "before",
    [
        "CREATE TEMP TABLE ckvd_cache (a INT)",
        "CREATE TEMP VIEW ckvd_cache AS SELECT 1 AS a",
        "CREATE SCHEMA own; CREATE TABLE own.ckvd_cache (a INT); USE own",
        "CREATE SCHEMA own; CREATE TABLE ckvd_cache (a INT); USE own",
        'CREATE SCHEMA "a ""b,c"; CREATE TABLE "a ""b,c".ckvd_cache (a INT); USE "a ""b,c"',
        "ATTACH ':memory:' AS other; CREATE TABLE other.ckvd_cache (a INT); USE other",
        "ATTACH ':memory:' AS other; CREATE TABLE other.ckvd_cache (a INT); SET search_path = 'main,other'",
        "ATTACH ':memory:' AS other; CREATE SCHEMA other.s; CREATE TABLE other.s.ckvd_cache (a INT); USE other.s",
    ],
)
def test_it_is_refused_anywhere_in_the_search_path(settings: dict[str, Any], before: str) -> None:
    con = duckdb.connect()
    con.execute(before)
    with pytest.raises(ckvd_sql.CkvdError, match=r"the (table|view) .*ckvd_cache has the name of a view of ckvd_sql"):
        ckvd_sql.register(con, **settings)
    con.close()


@pytest.mark.parametrize(
    "before",
    [
        "CREATE SCHEMA own; CREATE TABLE own.ckvd_cache (a INT)",
        "ATTACH ':memory:' AS other; CREATE TABLE other.ckvd_cache (a INT)",
        "CREATE TABLE ckvd_klines (a INT)",  # a function is not a table
    ],
)
def test_what_ours_does_not_hide_is_no_conflict(settings: dict[str, Any], before: str, truth: Truth) -> None:
    con = duckdb.connect()
    con.execute(before)
    ckvd_sql.register(con, **settings)
    assert con.sql("FROM ckvd_cache").fetchall() == []
    assert read(con, CALL) == truth(*SPAN)
    con.close()


@pytest.mark.parametrize("statement", USERS)
def test_one_that_is_created_later_is_not_mistaken_for_ours(
    settings: dict[str, Any], database: str, statement: str
) -> None:
    with ckvd_sql.connect(database, **settings) as con:
        cursor = con.cursor()
        con.execute(statement.format("ckvd_cache"))
        place = con.execute("SELECT current_database()").fetchall()[0][0]
        for one in (con, cursor, con.cursor()):
            with pytest.raises(duckdb.Error, match=f"CkvdError: the {USERS[statement]} {place}.main.ckvd_cache has"):
                one.sql("FROM ckvd_cache").fetchall()
            assert one.sql(f"FROM {place}.ckvd_cache").fetchall() == [(1,)]
            assert one.sql("FROM ckvd_cache_days").fetchall() == []
        con.execute(f"ALTER {USERS[statement]} {place}.main.ckvd_cache RENAME TO mine")
        assert con.sql("FROM ckvd_cache").fetchall() == []


def test_what_an_earlier_version_left_in_a_file_is_removed(
    settings: dict[str, Any], tmp_path: Path, truth: Truth
) -> None:
    path = tmp_path / "user.duckdb"
    put_earlier_names(path)
    for read_only in (True, False):
        with ckvd_sql.connect(path, read_only=read_only, **settings) as con:
            assert read(con, CALL) == truth(*SPAN)
            assert len(con.sql("FROM ckvd_cache_days").fetchall()) == 1
    with duckdb.connect(path) as plain:
        assert plain.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall() == []
        assert plain.sql("SELECT 1 FROM duckdb_functions() WHERE function_name LIKE '%ckvd%'").fetchall() == []


def test_cursors_have_the_names_wherever_they_come_from(
    settings: dict[str, Any], database: str, tmp_path: Path, truth: Truth
) -> None:
    with ckvd_sql.connect(database, **settings) as con:
        cursors = [con.cursor(), con.duplicate(), con.cursor().cursor(), con.execute("SELECT 1").cursor()]
        cursors[0].execute(f"ATTACH '{tmp_path / 'other.duckdb'}' AS other; USE other")
        for cursor in cursors:
            assert read(cursor, CALL) == truth(*SPAN)
            assert len(cursor.sql("FROM ckvd_cache_days").fetchall()) == 1
            assert len(cursor.sql("FROM ckvd_plan('BTCUSDT', '1h', '2024-06-03', '2024-06-04')").fetchall()) == 1


def test_cursors_follow_the_latest_registration_of_their_connection(
    settings: dict[str, Any], database: str, tmp_path: Path, truth: Truth
) -> None:
    with ckvd_sql.connect(database, **settings) as con:
        cursor = con.cursor()
        ckvd_sql.register(con, **{**settings, "cache_dir": tmp_path / "another"})
        assert read(cursor, CALL) == truth(*SPAN)
        assert list((tmp_path / "another").rglob("*.arrow"))
        own = ckvd_sql.register(con.cursor(), **settings)
        assert own.sql("FROM ckvd_cache_days").fetchall() == []
        assert len(con.sql("FROM ckvd_cache_days").fetchall()) == 1


def test_threads_make_cursors_while_the_connection_is_registered_again(
    settings: dict[str, Any], database: str, truth: Truth
) -> None:
    wrong: list[object] = []
    expected = truth(*SPAN)

    def work(con: duckdb.DuckDBPyConnection) -> None:
        try:
            for _ in range(10):
                with con.cursor() as cursor:
                    assert read(cursor, CALL) == expected
        except Exception as error:  # noqa: BLE001 (whatever it is)
            wrong.append(error)

    with ckvd_sql.connect(database, **settings) as con:
        threads = [threading.Thread(target=work, args=(con,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(10):
            ckvd_sql.register(con, **settings)
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_registration_that_was_rolled_back_can_be_repeated(settings: dict[str, Any], truth: Truth) -> None:
    con = duckdb.connect()
    con.execute("BEGIN")
    ckvd_sql.register(con, **settings)
    con.cursor().execute("SELECT 1")
    con.execute("ROLLBACK")
    ckvd_sql.register(con, **settings)
    assert read(con, CALL) == read(con.cursor(), CALL) == truth(*SPAN)
    con.close()
