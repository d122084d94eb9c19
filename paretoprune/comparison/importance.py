"""Which knobs move which objective: permutation importance on logged evaluations.

For every objective, extremely randomised trees are fitted to the evaluations of one space and
judged on those left out (five folds). A knob's importance is how much of the explained variance
(R²) is lost when its values are shuffled among the evaluations left out (Breiman 2001, Random
Forests, section 10).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paretoprune.comparison.results import KnobImportance, Sensitivity
from paretoprune.core.problem import Evaluation, Problem

LEAST = 30
"""Fewest distinct evaluations that a fit is made from."""
MOST = 2000
FOLDS = 5
REPEATS = 5
TREES = 64


def sensitivities(problem: Problem, evaluations: Sequence[Evaluation]) -> list[Sensitivity]:
    """One per space with `LEAST` distinct complete evaluations and objective that varies."""
    distinct = {
        e.candidate.key: e for e in evaluations if e.complete and e.candidate.policy is None
    }
    found: list[Sensitivity] = []
    for name, space in problem.spaces.items():
        inside = [e for e in distinct.values() if e.candidate.space == name][:MOST]
        if len(inside) < LEAST:
            continue
        points = np.stack([space.encode(e.candidate.values) for e in inside])
        for objective in problem.objectives:
            values = np.array([e.objectives[objective.name] for e in inside])
            if np.ptp(values) > 0:
                explained, losses = permutation_importance(points, values)
                found.append(
                    Sensitivity(
                        space=name,
                        objective=objective.name,
                        evaluations=len(inside),
                        explained=explained,
                        knobs=[
                            KnobImportance(knob=knob, mean=float(x.mean()), error=_error(x))
                            for knob, x in zip(space.names, losses.T, strict=True)
                        ],
                    )
                )
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


def _error(losses: NDArray[np.float64]) -> float:
    """Standard error over folds."""
    return float(losses.std(ddof=1) / np.sqrt(len(losses)))
