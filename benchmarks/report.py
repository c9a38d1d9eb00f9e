"""RESULTS.md: the machine, the versions, the table of goals, and each goal's figures beside the command for them."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.plots import draw
from benchmarks.why import WHY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench
    from benchmarks.outcome import Check, Outcome

_HOW = (
    "Every figure of a section comes from the command at its head. Times are medians over turns in which all "
    "contenders did the same work; a ratio is the median over the turns of both times of one turn. A fresh process is "
    "one that has imported and connected but asked nothing yet. Absolute times say little about another machine."
)
_LOAD = (
    "Above that not every thread that wanted a core had one, and ratios of wall times are less certain; CPU times "
    "stand beside them."
)
_GOAL_HEAD = ["#", "goal", "limit", "measured", "met"]


def write(bench: Bench, outcomes: Sequence[Outcome], folder: Path) -> Path:
    """Write RESULTS.md, results.json and the plots into a folder; returns the first."""
    folder.mkdir(parents=True, exist_ok=True)
    for outcome in outcomes:
        for plot in outcome.plots:
            draw(plot, folder / "plots" / f"{plot.name}.svg")
    raw = {"machine": machine(), "versions": bench.versions, "outcomes": [one.as_dict() for one in outcomes]}
    (folder / "results.json").write_text(json.dumps(raw, indent=1) + "\n")
    path = folder / "RESULTS.md"
    path.write_text(text(bench, outcomes))
    return path


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    model = "unknown processor"
    memory = "unknown memory"
    for name, key in (("/proc/cpuinfo", "model name"), ("/proc/meminfo", "MemTotal")):
        file = Path(name)
        lines = file.read_text().splitlines() if file.is_file() else []
        found = next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)
        if key == "model name":
            model = found or platform.processor() or model
        elif found:
            memory = f"{int(found.split()[0]) / 2**20:.0f} GiB"
    return {
        "processor": model,
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": memory,
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
    }


def text(bench: Bench, outcomes: Sequence[Outcome]) -> str:
    """The report as Markdown."""
    command = "python -m benchmarks" + (" --quick" if bench.quick else "")
    busiest = max((max(outcome.load) for outcome in outcomes), default=0.0)
    parts = [
        "# Results",
        f"Made by `{command}`. {_HOW}",
        "\n".join(f"- {key}: {value}" for key, value in machine().items()),
        "Versions: " + ", ".join(f"{name} {number}" for name, number in sorted(bench.versions.items())) + ".",
        f"The machine's load average was {busiest:.1f} at most, on {machine()['cores']} cores. {_LOAD}",
        "## Goals",
        _table(_GOAL_HEAD, [_goal(one, check) for one in outcomes for check in one.checks]),
    ]
    if bench.absent:
        parts += ["## Absent", "\n".join(f"- {name}: {reason}" for name, reason in bench.absent.items())]
    for outcome in outcomes:
        parts += _section(outcome, command)
    return "\n\n".join(parts) + "\n"


def summary(outcome: Outcome) -> str:
    """A goal in a few lines of plain text."""
    load = f"{outcome.load[0]:.1f}-{outcome.load[1]:.1f}"
    lines = [f"{outcome.number}. {outcome.title}  [{outcome.seconds:.0f} s, load {load}]"]
    for row in outcome.rows:
        times = f"{row.times:8.2f} x" if row.times is not None else " " * 10
        lines.append(f"   {row.work:46} {row.contender:52} {row.value:10.2f} {row.unit:6} {times}  {row.extra}")
    lines += [f"   {_verdict(check)} {check.what}: {_figure(check)} (goal {_limit(check)})" for check in outcome.checks]
    return "\n".join(lines)


def _verdict(check: Check) -> str:
    return "met " if check.met else "MISS"


def _goal(outcome: Outcome, check: Check) -> list[str]:
    return [outcome.number, check.what, _limit(check), _figure(check), "yes" if check.met else "**no**"]


def _section(outcome: Outcome, command: str) -> list[str]:
    rows = [
        [
            row.work,
            row.contender,
            f"{_number(row.value)} {row.unit}",
            "" if row.times is None else f"{_number(row.times)} x",
            str(row.runs),
            row.extra,
        ]
        for row in outcome.rows
    ]
    parts = [
        f"## {outcome.number}. {outcome.title}",
        f"`{command} --only {outcome.number}` (load average {outcome.load[0]:.1f} before, {outcome.load[1]:.1f} after)",
        _table(["work", "contender", "median", "of the product's time", "runs", "more"], rows),
    ]
    parts += [f"![{plot.title}](plots/{plot.name}.svg)" for plot in outcome.plots]
    if outcome.number in WHY and not all(check.met for check in outcome.checks):
        parts.append(f"Why not: {WHY[outcome.number]}")
    return parts + outcome.notes


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _figure(check: Check) -> str:
    return f"{_number(check.measured)}{_unit(check)}"


def _limit(check: Check) -> str:
    return f"{'≤' if check.at_most else '≥'} {check.limit:g}{_unit(check)}"


def _unit(check: Check) -> str:
    return f" {check.unit}".replace("  ", " ")


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"  # noqa: PLR2004 (three digits)
