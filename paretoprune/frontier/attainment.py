"""The median attainment surface: the typical front of a search over its seeds."""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.frontier.dominance import cost_matrix


def median_attainment(fronts: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Return the minimal cost vectors that at least half of the fronts attain, `[k, objectives]`.

    `fronts` holds one cost matrix `[points, objectives]` per seed, 2 or 3 objectives, minimised.
    A front attains a vector if one of its points is nowhere worse. The result is sorted by its
    first column, then the next; its points need not be points of any front. With an even number
    n of fronts, n / 2 of them must attain (the lower median).

    Source: Grunert da Fonseca, Fonseca and Hall 2001 (EMO): the 50 % level of the empirical
    attainment function; computed exactly (Fonseca, Guerreiro, Lopez-Ibanez and Paquete 2011).

    Raises `InvalidValueError` for no fronts, an empty one, NaN, infinity or different numbers of
    columns; `UnsupportedError` for other than 2 or 3 objectives, where moocore stops.
    """
    if len(fronts) == 0:
        raise InvalidValueError("a median attainment surface needs at least one front, got none")
    matrices = [cost_matrix(front, name=f"front {i}") for i, front in enumerate(fronts)]
    columns = [matrix.shape[1] for matrix in matrices]
    if len(set(columns)) > 1:
        raise InvalidValueError(f"all fronts must have the same number of columns, got {columns}")
    if columns[0] not in (2, 3):
        raise UnsupportedError(
            f"attainment surfaces exist for 2 or 3 objectives, got fronts of {columns[0]}"
        )
    seeds = np.repeat(np.arange(len(matrices)), [len(matrix) for matrix in matrices])
    levels = moocore.eaf(np.concatenate(matrices), seeds, percentiles=[50.0])
    surface = np.array(levels[:, :-1], dtype=np.float64)  # a copy: moocore's is a view of C memory
    return surface[np.lexsort(surface.T[::-1])]
