"""The held-out front area: mean held-out score of the search split's picks at 20 budgets.

Choosing by held-out scores would pick the luckiest points, so a front is ranked by this figure:
at each budget the configuration is picked on the search split only, and scored on the held-out
split. Scores are relative scores q (1 dense, 0 text-only), costs are relative compute u.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paretoprune.errors import InvalidValueError
from paretoprune.frontier.dominance import finite_array

BUDGETS: NDArray[np.float64] = np.linspace(0.05, 1.0, 20)
"""The fixed budgets, relative compute u, float64 `[20]`, read-only."""
BUDGETS.setflags(write=False)

SLACK = 1e-9
"""Tolerance of a budget for rounding errors of lattice points, as in a study's meter."""


def picks(
    search_scores: ArrayLike, search_costs: ArrayLike, budgets: ArrayLike = BUDGETS
) -> NDArray[np.intp]:
    """Return the index of the point that the search split picks at each budget, `[budgets]`.

    It is the best of `search_scores` `[points]` among the points whose `search_costs` `[points]`
    fit the budget (within `SLACK`); ties go to the cheaper point, then to the first; -1 where no
    point fits.

    Raises `InvalidValueError` for no points, no budgets, NaN, infinity, or scores and costs of
    different lengths.

    >>> picks([0.5, 0.9], [0.2, 0.6], budgets=[0.1, 0.3, 1.0])
    array([-1,  0,  1])
    """
    scores = finite_array(search_scores, name="search scores", axes=("points",))
    costs = finite_array(search_costs, name="search costs", axes=("points",))
    if len(scores) != len(costs):
        raise InvalidValueError(
            "search scores and search costs must have the same length, "
            f"got {len(scores)} and {len(costs)}"
        )
    limits = finite_array(budgets, name="budgets", axes=("budgets",))
    order = np.lexsort((costs, -scores))  # stable: equal points stay in input order
    fits = costs[order] <= limits[:, None] + SLACK  # [budgets, points]
    return np.where(fits.any(axis=1), order[fits.argmax(axis=1)], -1)


def heldout_front_area(
    search_scores: ArrayLike,
    search_costs: ArrayLike,
    heldout_scores: ArrayLike,
    *,
    text_only: float = 0.0,
    budgets: ArrayLike = BUDGETS,
) -> float:
    """Return the mean over `budgets` of the held-out score of the point picked there.

    `heldout_scores` is `[points]`, on the scale of `text_only`, the score where no point fits
    (no visual tokens: q = 0). A point that is never picked may have NaN there, since it need not
    be evaluated.

    Raises `InvalidValueError` as `picks` does, and for held-out scores of another shape.
    """
    scores = np.asarray(heldout_scores, dtype=np.float64)
    if scores.shape != np.shape(search_scores):
        raise InvalidValueError(
            "held-out scores and search scores must have the same shape, "
            f"got {scores.shape} and {np.shape(search_scores)}"
        )
    area = heldout_front_area_samples(
        search_scores, search_costs, scores.reshape(-1, 1), text_only=text_only, budgets=budgets
    )
    return float(area[0])


def heldout_front_area_samples(
    search_scores: ArrayLike,
    search_costs: ArrayLike,
    heldout_outcomes: ArrayLike,
    *,
    text_only: ArrayLike = 0.0,
    budgets: ArrayLike = BUDGETS,
) -> NDArray[np.float64]:
    """Return the contribution of each held-out sample to the held-out front area, `[samples]`.

    The mean over samples is the area, so the samples can be bootstrapped. `heldout_outcomes` is
    `[points, samples]`, on the scale of `text_only`: one number, or `[samples]`, the outcome of
    each sample where no point fits. With raw outcomes the result is a raw score; it becomes
    relative by `(x - text_only) / (dense - text_only)` like any other. A point that is never picked
    may have NaN outcomes.

    Raises `InvalidValueError` as `picks` does, and for outcomes or `text_only` that do not fit.
    """
    chosen = picks(search_scores, search_costs, budgets)
    points = np.size(search_scores)
    outcomes = np.asarray(heldout_outcomes)
    if outcomes.ndim != 2 or outcomes.shape[0] != points or outcomes.shape[1] == 0:
        raise InvalidValueError(
            f"held-out outcomes must be one row of samples for each of the {points} points, "
            f"got the shape {outcomes.shape}"
        )
    samples = outcomes.shape[1]
    without = np.asarray(text_only, dtype=np.float64)
    if without.shape not in ((), (samples,)):
        raise InvalidValueError(
            f"text_only must be one number or one per sample ({samples}), "
            f"got the shape {without.shape}"
        )
    finite_array(without.ravel(), name="text_only", axes=("samples",))
    used, counts = np.unique(chosen[chosen >= 0], return_counts=True)
    rows = finite_array(
        outcomes[used],
        name="held-out outcomes of the picked points",
        axes=("picked", "samples"),
        may_be_empty=True,
    )
    total = counts @ rows + (chosen < 0).sum() * without
    return np.asarray(total / len(chosen), dtype=np.float64)
