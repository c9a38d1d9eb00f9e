"""README.md and docs/: their sessions print what they show, and every public name and command is described."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

import ckvd_sql
from ckvd_sql import CryptoKlineVisionData, Settings
from ckvd_sql.cli.main import main
from ckvd_sql.sql.registration import NAMES
from tests.support.readme import PAGES, render

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "\n".join(path.read_text() for path in PAGES)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_session_of_a_page_prints_what_the_page_shows(path: Path) -> None:
    page = path.read_text()
    assert render(page) == page


def test_the_readme_is_short() -> None:
    assert len(PAGES[0].read_text().splitlines()) < 260


def test_every_public_name_is_described() -> None:
    names = {
        *ckvd_sql.__all__,
        *(name for name in vars(CryptoKlineVisionData) if not name.startswith("_")),
        *(name for _, name, *_ in NAMES),
    }
    assert {name for name in names if not re.search(rf"\b{name}\b", TEXT)} == set()


def test_every_command_is_described() -> None:
    commands = {f"ckvd {name}" for name in main.commands}
    commands |= {f"ckvd cache {name}" for name in ("verify", "refresh", "clear")}
    assert {name for name in commands if name not in TEXT} == set()


def test_every_setting_is_described() -> None:
    names = [field.name for field in Settings.__attrs_attrs__]  # type: ignore[attr-defined]
    assert {name for name in names if f"`{name}` | `CKVD_{name.upper()}`" not in TEXT} == set()


def test_every_link_between_the_pages_leads_somewhere() -> None:
    for path in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
