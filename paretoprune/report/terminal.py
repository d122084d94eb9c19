"""Terminal tables: the ranking, the best front, and what a single schedule scores."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from paretoprune.comparison.results import FRONT_NAME, SCHEDULES, SUMMARY_NAME, FrontPoint, Summary
from paretoprune.report import FIGURE_NAME, HTML_NAME, TABLE_NAME, presets, ranking, words
from paretoprune.report.budgets import budget_sentences
from paretoprune.report.console import show
from paretoprune.report.progress import SearchProgress, phase
from paretoprune.report.scored import print_scored

__all__ = [
    "SearchProgress",
    "front_table",
    "phase",
    "presets_table",
    "print_scored",
    "print_summary",
    "print_written",
    "ranking_table",
]

WIDTH = 80
GAP = 2
LEAST_LABEL = 10
LEAST_CONFIGURATION = 24
MOST_POINTS = 12


def ranking_table(summary: Summary, width: int = WIDTH) -> Table:
    """One line per strategy, from best to worst, in `width` columns.

    Columns that do not fit are left out, the least important first; a long label is broken behind
    a sign such as its colon, a number never.
    """
    rows = summary.standings
    cells = {column: column.cells(rows) for column in ranking.ORDER}
    widths = {c: max(map(cell_len, [c.head, *texts])) for c, texts in cells.items()}
    pieces = [part for label in cells[ranking.STRATEGY] for part in _pieces(label)]
    least = max(map(cell_len, [ranking.STRATEGY.head, *pieces]))

    def left(shown: Collection[ranking.Column]) -> int:
        """Characters left for labels beside the other columns."""
        return width - sum(widths[c] + GAP for c in shown if c is not ranking.STRATEGY)

    shown = ranking.fitting(summary, lambda chosen: left(chosen) >= least)
    label_width = min(widths[ranking.STRATEGY], max(LEAST_LABEL, left(shown)))
    table = new_table("Ranking", ranking.caption(summary, shown))
    for column in shown:
        if column is ranking.STRATEGY:
            cells[column] = [_broken(label, label_width) for label in cells[column]]
            table.add_column(column.head, width=label_width, overflow="fold")
        else:
            side: JustifyMethod = "right" if column.numeric else "left"
            table.add_column(column.head, justify=side, no_wrap=True)
    for place, row in enumerate(rows):
        texts = [Text(cells[column][place]) for column in shown]
        table.add_row(*texts, style="bold" if row.rank == 1 else None)
    return table


def front_table(summary: Summary, most: int = MOST_POINTS, width: int = WIDTH) -> Table:
    """The best strategy's front, cheapest point first; `most` points of a larger one, evenly.

    Where `width` columns are too few for the configurations, standard errors are left out.
    """
    points = summary.front_of_best()
    shown = _spread(points, most)
    scheduled = any(point.keep is not None for point in shown)
    several = words.has_operators(summary.front)
    last = "keep" if scheduled else "knobs"
    figures = _figures(summary, shown, errors=True)
    errors = any("±" in text for column in figures.values() for text in column)
    if errors and _width(figures) + LEAST_CONFIGURATION > width:
        figures, errors = _figures(summary, shown, errors=False), False
    title = "Best front"
    if points:
        title += f": {words.plain(points[0].label, 60)}, seed {points[0].seed}"
    caption = ["± is the standard error."] if errors else []
    if any(words.standing_apart(point) for point in shown):
        caption.append(f"{words.LEVEL}: not separated from cheaper points.")
    if scheduled:
        caption.append("Keep: percent of visual tokens per decoder layer.")
    if len(shown) < len(points):
        caption.append(f"{len(shown)} of {len(points)} points; front.csv has all.")
    table = new_table(title, " ".join(caption))
    for head in figures:
        table.add_column(head, justify="right", no_wrap=True)
    if several:
        table.add_column("pruner", overflow="fold")
    table.add_column(last, overflow="fold")
    for place, point in enumerate(shown):
        cells = [column[place] for column in figures.values()]
        if several:
            cells.append(words.operator(point))
        table.add_row(*map(Text, [*cells, words.configuration(point)]))
    return table


def presets_table(summary: Summary) -> Table:
    """Published presets beside the found front, cheapest first."""
    table = new_table("Published presets", presets.caption(summary))
    table.add_column("preset", overflow="fold")
    for head in presets.heads(summary):
        table.add_column(head, justify="right", no_wrap=True)
    for point in summary.presets:
        name = "\n".join(presets.names(point))
        table.add_row(*map(Text, [name, *presets.cells(point, summary)]))
    return table


def _figures(
    summary: Summary, points: Sequence[FrontPoint], *, errors: bool
) -> dict[str, list[str]]:
    """Columns by head: the objectives, and the first maximised one on held-out data."""
    found: dict[str, list[str]] = {}
    marks = [words.standing_apart(p) for p in points]
    for objective in summary.objectives:
        told = [
            words.figure_error(p.search, p.search_error if errors else {}, objective.name)
            for p in points
        ]
        if objective.direction == "max" and any(marks):
            told = [f"{text} {mark or ' '}" for text, mark in zip(told, marks, strict=True)]
        found[words.plain(objective.name, 20)] = told
    if any("measured_latency_ms" in p.metrics for p in points):
        found["measured ms"] = [words.number(p.metrics.get("measured_latency_ms")) for p in points]
    top = next((o for o in summary.objectives if o.direction == "max"), None)
    if top is not None and any(point.heldout is not None for point in points):
        found["held-out"] = [
            words.figure_error(p.heldout or {}, p.heldout_error if errors else {}, top.name)
            for p in points
        ]
    return found


def _width(columns: dict[str, list[str]]) -> int:
    return sum(GAP + max(map(cell_len, [head, *cells])) for head, cells in columns.items())


def print_summary(console: Console, summary: Summary) -> None:
    """Print the ranking, the best front and the finding."""
    console.print()
    if summary.interrupted:
        count = len(summary.studies)
        noun = "study" if count == 1 else "studies"
        told = f"Interrupted: this covers {count} {noun}, the last one perhaps in part."
        show(console, Text(told, style="bold"))
    if summary.standings:
        show(console, ranking_table(summary, console.width))
        console.print()
    if summary.front_of_best():
        show(console, front_table(summary, width=console.width))
        console.print()
    if summary.presets:
        show(console, presets_table(summary))
        console.print()
    show(console, Text(words.finding(summary), style="bold"))
    if summary.presets:
        show(console, Text(presets.finding(summary)))
    for told in budget_sentences(summary):
        show(console, Text(told))
    for note in summary.notes:
        show(console, Text(words.plain(note, 400)))


def print_written(console: Console, folder: Path) -> None:
    """Print where everything was written."""
    parts = (
        HTML_NAME, FIGURE_NAME, TABLE_NAME, SUMMARY_NAME, FRONT_NAME, f"{SCHEDULES}/", "study.db",
        "log.json",
    )  # fmt: skip
    names = ", ".join(name for name in parts if (folder / name).exists())
    show(console, Text(f"In {words.plain(folder, 400)}: {names}"))


def new_table(title: str, caption: str) -> Table:
    """An empty table in the style of all of them."""
    return Table(
        title=Text(title),
        title_justify="left",
        title_style="bold",
        caption=Text(caption),
        caption_justify="left",
        caption_style="dim",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, GAP - 1, 0, 0),
        header_style="bold",
    )


def _pieces(label: str) -> list[str]:
    """Parts of a label that stay on one line: it may be broken behind `:`, `,` and `=`."""
    return [part for part in re.split(r"(?<=[:,=])", label) if part]


def _broken(label: str, width: int) -> str:
    """A label on as many lines of `width` as it needs."""
    lines = [""]
    for part in _pieces(label):
        if lines[-1] and cell_len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _spread(points: Sequence[FrontPoint], most: int) -> list[FrontPoint]:
    """At most `most` points, evenly by number, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[i] for i in np.linspace(0, len(points) - 1, most).round().astype(int)]
