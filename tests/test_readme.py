"""README.md: its sessions print what the page shows."""

from __future__ import annotations

from tests.support.readme import README, render


def test_every_session_of_the_readme_prints_what_the_page_shows() -> None:
    page = README.read_text()
    assert render(page) == page
