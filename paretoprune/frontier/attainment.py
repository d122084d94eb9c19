"""Attainment surfaces: the typical and the reliable front of a search over its seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.frontier.dominance import cost_matrix


def attainment(fronts: Sequence[ArrayLike], share: float) -> NDArray[np.float64]:
    """Return the minimal cost vectors that at least `share` of the fronts attain.

    `fronts` holds one cost matrix `[points, objectives]` per seed, 2 or 3 objectives, minimised;
    0 < `share` <= 1. A front attains a vector if one of its points is nowhere worse. The result is
    float64 `[k, objectives]`, sorted by its first column, then the next; its points need not be
    points of any front. Of n fronts, ceil(share x n) must attain.

    Source: Grunert da Fonseca, Fonseca and Hall 2001 (EMO): a level of the empirical attainment
    function; computed exactly (Fonseca, Guerreiro, Lopez-Ibanez and Paquete 2011).

    Raises `InvalidValueError` for no fronts, an empty one, NaN, infinity, different numbers of
    columns or a share out of range; `UnsupportedError` for other than 2 or 3 objectives, where
    moocore stops.
    """
    if not 0.0 < share <= 1.0:
        raise InvalidValueError(f"the share of fronts must be in (0, 1], got {share!r}")
    if len(fronts) == 0:
        raise InvalidValueError("an attainment surface needs at least one front, got none")
    matrices = [cost_matrix(front, name=f"front {i}") for i, front in enumerate(fronts)]
    columns = [matrix.shape[1] for matrix in matrices]
    if len(set(columns)) > 1:
        raise InvalidValueError(f"all fronts must have the same number of columns, got {columns}")
    if columns[0] not in (2, 3):
        raise UnsupportedError(
            f"attainment surfaces exist for 2 or 3 objectives, got fronts of {columns[0]}"
        )
    seeds = np.repeat(np.arange(len(matrices)), [len(matrix) for matrix in matrices])
    needed = math.ceil(share * len(matrices) - 1e-9)
    percent = 100.0 * (needed - 0.5) / len(matrices)  # midway, so that no rounding moves the level
    levels = moocore.eaf(np.concatenate(matrices), seeds, percentiles=[percent])
    surface = np.array(levels[:, :-1], dtype=np.float64)  # a copy: moocore's is a view of C memory
    return surface[np.lexsort(surface.T[::-1])]


def median_attainment(fronts: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """`attainment` by half of the fronts: the typical front of a search (the lower median)."""
    return attainment(fronts, 0.5)


def worst_attainment(fronts: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """`attainment` by all fronts: the part of the front that every seed reaches."""
    return attainment(fronts, 1.0)
