"""What figures draw, as plain numbers: axes, front lines, anytime bands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paretoprune import frontier
from paretoprune.report import words
from paretoprune.results import FrontPoint, ObjectiveInfo, PresetPoint, StudyRow, Summary


@dataclass(frozen=True)
class Axes:
    """The two objectives that a front is drawn in, and on which split.

    `complete` is False where the problem has more than two objectives: then a drawn point may seem
    dominated, and no staircase bounds what a front dominates.
    """

    x: ObjectiveInfo
    y: ObjectiveInfo
    heldout: bool
    complete: bool

    @property
    def split(self) -> str:
        """`held-out data` or `search split`."""
        return "held-out data" if self.heldout else "search split"

    @property
    def title(self) -> str:
        """Title of the figure."""
        return f"Fronts, {self.split}" + ("" if self.complete else ", first two objectives")

    def values(self, point: FrontPoint | PresetPoint) -> tuple[float, float] | None:
        """Where a point is drawn; None if it was not evaluated on this split."""
        found = point.heldout if self.heldout else point.search
        if found is None or self.x.name not in found or self.y.name not in found:
            return None
        x, y = found[self.x.name], found[self.y.name]
        return (x, y) if math.isfinite(x) and math.isfinite(y) else None

    def label(self, objective: ObjectiveInfo) -> str:
        """Label of an axis."""
        return f"{words.objective_title(objective)}, {words.better(objective)}"


def axes(summary: Summary) -> Axes | None:
    """The first two objectives, a minimised one on the x axis; None with fewer than two.

    Held-out data are drawn where any point has them.
    """
    if len(summary.objectives) < 2:
        return None
    x, y = summary.objectives[:2]
    if x.direction == "max" and y.direction == "min":
        x, y = y, x
    heldout = any(point.heldout is not None for point in summary.front)
    return Axes(x, y, heldout, complete=len(summary.objectives) == 2)


def drawn(points: Sequence[FrontPoint], on: Axes) -> list[tuple[FrontPoint, float, float]]:
    """Points with where they are drawn, in the order of x on the *search* split.

    Joined as stairs, these are the held-out values of what the search split picks at each x.
    """
    found = [(point, at) for point in points if (at := on.values(point)) is not None]
    found.sort(key=lambda pair: pair[0].search.get(on.x.name, pair[1][0]))
    return [(point, *at) for point, at in found]


def best_seed(summary: Summary, label: str) -> int | None:
    """The seed of highest hypervolume, which only the search split decides; None without one."""
    rows = [row for row in summary.studies if row.label == label]
    return max(rows, key=lambda row: row.hypervolume).seed if rows else None


@dataclass(frozen=True)
class Band:
    """Hypervolume over search cost, over seeds: median, least and most at each cost."""

    cost: list[float]
    median: list[float]
    low: list[float]
    high: list[float]


def anytime(rows: Sequence[StudyRow]) -> Band:
    """The band of several studies; it starts where all have a point, and each keeps its last."""
    curves = [np.asarray(row.curve, dtype=np.float64) for row in rows if row.curve]
    if not curves:
        return Band([], [], [], [])
    start = max(curve[0, 0] for curve in curves)
    cost = np.unique(np.concatenate([curve[:, 0] for curve in curves]))
    cost = cost[cost >= start]
    reached = np.stack(
        [curve[np.searchsorted(curve[:, 0], cost, side="right") - 1, 1] for curve in curves]
    )
    return Band(
        cost.tolist(),
        np.median(reached, axis=0).tolist(),
        reached.min(axis=0).tolist(),
        reached.max(axis=0).tolist(),
    )


Stairs = list[tuple[float, float]]
"""Corners of an attainment surface, in the order of x."""


def attainments(summary: Summary, label: str, on: Axes) -> tuple[Stairs, Stairs] | None:
    """The median and the worst-case attainment surface over a strategy's seeds, search split.

    None where it has fewer than two seeds, or the problem more objectives than are drawn.
    """
    signs = np.array([1.0 if o.direction == "min" else -1.0 for o in (on.x, on.y)])
    seeds: dict[int, list[tuple[float, float]]] = {}
    for point in summary.front:
        found = point.search.get(on.x.name), point.search.get(on.y.name)
        if point.label == label and None not in found:
            seeds.setdefault(point.seed, []).append((float(found[0] or 0), float(found[1] or 0)))
    if len(seeds) < 2 or not on.complete:
        return None
    fronts = [np.array(points) * signs for points in seeds.values()]
    median, worst = (
        [(float(x), float(y)) for x, y in surface(fronts) * signs]
        for surface in (frontier.median_attainment, frontier.worst_attainment)
    )
    return sorted(median), sorted(worst)
