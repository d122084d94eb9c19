"""Pareto dominance: which points of a cost matrix no other point beats.

A cost matrix is float64 `[points, objectives]`, every column minimised. A point dominates another
if it is nowhere worse and somewhere better.
"""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from paretoprune.core.problem import Evaluation, Objective, costs_matrix
from paretoprune.errors import InvalidValueError, UnknownNameError

MAX_OBJECTIVES = 31
"""Most columns of a cost matrix: where moocore's exact hypervolume ends."""


def finite_array(
    values: ArrayLike, *, name: str, axes: tuple[str, ...], may_be_empty: bool = False
) -> NDArray[np.float64]:
    """Return `values` as a finite float64 array with one dimension per name in `axes`.

    `name` is what error sentences call the values. The result may share memory with the input.
    Raises `InvalidValueError` for anything but numbers, the wrong number of dimensions, no entry
    (unless `may_be_empty`), NaN or infinity.
    """
    shape = f"[{', '.join(axes)}]"
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"{name} must be numbers {shape}: {error}") from error
    if array.ndim != len(axes):
        raise InvalidValueError(f"{name} must have the shape {shape}, got {array.shape}")
    if array.size == 0 and not may_be_empty:
        raise InvalidValueError(f"{name} must not be empty, got the shape {array.shape}")
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InvalidValueError(f"{name} must be finite, got {array[where]} at {list(where)}")
    return array


def cost_matrix(
    costs: ArrayLike, *, name: str = "costs", may_be_empty: bool = False
) -> NDArray[np.float64]:
    """Return `costs` as a finite float64 matrix `[points, objectives]`.

    Raises `InvalidValueError` as `finite_array` does, and for 0 or more than `MAX_OBJECTIVES`
    columns.
    """
    matrix = finite_array(
        costs, name=name, axes=("points", "objectives"), may_be_empty=may_be_empty
    )
    if not 1 <= matrix.shape[1] <= MAX_OBJECTIVES:
        raise InvalidValueError(
            f"{name} must have 1 to {MAX_OBJECTIVES} columns, got {matrix.shape[1]}"
        )
    return matrix


def nondominated(costs: ArrayLike) -> NDArray[np.intp]:
    """Return the indices of the rows that no other row dominates, in input order.

    Of equal rows the first is kept. `costs` is `[points, objectives]`, all minimised; no points
    give no indices. Raises `InvalidValueError` for NaN, infinity or a wrong shape.

    Algorithm: moocore's `is_nondominated` with `keep_weakly=False` (Kung, Luccio and Preparata
    1975, JACM 22(4)).

    >>> nondominated([[1, 1], [0, 1], [1, 0], [1, 0]])
    array([1, 2])
    """
    matrix = cost_matrix(costs, may_be_empty=True)
    return np.flatnonzero(moocore.is_nondominated(matrix))


def front_of(
    evaluations: Sequence[Evaluation], objectives: Sequence[Objective]
) -> NDArray[np.intp]:
    """Return the indices of the non-dominated complete evaluations, in input order.

    Failed evaluations and those on a part of the samples are skipped; of evaluations with equal
    objectives the first is kept. Raises `UnknownNameError` if an evaluation lacks one of
    `objectives`.
    """
    succeeded = [i for i, e in enumerate(evaluations) if e.complete]
    for i in succeeded:
        for objective in objectives:
            if objective.name not in evaluations[i].objectives:
                raise UnknownNameError("objective", objective.name, evaluations[i].objectives)
    costs = costs_matrix([evaluations[i] for i in succeeded], objectives)
    return np.asarray(succeeded, dtype=np.intp)[nondominated(costs)]
