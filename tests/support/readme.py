"""Runs the sessions of README.md and of the pages in docs/ against the sandbox and writes their output under them.

`python -m tests.support.readme` (`make readme`) updates the pages; `test_readme` checks that they are up to date.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from ckvd_sql.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[2]

#: Each page has a home folder, a cache and Python names of its own.
PAGES = [_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^```(console|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def render(page: str) -> str:
    """The page with the current output of each session."""
    names: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as home,
        _exchange(home) as environment,
        mock.patch.dict(os.environ, environment),
        contextlib.chdir(home),
    ):

        def rerun(match: re.Match[str]) -> str:
            kind, session = match[1], match[2]
            shown = _console(session) if kind == "console" else _python(session, names)
            return f"```{kind}\n{shown.rstrip().replace(home, '~')}\n```"

        return _BLOCK.sub(rerun, page)


@contextlib.contextmanager
def _exchange(home: str) -> Iterator[dict[str, str]]:
    with Sandbox(now="2024-06-15T12:30:00") as exchange:
        settings = {f"CKVD_{name.upper()}": str(value) for name, value in exchange.settings.items()}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        yield settings | {"HOME": home, "PATH": path, "COLUMNS": "100"}


def _console(session: str) -> str:
    """A shell session: the lines that begin with `$ `, each followed by its output."""
    shown = []
    for command in re.findall(r"^\$ (.*)$", session, re.MULTILINE):
        ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
        shown.append(f"$ {command}\n{ran.stdout}{ran.stderr}")
    return "".join(shown)


def _python(session: str, names: dict[str, Any]) -> str:
    """A Python session; it shares its names with earlier sessions."""
    shown = []
    for example in doctest.DocTestParser().get_examples(session):
        first, *rest = example.source.splitlines()
        shown += [f">>> {first}\n", *(f"... {line}\n" for line in rest)]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(example.source, "page", "single"), names)  # noqa: S102 (our own page)
        shown.append(printed.getvalue())
    return "".join(shown)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(render(path.read_text()))
