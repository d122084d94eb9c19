"""Recovery of an exhaustive front by another one: recovered fraction and mean deviation."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paretoprune.errors import InvalidValueError
from paretoprune.frontier.dominance import cost_matrix


def recovered_share(front: ArrayLike, reference: ArrayLike, tolerance: float) -> float:
    """Return the share of `reference` points that some point of `front` reaches within `tolerance`.

    Both are cost matrices `[points, objectives]`, minimised, on one scale. A point a reaches r if
    a_i <= r_i + `tolerance` in every objective; one that is better counts as reaching.

    Raises `InvalidValueError` for an empty front, NaN, infinity, different columns, or a negative
    tolerance.
    """
    points, references = _pair(front, reference)
    if not tolerance >= 0:
        raise InvalidValueError(f"the tolerance must be 0 or more, got {tolerance!r}")
    # [references]; below 0: better
    short = (points[None] - references[:, None]).max(axis=2).min(axis=1)
    return float(np.mean(short <= tolerance + 1e-12))


def mean_deviation(front: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """Return the mean absolute difference per objective to the nearest point, `[objectives]`.

    For every point of `reference` the nearest point of `front` is taken (Euclidean); better or
    worse makes no difference: this says how alike two fronts are, not which one wins.

    Raises `InvalidValueError` as `recovered_share` does.
    """
    points, references = _pair(front, reference)
    away = points[None] - references[:, None]  # [reference, front, objectives]
    nearest = (away**2).sum(axis=2).argmin(axis=1)
    picked = away[np.arange(len(references)), nearest]
    return np.asarray(np.abs(picked).mean(axis=0), dtype=np.float64)


def _pair(
    front: ArrayLike, reference: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    points, references = cost_matrix(front, name="front"), cost_matrix(reference, name="reference")
    if points.shape[1] != references.shape[1]:
        raise InvalidValueError(
            "front and reference must have the same number of columns, got "
            f"{points.shape[1]} and {references.shape[1]}"
        )
    return points, references
