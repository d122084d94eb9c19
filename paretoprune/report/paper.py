"""Figures for papers: one panel each, at the width of a column, as PDF, SVG or PNG.

matplotlib's settings are changed inside a context only. Text stays text: PDF fonts are embedded as
Type 42 and SVG keeps its letters, so that journals and readers can search them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes as Panel
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from paretoprune.comparison.results import Summary
from paretoprune.errors import InvalidValueError, UnknownNameError
from paretoprune.frontier import Ranks
from paretoprune.report import shapes, words
from paretoprune.report.figures import draw_curves, draw_fronts, safe
from paretoprune.report.files import write_whole
from paretoprune.report.palette import looks

FORMATS = ("pdf", "svg", "png")
WIDTHS_INCHES = {"single": 3.3, "double": 6.9}
"""Widths of one and of two columns in the common two-column styles (IEEE, ACM, CVPR)."""
HEIGHT = 0.72
"""Height over width of a panel, without the legend."""
LEGEND_ROW_INCHES = 0.17
SETTINGS: Any = {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7,
    "xtick.labelsize": 7, "ytick.labelsize": 7, "axes.linewidth": 0.6, "lines.linewidth": 1.1,
    "pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "paretoprune",
}  # fmt: skip

Drawing = Callable[[Panel, Summary], None]


def write_figures(
    summary: Summary, folder: Path, *, formats: Sequence[str] = ("pdf",),
    columns: str = "single",
) -> list[Path]:  # fmt: skip
    """Write every figure that the summary has data for; returns the files in order.

    Raises `UnknownNameError` for a format or width that there is not, `InvalidValueError` where
    there is nothing to draw, and `BrokenFileError` where a file cannot be written.
    """
    for kind in formats:
        if kind not in FORMATS:
            raise UnknownNameError("figure format", kind, FORMATS)
    if columns not in WIDTHS_INCHES:
        raise UnknownNameError("figure width", columns, tuple(WIDTHS_INCHES))
    drawings: dict[str, Drawing] = {}
    axes = shapes.axes(summary)
    if axes is not None and summary.front:
        drawings["front"] = lambda panel, s: draw_fronts(panel, s, looks(s))
        if any(shapes.attainments(summary, label, axes) for label in looks(summary)):
            drawings["attainment"] = draw_attainment
    if any(row.curve for row in summary.studies):
        drawings["anytime"] = lambda panel, s: draw_curves(panel, s, looks(s))
    if any(point.keep for point in summary.front_of_best()):
        drawings["schedules"] = draw_schedules
    if not drawings:
        raise InvalidValueError(
            "the results have no front and no study, so there is nothing to draw"
        )
    return [
        _write(folder / f"{name}.{kind}", kind, drawing, summary, WIDTHS_INCHES[columns])
        for name, drawing in drawings.items()
        for kind in formats
    ]


def _write(file: Path, kind: str, draw: Drawing, summary: Summary, width: float) -> Path:
    with mpl.rc_context(SETTINGS):
        figure = Figure(layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        panel = figure.subplots()
        draw(panel, summary)
        panel.set_title("")  # a paper's caption says it
        panel.spines[["top", "right"]].set_visible(False)
        handles, labels = panel.get_legend_handles_labels()
        columns = 2 if width < 5 else 4
        rows = -(-len(handles) // columns)
        figure.set_size_inches(width, width * HEIGHT * (1 if width < 5 else 0.62)
                               + rows * LEGEND_ROW_INCHES)  # fmt: skip
        if handles:
            figure.legend(
                handles, labels, loc="outside lower center", ncols=columns, frameon=False,
                handlelength=1.4, columnspacing=1.0,
            )  # fmt: skip
        _save(figure, file, kind)
    return file


def _save(figure: Figure, file: Path, kind: str) -> None:
    """Without a date in it: the same results give the same file."""
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, dpi=300, metadata=metadata[kind])
    write_whole(file, stream.getvalue())


def draw_attainment(panel: Panel, summary: Summary) -> None:
    """Median (solid) and worst-case (dotted) attainment surfaces over seeds."""
    axes = shapes.axes(summary)
    if axes is None:
        return
    where = "post" if axes.x.direction == "min" else "pre"
    for label, look in looks(summary).items():
        surfaces = shapes.attainments(summary, label, axes)
        for surface in surfaces:
            style = (
                "--" if surface.limit is not None else {"median": "-", "worst": ":"}[surface.what]
            )
            xs, ys = zip(*surface.corners, strict=True)
            panel.plot(
                xs, ys, style, drawstyle=f"steps-{where}", color=look.colour,
                marker=look.marker if style == "-" else None, markersize=3.5,
                label=safe(words.plain(label, 40)) if style == "-" else None,
            )  # fmt: skip
    panel.set_xlabel(safe(axes.label(axes.x)))
    panel.set_ylabel(safe(axes.label(axes.y)))


def draw_schedules(panel: Panel, summary: Summary) -> None:
    """The best front's keep schedules: layers along x, configurations by cost along y."""
    points = [point for point in summary.front_of_best() if point.keep]
    grid = np.array([point.keep for point in points], dtype=np.float64) * 100
    image = panel.imshow(grid, cmap="cividis", vmin=0, vmax=100, aspect="auto", origin="lower")
    panel.set_xlabel("decoder layer, from 0")
    panel.set_ylabel("configuration, by cost")
    layers = grid.shape[1]
    step = 1 if layers <= 16 else 4
    panel.set_xticks(range(0, layers, step))
    panel.set_yticks([])
    bar = panel.figure.colorbar(image, ax=panel, pad=0.02)
    bar.set_label("visual tokens kept, %")


def write_rank_diagram(ranks: Ranks, file: Path) -> None:
    """The critical-difference diagram (Demsar 2006, fig. 1): mean ranks, bars join equals.

    The file's suffix names the format. Raises `UnknownNameError` for another one than `FORMATS`,
    and `BrokenFileError` where the file cannot be written.
    """
    kind = file.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise UnknownNameError("figure format", kind, FORMATS)
    count = len(ranks.labels)
    half = (count + 1) // 2
    height = 0.5 + 0.2 * half + 0.12 * len(ranks.groups)
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTHS_INCHES["double"], height), facecolor="white")
        FigureCanvasAgg(figure)
        panel = figure.add_axes((0.28, 0.02, 0.44, 0.96))
        panel.set_xlim(1, count)
        panel.set_ylim(height, 0)
        panel.set_axis_off()
        scale = 0.32
        panel.plot([1, count], [scale, scale], color="black", linewidth=0.8)
        for tick in range(1, count + 1):
            panel.plot([tick, tick], [scale - 0.05, scale], color="black", linewidth=0.8)
            panel.text(tick, scale - 0.07, str(tick), ha="center", va="bottom")
        for place, (first, last) in enumerate(ranks.groups):
            y = scale + 0.08 + 0.12 * place
            ends = [ranks.mean_ranks[first], ranks.mean_ranks[last]]
            panel.plot(ends, [y, y], color="#0072B2", linewidth=2.5, solid_capstyle="round")
        below = scale + 0.12 + 0.12 * len(ranks.groups)
        for place, (label, mean) in enumerate(zip(ranks.labels, ranks.mean_ranks, strict=True)):
            left = place < half
            y = below + 0.2 * (place if left else count - 1 - place)
            edge = 1 - 0.02 * count if left else count + 0.02 * count
            panel.plot([mean, mean, edge], [scale, y, y], color="#444444", linewidth=0.7,
                       clip_on=False)  # fmt: skip
            panel.text(
                edge, y, safe(f" {words.plain(label, 40)} ({mean:.2f}) "), va="center",
                ha="right" if left else "left",
            )  # fmt: skip
        _save(figure, file, kind)
