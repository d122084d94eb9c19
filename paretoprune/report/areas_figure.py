"""Histograms of picture areas before and after equalisation, as VisPCO's Figure 4."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from paretoprune.report.files import write_whole
from paretoprune.report.palette import look
from paretoprune.tasks.areas import Size, areas_of, unevenness

SIZE_INCHES = (9.0, 3.6)
DPI = 150
BINS = 30


def areas_figure(before: Sequence[Size], after: Sequence[Size]) -> Figure:
    """Two panels with the same axes: areas in thousands of pixels, and how many pictures."""
    figure = Figure(figsize=SIZE_INCHES, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    both = [areas_of(sizes) / 1000 for sizes in (before, after)]
    low, high = min(x.min() for x in both), max(x.max() for x in both)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for panel, areas, sizes, title in zip(
        panels, both, (before, after), ("as they are", "equalised"), strict=True
    ):
        panel.hist(areas, bins=edges.tolist(), color=look(0).colour, edgecolor="white")
        panel.set_title(
            f"{title}: {len(sizes)} pictures, {unevenness(sizes):.2f} from uniform",
            fontsize="medium",
        )
        panel.set_xlabel("area (thousand pixels)")
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("pictures")
    return figure


def write_areas_png(before: Sequence[Size], after: Sequence[Size], file: Path) -> None:
    """Write `areas_figure` as a PNG; raises `BrokenFileError` where that fails."""
    stream = io.BytesIO()
    areas_figure(before, after).savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    write_whole(file, stream.getvalue())
