"""Claim 5: layer-wise patterns can be read from the learned schedules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from paretoprune.experiments.reproduce.cached_runs import CachedRun, CachedRuns, Point
from paretoprune.experiments.reproduce.finding import Cell, Finding
from paretoprune.experiments.reproduce.similarity import panels
from paretoprune.report.palette import look

BUDGETS = (0.3, 0.5, 0.7)
WIDTH = 0.15
"""Points within this relative compute of a budget count for it."""


def layer_patterns(runs: CachedRuns) -> tuple[Finding, Figure]:
    """Mean keep ratio per layer near a budget: learned per model, and per question family.

    Per question family the schedules are those of the exhaustive grid that the family's own samples
    choose; a gradient search on an eighth of the samples would say more about luck.
    """
    rows: list[list[Cell]] = []
    learned = {m: runs.searches("gradient", model=m) for m in runs.scale.models}
    for model, searches in learned.items():
        for budget in BUDGETS:
            rows.append([model, "learned", budget, *_profile(_points(searches), budget)])
    families = runs.grid().families
    for family, points in families.items():
        profile = _profile(points, 0.5)
        rows.append([runs.scale.models[0], family, 0.5, *profile])
    layers = max(len(row) for row in rows) - 3
    middle = {m: _profile(_points(found), 0.5) for m, found in learned.items()}
    half = {m: _half_layer(profile) for m, profile in middle.items()}
    figure, (left, right) = panels(2)
    for panel, lines in (
        (left, middle),
        (right, {f: _profile(points, 0.5) for f, points in families.items()}),
    ):
        for place, (name, profile) in enumerate(lines.items()):
            style = look(place)
            shares = [np.nan if share is None else share for share in profile]
            if np.isnan(shares).all():  # its front may end below: more compute adds nothing
                name = f"{name}: none there"
            panel.plot(
                range(len(shares)), shares, f"{style.marker}-", color=style.colour,
                label=name, markersize=4,
            )  # fmt: skip
        panel.set_ylim(0, 1.05)
        panel.set_xlabel("decoder layer, from 0")
        panel.set_ylabel("visual tokens kept, compute near 0.5")
        panel.legend(frameon=False, fontsize="small")
    left.set_title("learned, per model", fontsize="medium")
    right.set_title("chosen by each question family", fontsize="medium")
    each = ", ".join(f"{m} at layer {layer}" for m, layer in half.items() if layer is not None)
    finding = Finding(
        number=5,
        name="patterns",
        title="Layer-wise patterns",
        claim="Layer-wise patterns can be read from the learned kernels.",
        verdict="is shown",
        sentence="The pattern is shown: near half of the compute the learned schedules first keep "
        f"less than half of the visual tokens: {each or 'nowhere'}.",
        columns=["model", "of", "compute", *(f"layer {i}" for i in range(layers))],
        rows=[row + [None] * (layers + 3 - len(row)) for row in rows],
    )
    return finding, figure


def _points(searches: Sequence[CachedRun]) -> list[Point]:
    return [point for run in searches for point in run.points]


def _profile(points: Sequence[Point], budget: float) -> list[Cell]:
    near = [p.keep for p in points if abs(p.compute - budget) <= WIDTH]
    if not near:
        return [None for _ in points[0].keep] if points else []
    return [float(share) for share in np.mean(np.array(near), axis=0)]


def _half_layer(profile: Sequence[Cell]) -> int | None:
    """The first layer, counted from 0, that keeps less than half."""
    for layer, share in enumerate(profile):
        if isinstance(share, float) and share < 0.5:
            return layer
    return None
