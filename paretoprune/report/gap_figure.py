"""The picture of the relaxation gap: each returned configuration as searched, and as it is."""

from __future__ import annotations

import io
import math
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from paretoprune.comparison.gradients import Gradients
from paretoprune.report import words
from paretoprune.report.files import write_whole
from paretoprune.report.palette import look

PANEL_INCHES = (5.0, 4.2)
DPI = 150
MOST_PANELS = 12
COLUMNS = 3


def gap_figure(found: Gradients) -> Figure:
    """One panel per study, at most `MOST_PANELS`."""
    studies = [study for study in found.studies if study.points][:MOST_PANELS]
    columns = min(COLUMNS, len(studies))
    rows = math.ceil(len(studies) / columns)
    figure = Figure(
        figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows), layout="constrained",
        facecolor="white",
    )  # fmt: skip
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    colour = look(0).colour
    for panel, study in zip(panels, studies, strict=False):
        for p in study.points:
            panel.plot(
                [p.soft.compute, p.hard.compute], [p.soft.score, p.hard.score],
                color="#999999", linewidth=0.9, zorder=1,
            )  # fmt: skip
        panel.plot(
            [p.soft.compute for p in study.points], [p.soft.score for p in study.points], "o",
            markerfacecolor="white", markeredgecolor=colour, label="relaxed, as searched", zorder=2,
        )  # fmt: skip
        panel.plot(
            [p.hard.compute for p in study.points], [p.hard.score for p in study.points], "o",
            color=colour, markeredgecolor="white", label="rounded, really pruned", zorder=3,
        )  # fmt: skip
        grid = [p.grid for p in study.points if p.grid is not None]
        if grid:
            panel.plot(
                [g.compute for g in grid], [g.score for g in grid], "x", color="#444444",
                markersize=5, label="nearest grid point", zorder=2,
            )  # fmt: skip
        title = f"{words.plain(study.label, 40)}, seed {study.seed}".replace("$", r"\$")
        panel.set_title(title, fontsize="medium")
        panel.set_xlabel("relative compute u")
        panel.set_ylabel("relative score q")
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(studies) :]:
        panel.set_axis_off()
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center",
        ncols=3 if columns > 1 else 2, frameon=False,
    )  # fmt: skip
    return figure


def write_gap_png(found: Gradients, file: Path) -> None:
    """Write `gap_figure` as a PNG; raises `BrokenFileError` where that fails."""
    stream = io.BytesIO()
    gap_figure(found).savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    write_whole(file, stream.getvalue())
