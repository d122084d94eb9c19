"""The relaxation gap as a table: columns for the terminal and the page, and a summary sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from paretoprune.comparison.gradients import GapPoint, Gradients, GradientStudy
from paretoprune.report import words
from paretoprune.report.console import show


def gap_columns(study: GradientStudy, *, gridded: bool) -> dict[str, list[str]]:
    """Cells by column, one per returned configuration, cheapest first."""
    points = ordered(study)
    kl = study.loss == "kl"

    def lost(p: GapPoint, which: str) -> float:
        figures = p.soft if which == "soft" else p.hard
        return figures.kl if kl else figures.lost

    found = {
        "score, soft": [words.number(p.soft.score) for p in points],
        "hard": [words.number(p.hard.score) for p in points],
        "compute, soft": [words.number(p.soft.compute) for p in points],
        "hard ": [words.number(p.hard.compute) for p in points],
        f"{'KL' if kl else 'lost'}, soft": [words.number(lost(p, "soft")) for p in points],
        "hard  ": [words.number(lost(p, "hard")) for p in points],
    }
    if gridded:
        found["to grid"] = [
            words.MISSING if p.grid is None else words.number(p.grid.distance) for p in points
        ]
        found["grid ahead"] = [
            words.MISSING if p.grid is None else words.number(p.grid.ahead) for p in points
        ]
    found["keep schedule, %"] = [words.schedule(p.keep) for p in points]
    return found


def ordered(study: GradientStudy) -> list[GapPoint]:
    """Returned configurations from the cheapest to the dearest."""
    return sorted(study.points, key=lambda p: p.hard.compute)


def gap_sentence(study: GradientStudy) -> str:
    """Mean signed and absolute gap of a study, and its distance to the grid, in words."""
    points = study.points
    score = np.array([p.score_gap for p in points])
    compute = np.array([p.compute_gap for p in points])
    told = (
        f"{words.plain(study.label)}, seed {study.seed}: hard minus soft score "
        f"{score.mean():+.3f} on average (mean size {np.abs(score).mean():.3f}, largest "
        f"{np.abs(score).max():.3f}), compute {compute.mean():+.3f} "
        f"({np.abs(compute).mean():.3f}, {np.abs(compute).max():.3f})"
    )
    grids = [p.grid for p in points if p.grid is not None]
    if grids:
        away = np.array([g.distance for g in grids])
        ahead = np.array([g.ahead for g in grids if g.ahead is not None])
        told += f"; to the nearest grid point {away.mean():.3f} ({away.max():.3f})"
        if len(ahead):
            told += f"; at no more compute the grid leads by {ahead.mean():+.3f}"
    return f"{told}."


EXPLANATION = (
    "Soft: real-valued keep ratios under soft masks, as the search saw the configuration at its "
    "end. Hard: the same rounded to the lattice and really pruned. Both on the whole search split. "
    "Hard compute includes ranking the tokens, and a policy's own. Lost is the mean of "
    "1 - exp(-KL to dense). A policy's keep schedule is the mean over the samples."
)
GRID = (
    "To grid: distance in (score, compute) to the nearest point of the exhaustive front. Grid "
    "ahead: score of the best grid point that costs no more, minus this one's."
)


def explanation(gridded: bool) -> str:
    """What the columns mean."""
    return f"{EXPLANATION} {GRID}" if gridded else EXPLANATION


def print_gap(console: Console, found: Gradients, note: str = "") -> None:
    """Print the table of each study, what it amounts to, and the warnings of the searches."""
    gridded = found.reference is not None
    for study in found.studies:
        if not study.points:
            continue
        table = Table(
            title=Text(f"{words.plain(study.label)}, seed {study.seed}"), title_justify="left",
            title_style="bold", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False,
            padding=(0, 1, 0, 0),
        )  # fmt: skip
        columns = gap_columns(study, gridded=gridded)
        for name in columns:
            wide = name.startswith("keep")
            head = name if wide else name.strip().replace(" ", "\n")  # 80 columns are few
            table.add_column(
                head, justify="left" if wide else "right", no_wrap=not wide,
                overflow="fold" if wide else "ellipsis",
            )  # fmt: skip
        for row in zip(*columns.values(), strict=True):
            table.add_row(*map(Text, row))
        show(console, table)
        show(console, Text(gap_sentence(study), style="bold"))
        console.print()
    show(console, Text(explanation(gridded)))
    for told in warnings_of(found.studies):
        show(console, Text(told))
    if note:
        show(console, Text(note))


def warnings_of(studies: Sequence[GradientStudy]) -> list[str]:
    """Warnings of all studies, each with the study it belongs to."""
    return [
        words.plain(f"{study.label}, seed {study.seed}: {cause}.", 500)
        for study in studies
        for cause in study.warnings
    ]
