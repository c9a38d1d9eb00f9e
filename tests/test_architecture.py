"""The layout that ARCHITECTURE.md describes is the layout of the package."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ckvd_sql"
PAGE = (ROOT / "ARCHITECTURE.md").read_text()

MODULES = sorted(PACKAGE.rglob("*.py"))

#: `| 5 | `fetch` | … |`: the row and its entries.
ROWS = {
    entry: int(row)
    for row, entries in re.findall(r"^\| (\d+) \| ([^|]+) \|", PAGE, re.MULTILINE)
    for entry in re.findall(r"`(\w+)`", entries)
}


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def entry_of(module: str) -> str:
    """The entry of the table that a module belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(path: Path) -> set[str]:
    """The modules of the package that a module's import lines name, wherever they stand."""
    known = {dotted(one) for one in MODULES}
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in known else str(node.module))
    return {name for name in found if name == "ckvd_sql" or name.startswith("ckvd_sql.")}


def test_the_table_names_every_folder_and_module_at_the_top_of_the_package() -> None:
    top = {entry_of(dotted(path)) for path in MODULES}
    assert top == ROWS.keys()
    assert len(set(ROWS.values())) <= 10


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_module_imports_only_from_rows_below_its_own(path: Path) -> None:
    own = entry_of(dotted(path))
    others = {name for name in imports(path) if entry_of(name) != own}
    assert {name for name in others if ROWS[entry_of(name)] >= ROWS[own]} == set()


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {dotted(path): imports(path) - {dotted(path)} for path in MODULES}
    assert list(TopologicalSorter(graph).static_order())


def test_the_sandbox_imports_nothing_of_the_package_but_market_and_errors() -> None:
    found = {entry_of(name) for path in (PACKAGE / "sandbox").glob("*.py") for name in imports(path)}
    assert found == {"sandbox", "market", "errors"}


def test_every_module_of_the_inner_folders_is_described() -> None:
    described = re.findall(r"^\| `(\w+/\w+\.py)` \|", PAGE, re.MULTILINE)
    folders = {"market", "disk", "sources", "cache", "lake", "fetch", "scan", "tables", "sql", "charts"}
    there = {str(path.relative_to(PACKAGE)) for path in MODULES if path.parent.name in folders}
    assert sorted(described) == sorted(there - {f"{folder}/__init__.py" for folder in folders})


def test_every_file_that_the_page_names_exists() -> None:
    folders = (ROOT, PACKAGE, ROOT / "tests")
    named = set(re.findall(r"`([\w/]+\.py)`", PAGE))
    assert {name for name in named if not any((folder / name).exists() for folder in folders)} == set()


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"\| `([\w/]+\.py)` \| `(test_\w+)` \|", PAGE)
    assert len(named) == PAGE.count("| `test_")
    assert {test for file, test in named if f"def {test}(" not in (ROOT / "tests" / file).read_text()} == set()


@pytest.mark.parametrize(("folder", "most"), [("ckvd_sql", 350), ("tests", 400), ("benchmarks", 350)])
def test_no_file_is_long(folder: str, most: int) -> None:
    files = [path for path in (ROOT / folder).rglob("*.py") if ".venvs" not in path.parts]
    lengths = {dotted(path): len(path.read_text().splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > most} == {}


def test_an_init_file_only_hands_names_on() -> None:
    allowed = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign)
    for path in PACKAGE.rglob("__init__.py"):
        for node in ast.parse(path.read_text()).body:
            version = isinstance(node, ast.FunctionDef) and node.name == "__getattr__"
            assert isinstance(node, allowed) or version, f"{path}:{node.lineno}"


def test_no_test_module_imports_another() -> None:
    found = defaultdict(list)
    for path in (ROOT / "tests").rglob("*.py"):
        for module in re.findall(r"\b(?:from|import) (tests(?:\.\w+)*\.test_\w+)", path.read_text()):
            found[str(path)].append(module)
    assert found == {}
