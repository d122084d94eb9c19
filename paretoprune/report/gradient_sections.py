"""The HTML report's sections on gradient searches: the relaxation gap, curves, warnings."""

from __future__ import annotations

import html
from collections.abc import Collection

from paretoprune.comparison.gradients import Gradients, GradientStudy
from paretoprune.report import words
from paretoprune.report.blocks import Head, figure, section, table
from paretoprune.report.gap_table import explanation, gap_columns, gap_sentence, warnings_of
from paretoprune.report.gradient_plots import MOST_LINES, shown_studies

CURVES = {
    "loss": ("Loss", "Mean KL to the dense model over the steps of each round."),
    "constraint": (
        "Constraint",
        "Relative compute minus the budget, exact; 0 meets it, more is too dear. Cheap budgets are "
        "the hardest.",
    ),
    "multiplier": (
        "Multiplier",
        "How hard each constraint pushes; with a knot's own scale, about 1 is to be expected.",
    ),
    "kept": (
        "Kept tokens",
        "Mean keep ratio over the layers that the pruner can act at, per budget.",
    ),
}


def gradient_sections(found: Gradients | None, plotted: Collection[str]) -> list[str]:
    """Sections of one seed of each gradient strategy; nothing without one."""
    if found is None:
        return []
    gridded = found.reference is not None
    parts = []
    for number, study in enumerate(shown_studies(found)):
        parts += _gap(study, f"plot-gap-{number}", plotted, gridded=gridded)
        for name, (title, told) in CURVES.items():
            plot = f"plot-{name}-{number}"
            if plot in plotted:
                who = f"{words.plain(study.label)}, seed {study.seed}"
                knots = len(study.budgets)
                if name != "loss" and knots > MOST_LINES:
                    told += f" {MOST_LINES} of the {knots} budgets are drawn."
                alt = f"Line plot over search cost of {len(study.rounds)} rounds: {told}"
                parts.append(figure(f"{title} of {who}", plot, alt, told))
    warned = warnings_of(found.studies)
    if warned:
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in warned)
        parts.append(section("Warnings of the gradient searches", f"<ul>{lines}</ul>"))
    return parts


def _gap(study: GradientStudy, plot: str, plotted: Collection[str], *, gridded: bool) -> list[str]:
    if not study.points:
        return []
    title = f"Relaxation gap of {words.plain(study.label)}, seed {study.seed}"
    parts = []
    if plot in plotted:
        alt = (
            f"Scatter plot of {len(study.points)} configurations, each as the search saw it and as "
            "it is when really pruned, joined by a line. The table below has the numbers."
        )
        told = (
            "Open: the relaxed configuration, as the search saw it. Filled: the same, rounded and "
            "really pruned. A long line is a promise that was not kept."
        )
        parts.append(figure(title, plot, alt, told))
    columns = gap_columns(study, gridded=gridded)
    heads = [Head(n.strip(), kind="wide" if n.startswith("keep") else "number") for n in columns]
    rows = [[html.escape(cell) for cell in row] for row in zip(*columns.values(), strict=True)]
    told = "".join(
        f"<p>{html.escape(text)}</p>" for text in (gap_sentence(study), explanation(gridded))
    )
    parts.append(section(f"{title}: table", told + table(title, heads, rows)))
    return parts
