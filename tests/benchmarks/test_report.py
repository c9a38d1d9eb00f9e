"""The committed results of the benchmarks: RESULTS.md, results.json, the goals and the plots agree."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.goals import GOALS
from benchmarks.report import HERE, markdown
from benchmarks.results import RESULTS_FILE, RunResult

if TYPE_CHECKING:
    from pathlib import Path


def test_results_md_is_what_the_report_writes_from_results_json() -> None:
    assert markdown(RunResult.load(HERE)) == (HERE / "RESULTS.md").read_text()


def test_results_json_is_unchanged_by_loading_and_saving_it(tmp_path: Path) -> None:
    RunResult.load(HERE).save(tmp_path)

    assert (tmp_path / RESULTS_FILE).read_text() == (HERE / RESULTS_FILE).read_text()


def test_every_goal_has_a_committed_result_under_its_name_and_title() -> None:
    results = [(result.name, result.title) for result in RunResult.load(HERE).goals]

    assert results == [(goal.name, goal.title) for goal in GOALS.values()]


def test_the_committed_plots_are_the_ones_that_results_md_shows() -> None:
    shown = re.findall(r"\((plots/[^)]+)\)", (HERE / "RESULTS.md").read_text())

    assert sorted(shown) == sorted(path.relative_to(HERE).as_posix() for path in (HERE / "plots").iterdir())
