"""RESULTS.md, written from results.json alone: `python -m benchmarks.report [FOLDER]` writes it again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.goals import GOALS
from benchmarks.results import RunResult

if TYPE_CHECKING:
    from benchmarks.results import Check, GoalResult

#: The folder of the results that are committed.
HERE = Path(__file__).resolve().parent

_METHOD = (
    "Every figure of a section comes from the command at its head. Times are medians over turns in which all "
    "contenders did the same task; a ratio is the median of the ratios within each turn. A fresh process has imported "
    "and connected, but has run no query yet. Absolute times say little about another machine."
)
_LOAD = (
    "Where the load exceeds the number of cores, some threads had to wait for one and ratios of wall times are less "
    "certain; CPU times are given beside them."
)
#: The goals whose measurements open the report, with what they are about in a user's words.
_COMPARED = {
    "warm-long-range": "two years of 1m, cached",
    "many-symbols": "100 symbols, three years of 1d, cached",
    "cold-fetch": "days that are not cached yet",
}
_GOAL_HEAD = ["goal", "quantity", "limit", "measured", "met"]
_MEASUREMENT_HEAD = ["task", "contender", "median", "relative to ckvd_sql's time", "runs", "details"]


def write(run: RunResult, folder: Path) -> Path:
    """Write RESULTS.md into a folder; returns its path."""
    path = folder / "RESULTS.md"
    path.write_text(markdown(run))
    return path


def markdown(run: RunResult) -> str:
    """The report as Markdown."""
    command = "python -m benchmarks" + (" --quick" if run.quick else "")
    load = max((max(result.load_before, result.load_after) for result in run.goals), default=0.0)
    parts = [
        "# Results",
        f"Made by `{command}`. {_METHOD}",
        "\n".join(f"- {key}: {value}" for key, value in run.machine.items()),
        "Versions: " + ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items())) + ".",
        f"The load average was {load:.1f} at most, on {run.machine['cores']} cores. {_LOAD}",
    ]
    if compared := _comparisons(run):
        parts += ["## In short", compared]
    parts += [
        "## Goals",
        "Limits that the project has set itself, met or not.",
        _table(_GOAL_HEAD, [_check_row(result, check) for result in run.goals for check in result.checks]),
    ]
    if run.absent:
        parts += ["## Absent contenders", "\n".join(f"- {name}: {reason}" for name, reason in run.absent.items())]
    for result in run.goals:
        parts += _section(result, command)
    return "\n\n".join(parts) + "\n"


def summary(result: GoalResult) -> str:
    """A goal's result in a few lines of plain text."""
    load = f"{result.load_before:.1f}-{result.load_after:.1f}"
    lines = [f"{result.name}: {result.title}: {result.setup}  [{result.seconds:.0f} s, load {load}]"]
    for one in result.measurements:
        relative = f"{one.relative:8.2f} x" if one.relative is not None else " " * 10
        lines.append(f"   {one.task:54} {one.contender:52} {one.value:10.2f} {one.unit:6} {relative}  {one.details}")
    for check in result.checks:
        met = "met " if check.met else "MISS"
        lines.append(f"   {met} {check.quantity}: {_measured(check)} (goal {_limit(check)})")
    return "\n".join(lines)


def _comparisons(run: RunResult) -> str:
    """What a user asks first: each of the tasks that compare contenders, with the time of every one."""
    lines = []
    for result in run.goals:
        if result.name in _COMPARED:
            for task in dict.fromkeys(one.task for one in result.measurements):
                of_task = [one for one in result.measurements if one.task == task]
                times = "; ".join(f"{one.contender} {_number(one.value)} {one.unit}" for one in of_task)
                lines.append(f"- {_COMPARED[result.name]}, {task}: {times}")
    return "\n".join(lines)


def _check_row(result: GoalResult, check: Check) -> list[str]:
    return [result.name, check.quantity, _limit(check), _measured(check), "yes" if check.met else "**no**"]


def _section(result: GoalResult, command: str) -> list[str]:
    rows = [
        [
            one.task,
            one.contender,
            f"{_number(one.value)} {one.unit}",
            "" if one.relative is None else f"{_number(one.relative)} x",
            str(one.runs),
            one.details,
        ]
        for one in result.measurements
    ]
    load = f"load average {result.load_before:.1f} before, {result.load_after:.1f} after"
    parts = [
        f"## {result.name}: {result.title}",
        f"{result.setup[:1].upper()}{result.setup[1:]}. `{command} --only {result.name}` ({load})",
        _table(_MEASUREMENT_HEAD, rows),
    ]
    parts += [f"![{plot.title}](plots/{plot.name}.svg)" for plot in result.plots]
    reason = GOALS[result.name].reason_for_miss
    if reason and not all(check.met for check in result.checks):
        parts.append(f"Reason for the miss: {reason}")
    return parts + result.notes


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _measured(check: Check) -> str:
    return f"{_number(check.measured)} {check.unit}"


def _limit(check: Check) -> str:
    return f"{'≤' if check.at_most else '≥'} {check.limit:g} {check.unit}"


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"  # noqa: PLR2004 (three digits)


def main() -> None:
    """Write RESULTS.md of a folder, by default the committed one, from its results.json."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else HERE
    print(f"wrote {write(RunResult.load(folder), folder)}")


if __name__ == "__main__":
    main()
