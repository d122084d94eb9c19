"""A picked configuration on the terminal, and which knobs move the objectives in every medium."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from paretoprune.comparison.results import Sensitivity, Summary
from paretoprune.comparison.selection import Pick
from paretoprune.report import display, glossary
from paretoprune.report.table import Column, Table, show

IMPORTANCE = (
    "Importance: loss of explained variance (R²) when the knob's values are shuffled, ± standard "
    "error over five folds; around 0, the knob does not matter where it was searched."
)
WEAK = 0.2
"""Below this R², the fit says too little for its importances to be read."""


def print_pick(console: Console, summary: Summary, chosen: Pick, file: Path) -> None:
    """Print the pick with its objectives on both splits, and where it was written."""
    point = chosen.point
    names = [objective.name for objective in summary.objectives]
    search = [display.with_error(point.search, point.search_error, name) for name in names]
    heldout = [display.with_error(point.heldout or {}, point.heldout_error, n) for n in names]
    objectives = Table(
        "Objectives",
        [
            Column("objective", [glossary.objective_title(o) for o in summary.objectives], "text"),
            Column("search", search),
            Column("held-out", heldout),
        ],
    )
    count = display.counted(chosen.of, "configuration")
    title = f"Picked {display.plain(chosen.rule, 200)}, of {count}."
    show(console, Text(title, style="bold"), objectives.rich(titled=False))
    if point.pruner is not None:
        show(console, f"pruner {display.operator(point)}")
    what = "keep, % per layer:" if point.keep is not None else "knobs:"
    show(console, f"{what} {display.configuration(point)}")
    if display.level_mark(point):
        show(console, "Not significantly better than a cheaper configuration.")
    source = f"found by {display.plain(point.label, 60)}, seed {point.seed}"
    show(console, f"{source}; written to {display.plain(file, 400)}")


def print_sensitivity(console: Console, summary: Summary) -> None:
    """Print which knobs move which objective in the space with the most evaluations."""
    spaces = sensitivity_by_space(summary)
    if not spaces:
        return
    space, most = max(spaces.items(), key=lambda item: item[1][0].evaluations)
    title = f"Which knobs matter: space {display.plain(space, 40)}, {most[0].evaluations} points"
    console.print()
    show(console, sensitivity_table(most, title).rich())


def sensitivity_by_space(summary: Summary) -> dict[str, list[Sensitivity]]:
    """The objectives of each space that has enough evaluations."""
    spaces: dict[str, list[Sensitivity]] = {}
    for entry in summary.sensitivity:
        spaces.setdefault(entry.space, []).append(entry)
    return spaces


def sensitivity_table(entries: Sequence[Sensitivity], title: str) -> Table:
    """A line per objective and knob, the most important knob first."""
    objectives, knobs, importances = [], [], []
    for entry in entries:
        weak = " (weak fit)" if entry.explained < WEAK else ""
        objective = f"{display.plain(entry.objective, 40)}, R² {entry.explained:.2f}{weak}"
        for place, knob in enumerate(sorted(entry.knobs, key=lambda k: -k.mean)):
            objectives.append(objective if not place else "")
            knobs.append(display.plain(knob.knob, 40))
            importances.append(f"{display.number(knob.mean)} ±{display.number(knob.error)}")
    columns = [
        Column("objective", objectives, "text"), Column("knob", knobs, "text"),
        Column("importance", importances),
    ]  # fmt: skip
    return Table(title, columns, IMPORTANCE)
