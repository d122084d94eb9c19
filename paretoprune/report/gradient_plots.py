"""Figures of gradient searches: relaxation gap, loss, constraint, multiplier, kept tokens.

The gap is drawn in the HTML report (plotly) and as gap.png (matplotlib), from the same points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from paretoprune.comparison.gradients import (
    GapPoint,
    Gradients,
    GradientStudy,
    GridPoint,
    RoundRow,
    SplitFigures,
)
from paretoprune.report import display
from paretoprune.report.figures import dress, new_figure, safe, save_figure
from paretoprune.report.palette import COLOURS, look
from paretoprune.report.plots import Spec, escaped, figure, hovering, scatter

PANEL_INCHES = (5.0, 4.2)
MAX_PANELS, PANEL_COLUMNS = 12, 3
MAX_LINES = len(COLOURS)
"""Budgets that are drawn, at most: each has a colour and a marker of its own."""
GREY = "rgba(128,128,128,0.7)"


def shown_studies(gradients: Gradients | None) -> list[GradientStudy]:
    """One seed of each strategy, which is drawn: the one whose gap was measured, or the first."""
    shown: dict[str, GradientStudy] = {}
    for study in gradients.studies if gradients is not None else ():
        if study.label not in shown or (study.points and not shown[study.label].points):
            shown[study.label] = study
    return list(shown.values())


def gradient_plots(gradients: Gradients | None) -> dict[str, Spec]:
    """All plots there are data for, by the id of their element on the page."""
    plots: dict[str, Spec] = {}
    for number, study in enumerate(shown_studies(gradients)):
        if study.points:
            plots[f"plot-gap-{number}"] = _gap_plot(study)
        if not study.rounds:
            continue
        divergence = [row.divergence for row in study.rounds]
        loss = _line("KL to dense", study.rounds, divergence, 0)
        plots[f"plot-loss-{number}"] = _over_cost([loss], "KL to dense, nats")
        for name, values, title in (
            ("constraint", lambda row: row.constraint, "compute u minus budget"),
            ("multiplier", lambda row: row.multiplier, "multiplier"),
            ("kept", lambda row: row.kept, "mean keep ratio"),
        ):
            plots[f"plot-{name}-{number}"] = _per_budget(study, values, title)
    return plots


# --- the relaxation gap


GapPart = tuple[Literal["open", "filled", "cross"], str, Sequence[SplitFigures | GridPoint]]
"""A marker of the gap's figure, its meaning, and the points that it marks."""


def _gap_parts(study: GradientStudy) -> list[GapPart]:
    """Returned configurations as the search saw them and as they are, and grid points near them."""
    grid = [point.grid for point in study.points if point.grid is not None]
    parts: list[GapPart] = [
        ("open", "relaxed, as searched", [point.soft for point in study.points]),
        ("filled", "rounded, really pruned", [point.hard for point in study.points]),
        ("cross", "nearest grid point", grid),
    ]
    return [part for part in parts if part[2]]


def _gap_plot(study: GradientStudy) -> Spec:
    """Each returned configuration twice: as the search predicted it, joined to its evaluation."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for point in study.points:
        xs += [point.soft.compute, point.hard.compute, None]
        ys += [point.soft.score, point.hard.score, None]
    line = {"width": 1, "color": GREY}
    joints = scatter("gap", "lines", xs, ys, line=line, hoverinfo="skip", showlegend=False)
    colour = look(0).colour
    markers = {
        "open": {"symbol": "circle-open", "size": 9, "color": colour},
        "filled": {"symbol": "circle", "size": 9, "color": colour},
        "cross": {"symbol": "x-thin-open", "size": 8, "color": GREY},
    }
    texts = hovering([_hover(point) for point in study.points])
    traces = [
        scatter(
            name, "markers", [p.compute for p in points], [p.score for p in points],
            marker=markers[marker], **({"hoverinfo": "skip"} if marker == "cross" else texts),
        )
        for marker, name, points in _gap_parts(study)
    ]  # fmt: skip
    return figure(
        [joints, *traces], "relative compute u, search split", "relative score q, search split"
    )


def _hover(point: GapPoint) -> str:
    """Score and compute of a point, and its keep ratios, before and after rounding."""
    lines = [
        f"relaxed: score {display.number(point.soft.score)}, compute "
        f"{display.number(point.soft.compute)}",
        f"pruned: score {display.number(point.hard.score)}, compute "
        f"{display.number(point.hard.compute)}",
        f"keep {escaped(display.schedule(point.relaxed_keep))}",
        f"rounded {escaped(display.schedule(point.keep))}",
    ]
    return "<br>".join(lines)


def gap_figure(gradients: Gradients) -> Figure:
    """One panel per study, at most `MAX_PANELS`."""
    studies = [study for study in gradients.studies if study.points][:MAX_PANELS]
    columns = min(PANEL_COLUMNS, len(studies))
    rows = math.ceil(len(studies) / columns)
    drawing = new_figure((PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows))
    panels = drawing.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    colour = look(0).colour
    markers = {
        "open": {
            "marker": "o", "markerfacecolor": "white", "markeredgecolor": colour, "zorder": 2,
        },
        "filled": {"marker": "o", "color": colour, "markeredgecolor": "white", "zorder": 3},
        "cross": {"marker": "x", "color": "#444444", "markersize": 5, "zorder": 2},
    }  # fmt: skip
    for panel, study in zip(panels, studies, strict=False):
        for point in study.points:
            panel.plot(
                [point.soft.compute, point.hard.compute], [point.soft.score, point.hard.score],
                color="#999999", linewidth=0.9, zorder=1,
            )  # fmt: skip
        for marker, name, points in _gap_parts(study):
            style = {"linestyle": "none", "label": name} | markers[marker]
            panel.plot([p.compute for p in points], [p.score for p in points], **style)
        title = f"{display.plain(study.label, 40)}, seed {study.seed}"
        panel.set_title(safe(title), fontsize="medium")
        panel.set_xlabel("relative compute u")
        panel.set_ylabel("relative score q")
        dress(panel)
    for panel in panels[len(studies) :]:
        panel.set_axis_off()
    drawing.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center",
        ncols=3 if columns > 1 else 2, frameon=False,
    )  # fmt: skip
    return drawing


def write_gap_png(gradients: Gradients, file: Path) -> None:
    """Write `gap_figure` as a PNG; raises `BrokenFileError` where that fails."""
    save_figure(gap_figure(gradients), file)


# --- curves over search cost


def _per_budget(
    study: GradientStudy, values: Callable[[RoundRow], Sequence[float]], title: str
) -> Spec:
    """One line per drawn budget, or a single one where there is one value for all."""
    drawn = drawn_budgets(len(values(study.rounds[0])))
    single = len(drawn) == 1
    names = ["all budgets" if single else f"budget {study.budgets[p]:.2f}" for p in drawn]
    traces = [
        _line(name, study.rounds, [values(row)[place] for row in study.rounds], number)
        for number, (name, place) in enumerate(zip(names, drawn, strict=True))
    ]
    return _over_cost(traces, title)


def drawn_budgets(count: int) -> list[int]:
    """Indices of the budgets that get a line: at most so many, evenly spaced, with both ends."""
    drawn = min(count, MAX_LINES)
    return [round(i * (count - 1) / max(drawn - 1, 1)) for i in range(drawn)]


def _line(name: str, rounds: Sequence[RoundRow], values: Sequence[float], number: int) -> Spec:
    style = look(number)
    return scatter(
        name, "lines+markers", [row.spent for row in rounds], list(values),
        line={"width": 1.6, "color": style.colour},
        marker={"symbol": style.symbol, "size": 6, "maxdisplayed": 10},
    )  # fmt: skip


def _over_cost(traces: list[Spec], title: str) -> Spec:
    cost = "search cost (dense-pass equivalents)"
    return figure(traces, cost, title, x_axis={"rangemode": "tozero"}, height=320)
