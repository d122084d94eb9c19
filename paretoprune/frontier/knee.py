"""The knee of a front: where giving up a little of one objective stops buying much of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from paretoprune.frontier.dominance import cost_matrix


def knee(costs: ArrayLike) -> int:
    """Number of the knee among the points of a front, float64 `[points, objectives]`, minimised.

    Each objective is scaled to 0..1 over the front; the knee is the point farthest below the
    hyperplane through the scaled extremes, where the scaled costs sum to 1 (Das 1999, On
    characterizing the "knee" of the Pareto curve, Struct. Optim. 18): with two objectives, farthest
    from the line between the ends. The first of equals. Raises `InvalidValueError` for no point or
    for numbers that are not finite.
    """
    matrix = cost_matrix(costs)
    low, span = matrix.min(axis=0), np.ptp(matrix, axis=0)
    scaled = (matrix - low) / np.where(span > 0, span, 1.0)
    return int(scaled.sum(axis=1).round(12).argmin())
