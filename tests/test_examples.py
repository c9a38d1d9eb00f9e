"""The queries in sql_examples: each runs unchanged and matches its snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ckvd_sql
from ckvd_sql.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection, DuckDBPyRelation
    from syrupy.assertion import SnapshotAssertion

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = {path.stem: path for path in sorted((ROOT / "sql_examples").glob("*.sql"))}


@pytest.fixture(scope="module")
def exchange() -> Iterator[Sandbox]:
    with Sandbox(now="2024-06-15T12:00:00") as exchange:
        yield exchange


@pytest.fixture(scope="module")
def con(exchange: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBPyConnection]:
    """A connection on a cache that running all examples in order has filled."""
    settings: dict[str, Any] = {"cache_dir": tmp_path_factory.mktemp("cache"), **exchange.settings}
    with ckvd_sql.connect(**settings) as con:
        con.execute("SET TimeZone = 'UTC'")
        for path in EXAMPLES.values():
            con.sql(path.read_text()).fetchall()
        yield con


def rendered(relation: DuckDBPyRelation) -> str:
    """A result as an aligned table: names, types and rows."""
    values = relation.project("COLUMNS(*)::VARCHAR").fetchall()
    table = [relation.columns, [str(kind) for kind in relation.types], *values]
    cells = [["NULL" if value is None else value for value in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (" | ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
    return "\n".join(lines)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_result_of_an_example_matches_its_snapshot(
    name: str, con: DuckDBPyConnection, snapshot: SnapshotAssertion
) -> None:
    assert rendered(con.sql(EXAMPLES[name].read_text())) == snapshot


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_gives_the_same_result_in_every_time_zone(name: str, con: DuckDBPyConnection) -> None:
    answers = []
    for zone in ("UTC", "America/St_Johns", "Asia/Tokyo"):
        with con.cursor() as session:
            session.execute(f"SET TimeZone = '{zone}'")
            answers.append(session.sql(EXAMPLES[name].read_text()).fetchall())
    assert answers[0]
    assert answers[1] == answers[0]
    assert answers[2] == answers[0]


def test_examples_that_run_again_send_no_request(con: DuckDBPyConnection, exchange: Sandbox) -> None:
    exchange.forget()
    for path in EXAMPLES.values():
        assert con.sql(path.read_text()).fetchall()
    assert exchange.requests == ()


def test_there_are_ten_examples_numbered_in_order() -> None:
    assert [name.partition("_")[0] for name in EXAMPLES] == [f"{number:02d}" for number in range(1, 11)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_begins_with_the_question_that_it_answers(name: str) -> None:
    first, second, *_ = EXAMPLES[name].read_text().splitlines()
    assert first.startswith("-- ")
    assert first.endswith("?")
    assert second.startswith("-- ")


def test_the_readme_links_to_the_examples() -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("there is no README.md")
    assert "sql_examples" in readme.read_text()
