"""The data of figures as plain numbers, for every drawing library: fronts, bands, surfaces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paretoprune import frontier
from paretoprune.comparison.results import FrontPoint, ObjectiveInfo, PresetPoint, StudyRow, Summary
from paretoprune.report import display, glossary
from paretoprune.report.palette import Look, looks


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
        over = "" if self.complete else f", {display.plain(self.x.name, 40)}"
        return f"Fronts, {self.split}{over}"

    def values(self, point: FrontPoint | PresetPoint) -> tuple[float, float] | None:
        """The position of a point; None if it was not evaluated on this split."""
        values = point.heldout if self.heldout else point.search
        if values is None or self.x.name not in values or self.y.name not in values:
            return None
        x, y = values[self.x.name], values[self.y.name]
        return (x, y) if math.isfinite(x) and math.isfinite(y) else None

    def label(self, objective: ObjectiveInfo) -> str:
        """Label of an axis."""
        return f"{glossary.objective_title(objective)}, {glossary.better(objective)}"


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


Drawn = tuple[FrontPoint, float, float]
"""A point with its position in a figure."""


def drawn(points: Sequence[FrontPoint], on: Axes) -> list[Drawn]:
    """Points with their positions, in the order of x on the *search* split.

    Joined as stairs, these are the held-out values of the search split's pick at each x.
    """
    placed = [(point, at) for point in points if (at := on.values(point)) is not None]
    placed.sort(key=lambda pair: pair[0].search.get(on.x.name, pair[1][0]))
    return [(point, *at) for point, at in placed]


def union_front(summary: Summary, on: Axes) -> list[Drawn]:
    """The points that no point of any study dominates on the search split."""
    return drawn([point for point in summary.front if point.on_union], on)


@dataclass(frozen=True)
class FrontSeries:
    """A strategy's points: those of its best seed, which a line joins, and of the other seeds."""

    label: str
    look: Look
    best: list[Drawn]
    others: list[Drawn]


def front_series(summary: Summary, on: Axes) -> list[FrontSeries]:
    """The fronts of all strategies."""
    fronts = []
    for label, look in looks(summary).items():
        seed = best_seed(summary, label)
        points = drawn([point for point in summary.front if point.label == label], on)
        best = [at for at in points if at[0].seed == seed]
        others = [at for at in points if at[0].seed != seed]
        fronts.append(FrontSeries(label, look, best, others))
    return fronts


def best_seed(summary: Summary, label: str) -> int | None:
    """The seed of highest hypervolume, which only the search split decides; None without one."""
    rows = [row for row in summary.studies if row.label == label]
    return max(rows, key=lambda row: row.hypervolume).seed if rows else None


def dense_line(summary: Summary, on: Axes) -> bool:
    """Whether the dense model's score is drawn, at 1."""
    return "dense_score" in summary.problem and on.y.name == "score"


@dataclass(frozen=True)
class Band:
    """Hypervolume over search cost, over `seeds` seeds: median, least and most at each cost."""

    cost: list[float]
    median: list[float]
    low: list[float]
    high: list[float]
    seeds: int = 0


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
        len(curves),
    )


def anytime_bands(summary: Summary) -> list[tuple[str, Look, Band]]:
    """The band of each strategy that has one."""
    bands = [
        (label, look, anytime([row for row in summary.studies if row.label == label]))
        for label, look in looks(summary).items()
    ]
    return [(label, look, band) for label, look, band in bands if band.cost]


def further_axes(summary: Summary) -> list[Axes]:
    """One pair of axes per objective beyond the first two: it on x, and the y axis of `axes`."""
    first = axes(summary)
    if first is None:
        return []
    return [Axes(x, first.y, first.heldout, complete=False) for x in summary.objectives[2:]]


def scheduled_points(summary: Summary) -> list[FrontPoint]:
    """The best front's points with a keep schedule, from the cheapest on."""
    return [point for point in summary.front_of_best() if point.keep]


Stairs = list[tuple[float, float]]
"""Corners of an attainment surface, in the order of x."""


@dataclass(frozen=True)
class Surface:
    """An attainment surface in the two drawn objectives: `median` or `worst`, and its corners.

    `limit` bounds the third objective from above (from below, if it is maximised); None without.
    """

    what: Literal["median", "worst"]
    corners: Stairs
    limit: float | None = None

    @property
    def leads(self) -> bool:
        """Whether this is the median without a limit, which stands for the strategy."""
        return self.what == "median" and self.limit is None


def attainment_surfaces(summary: Summary, on: Axes) -> list[tuple[str, Look, Surface]]:
    """The surfaces of all strategies."""
    return [
        (label, look, surface)
        for label, look in looks(summary).items()
        for surface in attainments(summary, label, on)
    ]


def attainments(summary: Summary, label: str, on: Axes) -> list[Surface]:
    """Attainment surfaces over a strategy's seeds, search split: the median, and the worst case.

    With three objectives both are projected to the drawn two, and a third surface is the median
    where the third objective is no worse than in half of all points. Empty where the strategy has
    fewer than two seeds, or the problem more than three objectives.
    """
    shown = [on.x, on.y, *(o for o in summary.objectives if o.name not in (on.x.name, on.y.name))]
    if len(shown) > 3:
        return []
    signs = np.array([1.0 if o.direction == "min" else -1.0 for o in shown])
    seeds: dict[int, list[list[float]]] = {}
    everyone: list[list[float]] = []
    for point in summary.front:
        if not all(o.name in point.search for o in shown):
            continue
        everyone.append([point.search[o.name] for o in shown])
        if point.label == label:
            seeds.setdefault(point.seed, []).append(everyone[-1])
    if len(seeds) < 2:
        return []
    fronts = [np.array(points) * signs for points in seeds.values()]
    median, worst = frontier.median_attainment(fronts), frontier.worst_attainment(fronts)
    surfaces = [
        Surface("median", _projected(median, signs)),
        Surface("worst", _projected(worst, signs)),
    ]
    if len(shown) == 3:
        bound = float(np.median(np.array(everyone)[:, 2] * signs[2]))
        within = median[median[:, 2] <= bound]
        if len(within):
            surfaces.append(Surface("median", _projected(within, signs), limit=bound * signs[2]))
    return surfaces


def _projected(costs: NDArray[np.float64], signs: NDArray[np.float64]) -> Stairs:
    """Corners in the first two objectives of minimal cost vectors, in their own directions."""
    flat = costs[:, :2]
    best = flat[np.sort(frontier.nondominated(flat))]
    return sorted((float(x), float(y)) for x, y in best * signs[:2])
