"""Claim 8: a schedule found on one question family or model, used on another."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from paretoprune.experiments.reproduce.cached_runs import CachedRuns, Point
from paretoprune.experiments.reproduce.finding import Cell, Finding, Verdict
from paretoprune.experiments.reproduce.similarity import panels

BUDGET = 0.5
SMALL = 0.02
"""A loss of score by transfer that is called none."""


def transfer(runs: CachedRuns) -> tuple[Finding, Figure]:
    """Loss of held-out score when another family's or model's choice is used at a budget."""
    families = runs.grid().families
    names = list(families)
    picked = {name: _pick(points) for name, points in families.items()}
    by_family = np.array([[picked[a].parts[b] for b in names] for a in names])
    family_loss = np.diag(by_family)[None] - by_family
    rows: list[list[Cell]] = [
        ["question family", a, b, float(by_family[i, j]), float(family_loss[i, j])]
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    ]
    models = list(runs.scale.models)
    by_model = np.array([[_moved(runs, a, b) for b in models] for a in models])
    model_loss = np.diag(by_model)[None] - by_model
    rows += [
        ["model", a, b, float(by_model[i, j]), float(model_loss[i, j])]
        for i, a in enumerate(models)
        for j, b in enumerate(models)
    ]
    figure, drawn = panels(2, height=3.6)
    for panel, loss, labels in (
        (drawn[0], family_loss, names),
        (drawn[1], model_loss, models),
    ):
        _draw(panel, loss, labels)
        panel.grid(visible=False)
    away = ~np.eye(len(names), dtype=bool)
    families_lose = float(family_loss[away].mean())
    models_lose = (
        float(model_loss[~np.eye(len(models), dtype=bool)].mean()) if len(models) > 1 else None
    )
    losses = [x for x in (families_lose, models_lose) if x is not None]
    verdict: Verdict = "holds" if max(losses) <= SMALL else "does not hold"
    other = "" if models_lose is None else f", {models_lose:+.3f} between models"
    finding = Finding(
        number=8,
        name="transfer",
        title="Transfer between question families and models",
        claim="A schedule found on one question family or model serves another as well.",
        verdict=verdict,
        sentence=f"The claim {verdict}: at relative compute {BUDGET:g} the mean loss by transfer "
        f"is {families_lose:+.3f} between question families{other}; {SMALL:g} is called none.",
        columns=["between", "found on", "used on", "held-out score", "loss"],
        rows=rows,
    )
    return finding, figure


def _pick(points: list[Point]) -> Point:
    """The best on the search split within the budget, else the cheapest."""
    within = [p for p in points if p.compute <= BUDGET]
    return max(within, key=lambda p: (p.score, -p.compute)) if within else points[0]


def _moved(runs: CachedRuns, source: str, target: str) -> float:
    """Mean held-out score on `target` of what the searches on `source` pick, over seeds."""
    chosen = [_pick(run.points) for run in runs.searches("gradient", model=source)]
    if source == target:
        return float(np.mean([p.heldout_score for p in chosen]))
    return float(np.mean([p.heldout_score for p in runs.score(chosen, model=target)]))


def _draw(panel: object, loss: NDArray[np.float64], labels: list[str]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(panel, Axes)
    image = panel.imshow(loss, cmap="cividis")
    panel.set_xticks(range(len(labels)), labels, rotation=60, ha="right", fontsize="small")
    panel.set_yticks(range(len(labels)), labels, fontsize="small")
    panel.set_xlabel("used on")
    panel.set_ylabel("found on")
    panel.figure.colorbar(image, ax=panel, shrink=0.8, label="loss of held-out score")
