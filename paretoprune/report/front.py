"""The first-ranked strategy's front as a table: in full for a page, thinned for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paretoprune.comparison.results import FrontPoint, Summary
from paretoprune.report import display
from paretoprune.report.display import LEVEL, MISSING
from paretoprune.report.table import Column, Table

WIDTH = 80
MIN_CONFIGURATION = 24
"""Characters for configurations on a terminal, at least."""
MAX_POINTS = 12


def best_front_table(summary: Summary) -> Table:
    """Every point with all objectives on both splits, numbered from the cheapest."""
    points = summary.front_of_best()
    columns = [Column("point", [str(number) for number, _ in enumerate(points, start=1)])]
    for objective in summary.objectives:
        name = display.plain(objective.name, 40)
        columns.append(Column(f"{name}, search", _values(points, objective.name, "search")))
        if any(point.heldout is not None for point in points):
            columns.append(Column(f"{name}, held-out", _values(points, objective.name, "heldout")))
    columns += _operators(summary, points)
    if any(point.keep is not None for point in points):
        columns.append(configurations("keep schedule", points, unit="%"))
    else:
        columns.append(configurations("knobs", points))
    on_union = ["yes" if point.on_union else "no" for point in points]
    columns.append(Column("union front", on_union, "text"))
    if any(point.separated is not None for point in points):
        marks = {True: "yes", False: LEVEL, None: MISSING}
        columns.append(Column("significant", [marks[point.separated] for point in points], "text"))
    if any("measured_latency_ms" in point.metrics for point in points):
        columns += [
            Column("measured prefill ms", _times(points, "measured_latency")),
            Column("measured first token ms", _times(points, "measured_first_token")),
        ]
    return Table("Best front", columns)


def front_table(summary: Summary, most: int = MAX_POINTS, width: int = WIDTH) -> Table:
    """At most `most` points for a terminal, evenly by number, with held-out quality.

    Where `width` columns are too few for the configurations, standard errors are left out.
    """
    points = summary.front_of_best()
    shown = _thinned(points, most)
    columns = _short_columns(summary, shown, errors=True)
    errors = any("±" in cell for column in columns for cell in column.cells)
    if errors and sum(c.terminal_width for c in columns) + MIN_CONFIGURATION > width:
        columns, errors = _short_columns(summary, shown, errors=False), False
    scheduled = any(point.keep is not None for point in shown)
    columns += _operators(summary, shown)
    columns.append(configurations("keep" if scheduled else "knobs", shown))
    title = "Best front"
    if points:
        title += f": {display.plain(points[0].label, 60)}, seed {points[0].seed}"
    caption = ["± is the standard error."] if errors else []
    if any(display.level_mark(point) for point in shown):
        caption.append(f"{LEVEL}: not significantly better than cheaper points.")
    if scheduled:
        caption.append("Keep: percent of visual tokens per decoder layer.")
    if len(shown) < len(points):
        caption.append(f"{len(shown)} of {len(points)} points; front.csv has all.")
    return Table(title, columns, " ".join(caption))


def configurations(title: str, points: Sequence[FrontPoint], unit: str = "") -> Column:
    """Keep schedules, or knobs."""
    return Column(title, [display.configuration(point) for point in points], "wide", unit=unit)


def _operators(summary: Summary, points: Sequence[FrontPoint]) -> list[Column]:
    """The pruners, where they differ."""
    if not display.has_operators(summary.front):
        return []
    return [Column("pruner", [display.operator(point) for point in points], "wide")]


def _values(
    points: Sequence[FrontPoint], name: str, split: str, *, errors: bool = True
) -> list[str]:
    """An objective on a split, with standard errors."""
    return [
        display.with_error(
            getattr(p, split) or {}, getattr(p, f"{split}_error") if errors else {}, name
        )
        for p in points
    ]


def _times(points: Sequence[FrontPoint], name: str) -> list[str]:
    spreads = [{f"{name}_ms": p.metrics.get(f"{name}_spread_ms", 0.0)} for p in points]
    return [
        display.with_error(point.metrics, spread, f"{name}_ms")
        for point, spread in zip(points, spreads, strict=True)
    ]


def _short_columns(summary: Summary, points: Sequence[FrontPoint], *, errors: bool) -> list[Column]:
    """The objectives, and the first maximised one on held-out data."""
    columns = []
    marks = [display.level_mark(point) for point in points]
    for objective in summary.objectives:
        cells = _values(points, objective.name, "search", errors=errors)
        if objective.direction == "max" and any(marks):
            cells = [f"{cell} {mark or ' '}" for cell, mark in zip(cells, marks, strict=True)]
        columns.append(Column(display.plain(objective.name, 20), cells))
    if any("measured_latency_ms" in point.metrics for point in points):
        times = [display.number(point.metrics.get("measured_latency_ms")) for point in points]
        columns.append(Column("measured ms", times))
    quality = next((o for o in summary.objectives if o.direction == "max"), None)
    if quality is not None and any(point.heldout is not None for point in points):
        heldout = _values(points, quality.name, "heldout", errors=errors)
        columns.append(Column("held-out", heldout))
    return columns


def _thinned(points: Sequence[FrontPoint], most: int) -> list[FrontPoint]:
    """At most `most` points, evenly by number, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[i] for i in np.linspace(0, len(points) - 1, most).round().astype(int)]
