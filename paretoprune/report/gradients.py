"""Gradient searches in tables, sentences and sections: relaxation gap, curves, warnings."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.text import Text

from paretoprune.comparison.gradients import GapPoint, Gradients, GradientStudy
from paretoprune.report import display
from paretoprune.report.display import MISSING, number
from paretoprune.report.gradient_plots import MAX_LINES, shown_studies
from paretoprune.report.page import Blocks, Listing, Plot, Section
from paretoprune.report.table import Column, Table, show

CURVES = {
    "loss": ("Loss", "Mean KL to the dense model over the steps of each round."),
    "constraint": (
        "Constraint",
        "Relative compute minus the budget, exact; 0 meets it, above 0 exceeds it. Small budgets "
        "are the hardest.",
    ),
    "multiplier": (
        "Multiplier",
        "Weight of each constraint, on a scale of its budget grid point: about 1 is expected.",
    ),
    "kept": (
        "Kept tokens",
        "Mean keep ratio over the layers that the pruner can act at, per budget.",
    ),
}
EXPLANATION = (
    "Soft: real-valued keep ratios under soft masks, as the search saw the configuration at its "
    "end. Hard: the same rounded to the lattice and really pruned. Both on the whole search split. "
    "Hard compute includes ranking the tokens, and a policy's own. Loss is the mean of "
    "1 - exp(-KL to dense). A policy's keep schedule is the mean over the samples."
)
GRID = (
    "To grid: distance in (score, compute) to the nearest point of the exhaustive front. Grid "
    "ahead: score of the best grid point that costs no more, minus this one's."
)


def gap_table(study: GradientStudy, *, gridded: bool) -> Table:
    """One row per returned configuration, cheapest first; heads of two lines fit 80 columns."""
    points = sorted(study.points, key=lambda point: point.hard.compute)

    def loss(point: GapPoint, which: str) -> str:
        values = point.soft if which == "soft" else point.hard
        return number(values.kl if study.loss == "kl" else values.lost)

    loss_name = "KL" if study.loss == "kl" else "loss"
    cells = {
        "score, soft": [number(point.soft.score) for point in points],
        "hard": [number(point.hard.score) for point in points],
        "compute, soft": [number(point.soft.compute) for point in points],
        "hard ": [number(point.hard.compute) for point in points],
        f"{loss_name}, soft": [loss(point, "soft") for point in points],
        "hard  ": [loss(point, "hard") for point in points],
    }
    if gridded:
        grids = [point.grid for point in points]
        cells["to grid"] = [number(grid.distance) if grid else MISSING for grid in grids]
        cells["grid ahead"] = [number(grid.ahead) if grid else MISSING for grid in grids]
    columns = [
        Column(title.strip(), values, head=title.strip().replace(" ", "\n"))
        for title, values in cells.items()
    ]
    schedules = [display.schedule(point.keep) for point in points]
    columns.append(Column("keep schedule", schedules, "wide", unit="%"))
    return Table(f"{display.plain(study.label)}, seed {study.seed}", columns)


def gap_sentence(study: GradientStudy) -> str:
    """Mean signed and absolute gap of a study, and its distance to the grid, in words."""
    points = study.points
    score = np.array([point.score_gap for point in points])
    compute = np.array([point.compute_gap for point in points])
    sentence = (
        f"{display.plain(study.label)}, seed {study.seed}: hard minus soft score "
        f"{score.mean():+.3f} on average (mean size {np.abs(score).mean():.3f}, largest "
        f"{np.abs(score).max():.3f}), compute {compute.mean():+.3f} "
        f"({np.abs(compute).mean():.3f}, {np.abs(compute).max():.3f})"
    )
    grids = [point.grid for point in points if point.grid is not None]
    if grids:
        distance = np.array([grid.distance for grid in grids])
        ahead = np.array([grid.ahead for grid in grids if grid.ahead is not None])
        sentence += f"; to the nearest grid point {distance.mean():.3f} ({distance.max():.3f})"
        if len(ahead):
            sentence += f"; at no more compute the grid leads by {ahead.mean():+.3f}"
    return f"{sentence}."


def explanation(gridded: bool) -> str:
    """Meaning of the columns."""
    return f"{EXPLANATION} {GRID}" if gridded else EXPLANATION


def print_gap(console: Console, gradients: Gradients, note: str = "") -> None:
    """Print the table of each study, its summary in a sentence, and the searches' warnings."""
    gridded = gradients.reference is not None
    for study in gradients.studies:
        if not study.points:
            continue
        show(console, gap_table(study, gridded=gridded).rich())
        show(console, Text(gap_sentence(study), style="bold"))
        console.print()
    show(console, explanation(gridded), *_warnings_of(gradients.studies))
    if note:
        show(console, note)


def _warnings_of(studies: Sequence[GradientStudy]) -> list[str]:
    """Warnings of all studies, each with the study it belongs to."""
    return [
        display.plain(f"{study.label}, seed {study.seed}: {cause}.", 500)
        for study in studies
        for cause in study.warnings
    ]


def gradient_sections(gradients: Gradients | None, plotted: Collection[str]) -> list[Section]:
    """Sections of one seed of each gradient strategy; nothing without one."""
    if gradients is None:
        return []
    gridded = gradients.reference is not None
    sections = []
    for place, study in enumerate(shown_studies(gradients)):
        if study.points:
            sections += _gap(study, f"plot-gap-{place}", plotted, gridded=gridded)
        for name, (title, caption) in CURVES.items():
            plot = f"plot-{name}-{place}"
            if plot not in plotted:
                continue
            budgets = len(study.budgets)
            if name != "loss" and budgets > MAX_LINES:
                caption += f" {MAX_LINES} of the {budgets} budgets are drawn."
            alt = f"Line plot over search cost of {len(study.rounds)} rounds: {caption}"
            who = f"{display.plain(study.label)}, seed {study.seed}"
            sections.append(Section(f"{title} of {who}", [Plot(plot, alt, caption)]))
    warnings = _warnings_of(gradients.studies)
    if warnings:
        sections.append(Section("Warnings of the gradient searches", [Listing(warnings)]))
    return sections


def _gap(
    study: GradientStudy, plot: str, plotted: Collection[str], *, gridded: bool
) -> list[Section]:
    title = f"Relaxation gap of {display.plain(study.label)}, seed {study.seed}"
    sections = []
    if plot in plotted:
        alt = (
            f"Scatter plot of {len(study.points)} configurations, each as the search saw it and as "
            "it is when really pruned, joined by a line. The table below has the numbers."
        )
        caption = (
            "Open: the relaxed configuration, as the search saw it. Filled: the same, rounded and "
            "really pruned. The longer the line, the larger the relaxation's error."
        )
        sections.append(Section(title, [Plot(plot, alt, caption)]))
    table = replace(gap_table(study, gridded=gridded), title=title)
    blocks: Blocks = [gap_sentence(study), explanation(gridded), table]
    return [*sections, Section(f"{title}: table", blocks)]
