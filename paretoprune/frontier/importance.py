"""Importance of each knob for each objective: permutation importance of a fitted forest.

For every objective, extremely randomised trees are fitted to the evaluations of one space and
tested on those left out (five folds). A knob's importance is the drop of the explained variance
(R²) when its values are shuffled among the evaluations left out (Breiman 2001, Random Forests,
section 10).

`optuna.importance` is not used: it leaves out knobs that not every evaluation has, and
its shares sum to 1 however little the fit explains, without standard errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.problem import Evaluation, Problem

MIN_EVALUATIONS = 30
"""Fewest distinct evaluations that a fit is made from."""
MAX_EVALUATIONS = 2000
FOLDS = 5
REPEATS = 5
TREES = 64


@dataclass(frozen=True)
class KnobLoss:
    """Loss of explained variance when a knob's values are shuffled: mean and standard error."""

    knob: str
    mean: float
    error: float


@dataclass(frozen=True)
class Importances:
    """Knobs of a space for one objective; `explained` is R² where `evaluations` are left out."""

    space: str
    objective: str
    evaluations: int
    explained: float
    knobs: list[KnobLoss]


def knob_importances(problem: Problem, evaluations: Sequence[Evaluation]) -> list[Importances]:
    """One per objective that varies and space with `MIN_EVALUATIONS` distinct complete ones."""
    distinct = {
        e.candidate.key: e for e in evaluations if e.complete and e.candidate.policy is None
    }
    found: list[Importances] = []
    for name, space in problem.spaces.items():
        inside = [e for e in distinct.values() if e.candidate.space == name][:MAX_EVALUATIONS]
        if len(inside) < MIN_EVALUATIONS:
            continue
        points = np.stack([space.encode(e.candidate.values) for e in inside])
        for objective in problem.objectives:
            values = np.array([e.objectives[objective.name] for e in inside])
            if np.ptp(values) > 0:
                explained, losses = permutation_importance(points, values)
                errors = losses.std(axis=0, ddof=1) / np.sqrt(len(losses))  # over folds
                knobs = [
                    KnobLoss(*row)
                    for row in zip(
                        space.names, losses.mean(axis=0).tolist(), errors.tolist(), strict=True
                    )
                ]
                found.append(Importances(name, objective.name, len(inside), explained, knobs))
    return found


def permutation_importance(
    points: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Explained variance R² of `values` [points] left out, and its loss per knob [folds, knobs].

    `points` is `[points, knobs]`. Same input, same output.
    """
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.inspection import permutation_importance as importance
    from sklearn.model_selection import KFold

    scores, losses = [], []
    for train, left_out in KFold(FOLDS, shuffle=True, random_state=0).split(points):
        model = ExtraTreesRegressor(TREES, random_state=0).fit(points[train], values[train])
        scores.append(model.score(points[left_out], values[left_out]))
        losses.append(
            importance(
                model, points[left_out], values[left_out], n_repeats=REPEATS, random_state=0
            ).importances_mean
        )
    return float(np.mean(scores)), np.stack(losses)
