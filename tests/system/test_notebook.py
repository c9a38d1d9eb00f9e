"""A notebook in a real Jupyter kernel, with and without ipywidgets."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient

from ckvd_sql.sandbox import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from ckvd_sql.sandbox import Sandbox

#: Makes `import ipywidgets` fail, as where it is not installed.
WITHOUT_WIDGETS = "import sys; sys.modules['ipywidgets'] = None"
CONNECT = "import ckvd_sql; con = ckvd_sql.connect(**{settings})"
QUERY = "con.sql(\"SELECT count(*) AS bars FROM ckvd_klines('BTCUSDT', '1h', '2024-06-01', '2024-06-03')\")"


@pytest.fixture(autouse=True)
def _own_jupyter_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", os.getcwd())  # noqa: PTH109 (an environment variable is text)


def run(cells: list[str], settings: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The outputs of each cell."""
    given = json.loads(json.dumps(settings, default=str))
    sources = [cell.replace("{settings}", repr(given)) for cell in cells]
    new_cell, new_notebook = nbformat.v4.new_code_cell, nbformat.v4.new_notebook
    notebook = new_notebook(cells=[new_cell(source) for source in sources])  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    return [list(cell.outputs) for cell in notebook.cells]


@pytest.mark.parametrize("first", [WITHOUT_WIDGETS, "import ipywidgets"], ids=["without ipywidgets", "with ipywidgets"])
def test_a_query_in_a_notebook_shows_its_table_and_nothing_else(first: str, settings: dict[str, Any]) -> None:
    prepared, connected, queried, again = run([first, CONNECT, QUERY, f"con.cursor().sql({QUERY[8:]}"], settings)
    assert prepared == connected == []
    for outputs in (queried, again):
        assert [one["output_type"] for one in outputs] == ["execute_result"]
        assert "48" in outputs[0]["data"]["text/plain"]


def test_a_query_that_fetches_for_long_shows_a_line_that_is_replaced(
    settings: dict[str, Any], exchange: Sandbox
) -> None:
    exchange.add(Fault(r"\.zip$", "latency", seconds=0.7))
    query = "con.sql(\"SELECT count(*) FROM ckvd_klines('BTCUSDT', '1m', '2024-06-01', '2024-06-09')\").fetchall()"
    _, (line, result) = run([CONNECT, query], {**settings, "timeout": 20, "concurrency": 4})
    assert line["output_type"] == "display_data"
    assert line["data"]["text/plain"].startswith("fetched 8 of 8 days, 16 files, ")
    assert result["data"]["text/plain"] == "[(11520,)]"
