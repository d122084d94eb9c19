"""Figures as files, drawn with matplotlib: front.png, figures for papers, ranks, picture areas.

Figures for papers have one panel each, at the width of a column. matplotlib's settings are changed
inside a context only, and pyplot with its global state is not touched. Text stays text: PDF fonts
are embedded as Type 42 and SVG keeps its letters, so that journals and readers can search them.
"""

from __future__ import annotations

import io
import warnings
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
from paretoprune.files import write_whole
from paretoprune.frontier import Ranks
from paretoprune.report import display, glossary, presets, series
from paretoprune.report.palette import look as look_of
from paretoprune.report.plots import PALE
from paretoprune.tasks.areas import Size, areas_of, unevenness

FORMATS = ("pdf", "svg", "png")
DPI = 150
PAPER_DPI = 300
WIDTHS_INCHES = {"single": 3.3, "double": 6.9}
"""Widths of one and of two columns in the common two-column styles (IEEE, ACM, CVPR)."""
HEIGHT = 0.72
"""Height over width of a panel, without the legend."""
LEGEND_ROW_INCHES = 0.17
PAPER_SETTINGS: Any = {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7,
    "xtick.labelsize": 7, "ytick.labelsize": 7, "axes.linewidth": 0.6, "lines.linewidth": 1.1,
    "pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "paretoprune",
}  # fmt: skip
AREA_BINS = 30


def new_figure(size: tuple[float, float] | None = None) -> Figure:
    """An empty white figure of a size in inches that arranges its panels."""
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, file: Path, dpi: int = DPI, kind: str = "png") -> None:
    """Write a figure without a date in it: the same data give the same file.

    Raises `BrokenFileError` where that fails.
    """
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # shown as an empty box
        figure.savefig(stream, format=kind, dpi=dpi, metadata=metadata[kind])
    write_whole(file, stream.getvalue())


def dress(panel: Panel) -> None:
    """A faint grid, and no frame on top and at the right."""
    panel.grid(alpha=0.25, linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def safe(text: str) -> str:
    """Text that matplotlib takes literally: `$` starts no formula, `_` hides no legend entry."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


# --- front.png


def front_figure(summary: Summary) -> Figure:
    """Fronts on the left, anytime curves on the right, one colour and marker per strategy."""
    figure = new_figure((11.0, 5.0))
    left, right = figure.subplots(1, 2)
    figure.suptitle(safe(glossary.subject(summary)), fontsize="medium")
    _draw_fronts(left, summary)
    _draw_curves(right, summary)
    for panel in (left, right):
        dress(panel)
    handles, labels = left.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def write_front_png(summary: Summary, file: Path) -> None:
    """Write `front_figure` as a PNG; raises `BrokenFileError` where that fails."""
    save_figure(front_figure(summary), file)


def _draw_fronts(panel: Panel, summary: Summary) -> None:
    """Fronts of all strategies; every seed's points, the best seed's stairs, the union front."""
    axes = series.axes(summary)
    if axes is None or not summary.front:
        _leave_empty(panel, "No front")
        return
    steps = f"steps-{'post' if axes.x.direction == 'min' else 'pre'}"
    union = series.union_front(summary, axes)
    xs, ys = [x for _, x, _ in union], [y for _, _, y in union]
    if union and axes.complete:
        panel.plot(xs, ys, drawstyle=steps, color="#bbbbbb", linewidth=6, zorder=1)
    if union:
        panel.plot(
            xs, ys, "o", markersize=10, markerfacecolor="none", markeredgecolor="#444444",
            markeredgewidth=0.9, linestyle="none", label=glossary.UNION_FRONT, zorder=4,
        )  # fmt: skip
    for front in series.front_series(summary, axes):
        look = front.look
        if front.best and axes.complete:
            panel.plot(
                [x for _, x, _ in front.best], [y for _, _, y in front.best], drawstyle=steps,
                color=look.colour, linewidth=1.4, zorder=2,
            )  # fmt: skip
        for part, alpha in ((front.best, 1.0), (front.others, PALE)):
            if not part:
                continue
            named = part is front.best or not front.best
            panel.plot(
                [x for _, x, _ in part], [y for _, _, y in part], linestyle="none", alpha=alpha,
                marker=look.marker, markersize=5.5, color=look.colour, markeredgecolor="white",
                markeredgewidth=0.5, zorder=3,
                label=safe(display.plain(front.label, 40)) if named else None,
            )  # fmt: skip
    _draw_presets(panel, summary, axes)
    if series.dense_line(summary, axes):
        panel.axhline(1.0, color="#777777", linewidth=0.8, linestyle=":", zorder=0)
        panel.annotate(
            "dense", (0.01, 1.0), xycoords=("axes fraction", "data"), xytext=(0, 2),
            textcoords="offset points", fontsize="small", color="#666666",
        )  # fmt: skip
    panel.set_title(safe(axes.title), fontsize="medium")
    _label(panel, axes)


def _draw_presets(panel: Panel, summary: Summary, axes: series.Axes) -> None:
    """Crosses for published presets, and the name of each method at its most expensive."""
    label: str | None = glossary.PRESETS
    for method, points in presets.by_method(summary.presets).items():
        positions = [at for point in points if (at := axes.values(point)) is not None]
        if not positions:
            continue
        panel.plot(
            *zip(*positions, strict=True), "x", color="#222222", markersize=5, markeredgewidth=1.1,
            linestyle="none", zorder=5, label=label,
        )  # fmt: skip
        label = None
        panel.annotate(
            safe(display.plain(method, 20)), max(positions), xytext=(4, -3), fontsize="x-small",
            textcoords="offset points", va="top", color="#444444", zorder=5,
        )  # fmt: skip


def _draw_curves(panel: Panel, summary: Summary) -> None:
    """Median hypervolume over search cost, with the range of the seeds."""
    bands = series.anytime_bands(summary)
    if not bands:
        _leave_empty(panel, "No studies")
        return
    for label, look, band in bands:
        panel.fill_between(
            band.cost, band.low, band.high, step="post", color=look.colour, alpha=0.15, linewidth=0
        )
        panel.plot(
            band.cost, band.median, drawstyle="steps-post", color=look.colour, linewidth=1.4,
            marker=look.marker, markersize=5, markevery=max(1, len(band.cost) // 6),
            markeredgecolor="white", markeredgewidth=0.5, label=safe(display.plain(label, 40)),
        )  # fmt: skip
    panel.set_title("Hypervolume over search cost, median and range of seeds", fontsize="medium")
    panel.set_xlim(left=0)
    panel.set_xlabel(glossary.search_cost(summary))
    panel.set_ylabel(glossary.HYPERVOLUME)


def _leave_empty(panel: Panel, title: str) -> None:
    panel.set_title(title, fontsize="medium")
    panel.set_axis_off()


def _label(panel: Panel, axes: series.Axes) -> None:
    panel.set_xlabel(safe(axes.label(axes.x)))
    panel.set_ylabel(safe(axes.label(axes.y)))


# --- figures for papers


def write_figures(
    summary: Summary, folder: Path, *, formats: Sequence[str] = ("pdf",),
    columns: str = "single",
) -> list[Path]:  # fmt: skip
    """Write every figure that the summary has data for; returns the files in order.

    Raises `UnknownNameError` for a format or width that does not exist, `InvalidValueError` where
    there is nothing to draw, and `BrokenFileError` where a file cannot be written.
    """
    for kind in formats:
        if kind not in FORMATS:
            raise UnknownNameError("figure format", kind, FORMATS)
    if columns not in WIDTHS_INCHES:
        raise UnknownNameError("figure width", columns, tuple(WIDTHS_INCHES))
    drawings: dict[str, Callable[[Panel, Summary], None]] = {}
    axes = series.axes(summary)
    if axes is not None and summary.front:
        drawings["front"] = _draw_fronts
        if series.attainment_surfaces(summary, axes):
            drawings["attainment"] = _draw_attainment
    if any(row.curve for row in summary.studies):
        drawings["anytime"] = _draw_curves
    if series.scheduled_points(summary):
        drawings["schedules"] = _draw_schedules
    if not drawings:
        raise InvalidValueError(
            "the results have no front and no study, so there is nothing to draw"
        )
    files = []
    for name, draw in drawings.items():
        for kind in formats:
            files.append(folder / f"{name}.{kind}")
            with mpl.rc_context(PAPER_SETTINGS):
                figure = _paper_figure(draw, summary, WIDTHS_INCHES[columns])
                save_figure(figure, files[-1], PAPER_DPI, kind)
    return files


def _paper_figure(draw: Callable[[Panel, Summary], None], summary: Summary, width: float) -> Figure:
    figure = new_figure()
    panel = figure.subplots()
    draw(panel, summary)
    panel.set_title("")  # a paper's caption says it
    panel.spines[["top", "right"]].set_visible(False)
    handles, labels = panel.get_legend_handles_labels()
    columns, height = (2, HEIGHT) if width < 5 else (4, 0.62 * HEIGHT)
    rows = -(-len(handles) // columns)
    figure.set_size_inches(width, width * height + rows * LEGEND_ROW_INCHES)
    if handles:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=columns, frameon=False,
            handlelength=1.4, columnspacing=1.0,
        )  # fmt: skip
    return figure


def _draw_attainment(panel: Panel, summary: Summary) -> None:
    """Median (solid) and worst-case (dotted) attainment surfaces over seeds."""
    axes = series.axes(summary)
    if axes is None:
        return
    steps = f"steps-{'post' if axes.x.direction == 'min' else 'pre'}"
    for label, look, surface in series.attainment_surfaces(summary, axes):
        style = "-" if surface.leads else ":" if surface.what == "worst" else "--"
        xs, ys = zip(*surface.corners, strict=True)
        panel.plot(
            xs, ys, style, drawstyle=steps, color=look.colour, markersize=3.5,
            marker=look.marker if surface.leads else None,
            label=safe(display.plain(label, 40)) if surface.leads else None,
        )  # fmt: skip
    _label(panel, axes)


def _draw_schedules(panel: Panel, summary: Summary) -> None:
    """The best front's keep schedules: layers along x, configurations by cost along y."""
    points = series.scheduled_points(summary)
    grid = np.array([point.keep for point in points], dtype=np.float64) * 100
    image = panel.imshow(grid, cmap="cividis", vmin=0, vmax=100, aspect="auto", origin="lower")
    panel.set_xlabel(glossary.LAYER)
    panel.set_ylabel("configuration, by cost")
    layers = grid.shape[1]
    panel.set_xticks(range(0, layers, 1 if layers <= 16 else 4))
    panel.set_yticks([])
    bar = panel.figure.colorbar(image, ax=panel, pad=0.02)
    bar.set_label("visual tokens kept, %")


# --- ranks over problems


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
    with mpl.rc_context(PAPER_SETTINGS):
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
                edge, y, safe(f" {display.plain(label, 40)} ({mean:.2f}) "), va="center",
                ha="right" if left else "left",
            )  # fmt: skip
        save_figure(figure, file, PAPER_DPI, kind)


# --- picture areas


def write_areas_png(before: Sequence[Size], after: Sequence[Size], file: Path) -> None:
    """Histograms of picture areas before and after equalisation, as VisPCO's Figure 4.

    Raises `BrokenFileError` where the file cannot be written.
    """
    figure = new_figure((9.0, 3.6))
    areas = [areas_of(sizes) / 1000 for sizes in (before, after)]
    low, high = min(each.min() for each in areas), max(each.max() for each in areas)
    edges = np.linspace(low, high if high > low else low + 1, AREA_BINS + 1)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    titles = ("as they are", "equalised")
    for panel, values, sizes, title in zip(panels, areas, (before, after), titles, strict=True):
        panel.hist(values, bins=edges.tolist(), color=look_of(0).colour, edgecolor="white")
        panel.set_title(
            f"{title}: {len(sizes)} pictures, {unevenness(sizes):.2f} from uniform",
            fontsize="medium",
        )
        panel.set_xlabel("area (thousand pixels)")
        dress(panel)
    panels[0].set_ylabel("pictures")
    save_figure(figure, file)
