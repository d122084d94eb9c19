"""The picture for a paper or a README: fronts, and hypervolume over search cost.

Drawn with matplotlib's objects; pyplot and its global state are not touched.
"""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.axes import Axes as Panel
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from paretoprune.comparison.results import Summary
from paretoprune.report import presets, shapes, words
from paretoprune.report.files import write_whole
from paretoprune.report.palette import Look, looks

SIZE_INCHES = (11.0, 5.0)
DPI = 150
UNION = "union front"
PRESETS = "published presets"
PALE = 0.4
"""Opacity of the points of seeds other than the best."""


def front_figure(summary: Summary) -> Figure:
    """Fronts on the left, anytime curves on the right, one colour and marker per strategy."""
    figure = Figure(figsize=SIZE_INCHES, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    figure.suptitle(safe(words.subject(summary)), fontsize="medium")
    style = looks(summary)
    draw_fronts(left, summary, style)
    draw_curves(right, summary, style)
    for panel in (left, right):
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = left.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def write_front_png(summary: Summary, file: Path) -> None:
    """Write `front_figure` as a PNG; raises `BrokenFileError` where that fails."""
    figure = front_figure(summary)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    write_whole(file, stream.getvalue())


def draw_fronts(panel: Panel, summary: Summary, style: dict[str, Look]) -> None:
    """Fronts of all strategies; every seed's points, the best seed's stairs, the union front."""
    axes = shapes.axes(summary)
    if axes is None or not summary.front:
        panel.set_title("No front", fontsize="medium")
        panel.set_axis_off()
        return
    where = "post" if axes.x.direction == "min" else "pre"
    union = shapes.drawn([p for p in summary.front if p.on_union], axes)
    xs, ys = [x for _, x, _ in union], [y for _, _, y in union]
    if union and axes.complete:
        panel.plot(xs, ys, drawstyle=f"steps-{where}", color="#bbbbbb", linewidth=6, zorder=1)
    if union:
        panel.plot(
            xs, ys, "o", markersize=10, markerfacecolor="none", markeredgecolor="#444444",
            markeredgewidth=0.9, linestyle="none", label=UNION, zorder=4,
        )  # fmt: skip
    for label, look in style.items():
        points = shapes.drawn([p for p in summary.front if p.label == label], axes)
        seed = shapes.best_seed(summary, label)
        best = [(x, y) for p, x, y in points if p.seed == seed]
        others = [(x, y) for p, x, y in points if p.seed != seed]
        if best and axes.complete:
            panel.plot(
                *zip(*best, strict=True), drawstyle=f"steps-{where}", color=look.colour,
                linewidth=1.4, zorder=2,
            )  # fmt: skip
        for places, alpha in ((best, 1.0), (others, PALE)):
            if not places:
                continue
            named = places is best or not best
            panel.plot(
                [x for x, _ in places], [y for _, y in places], linestyle="none", alpha=alpha,
                marker=look.marker, markersize=5.5, color=look.colour, markeredgecolor="white",
                markeredgewidth=0.5, zorder=3,
                label=safe(words.plain(label, 40)) if named else None,
            )  # fmt: skip
    _draw_presets(panel, summary, axes)
    if "dense_score" in summary.problem and axes.y.name == "score":
        panel.axhline(1.0, color="#777777", linewidth=0.8, linestyle=":", zorder=0)
        panel.annotate(
            "dense", (0.01, 1.0), xycoords=("axes fraction", "data"), xytext=(0, 2),
            textcoords="offset points", fontsize="small", color="#666666",
        )  # fmt: skip
    panel.set_title(safe(axes.title), fontsize="medium")
    panel.set_xlabel(safe(axes.label(axes.x)))
    panel.set_ylabel(safe(axes.label(axes.y)))


def _draw_presets(panel: Panel, summary: Summary, axes: shapes.Axes) -> None:
    """Crosses for published presets, and the name of each method at its dearest."""
    named = False
    for method, points in presets.drawable(summary.presets).items():
        places = [at for point in points if (at := axes.values(point)) is not None]
        if not places:
            continue
        panel.plot(
            *zip(*places, strict=True), "x", color="#222222", markersize=5, markeredgewidth=1.1,
            linestyle="none", zorder=5, label=None if named else PRESETS,
        )  # fmt: skip
        named = True
        panel.annotate(
            safe(words.plain(method, 20)), max(places), xytext=(4, -3), fontsize="x-small",
            textcoords="offset points", va="top", color="#444444", zorder=5,
        )  # fmt: skip


def draw_curves(panel: Panel, summary: Summary, style: dict[str, Look]) -> None:
    """Median hypervolume over search cost, with the range of the seeds."""
    drawn = False
    for label, look in style.items():
        band = shapes.anytime([row for row in summary.studies if row.label == label])
        if not band.cost:
            continue
        drawn = True
        panel.fill_between(
            band.cost, band.low, band.high, step="post", color=look.colour, alpha=0.15, linewidth=0
        )
        panel.plot(
            band.cost, band.median, drawstyle="steps-post", color=look.colour, linewidth=1.4,
            marker=look.marker, markersize=5, markevery=max(1, len(band.cost) // 6),
            markeredgecolor="white", markeredgewidth=0.5, label=safe(words.plain(label, 40)),
        )  # fmt: skip
    if not drawn:
        panel.set_title("No studies", fontsize="medium")
        panel.set_axis_off()
        return
    panel.set_title("Hypervolume over search cost, median and range of seeds", fontsize="medium")
    panel.set_xlim(left=0)
    panel.set_xlabel(f"search cost ({words.cost_unit(summary)})")
    panel.set_ylabel("hypervolume, search split")


def safe(text: str) -> str:
    """Text that matplotlib takes literally: `$` starts no formula, `_` hides no legend entry."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
