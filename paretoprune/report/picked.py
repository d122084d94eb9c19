"""Prints a picked configuration, and which knobs moved the objectives."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from paretoprune.comparison.results import Summary
from paretoprune.comparison.selection import Pick
from paretoprune.report import words
from paretoprune.report.console import show
from paretoprune.report.sensitivity import MEANING, rows


def print_pick(console: Console, summary: Summary, chosen: Pick, file: Path) -> None:
    """Print the pick with its figures on both splits, and where it was written."""
    point = chosen.point
    noun = "configuration" if chosen.of == 1 else "configurations"
    told = f"Picked {words.plain(chosen.rule, 200)}, of {chosen.of} {noun}."
    show(console, Text(told, style="bold"))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("objective")
    table.add_column("search", justify="right")
    table.add_column("held-out", justify="right")
    for objective in summary.objectives:
        table.add_row(
            *map(
                Text,
                (
                    words.objective_title(objective),
                    words.figure_error(point.search, point.search_error, objective.name),
                    words.figure_error(point.heldout or {}, point.heldout_error, objective.name),
                ),
            )
        )
    show(console, table)
    if point.pruner is not None:
        show(console, Text(f"pruner {words.operator(point)}"))
    what = "keep, % per layer:" if point.keep is not None else "knobs:"
    show(console, Text(f"{what} {words.configuration(point)}"))
    if words.standing_apart(point):
        show(console, Text("Not separated from a cheaper configuration by sampling error."))
    found = f"found by {words.plain(point.label, 60)}, seed {point.seed}"
    show(console, Text(f"{found}; written to {words.plain(file, 400)}"))


def print_sensitivity(console: Console, summary: Summary) -> None:
    """Print which knobs move which objective in the space with the most evaluations."""
    if not summary.sensitivity:
        return
    most = max(summary.sensitivity, key=lambda one: one.evaluations)
    found = [one for one in summary.sensitivity if one.space == most.space]
    title = f"Which knobs matter: space {words.plain(most.space, 40)}, {most.evaluations} points"
    table = Table(
        title=Text(title), title_justify="left", title_style="bold",
        caption=Text(MEANING), caption_justify="left", caption_style="dim",
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0),
    )  # fmt: skip
    table.add_column("objective")
    table.add_column("knob", overflow="fold")
    table.add_column("importance", justify="right")
    for row in rows(found):
        table.add_row(*map(Text, row))
    console.print()
    show(console, table)
