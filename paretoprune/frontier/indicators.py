"""Quality indicators: one number that says how good a front is.

All take cost matrices float64 `[points, objectives]`, every column minimised, and leave them
unmodified. moocore does the maths. An empty front or reference set, NaN and infinity raise
`InvalidValueError`: moocore would score an empty front as perfect (IGD+) and skip NaN silently.
"""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from paretoprune.core.problem import Objective
from paretoprune.errors import InvalidValueError
from paretoprune.frontier.dominance import cost_matrix


def normalise(values: ArrayLike, objectives: Sequence[Objective]) -> NDArray[np.float64]:
    """Map raw objective values `[points, objectives]` to costs in the unit cube, same shape.

    Per objective, `cost = clip((value - best) / (reference - best), 0, 1)`: 0 at the objective's
    `best`, 1 at its `reference`, whichever its direction. So a score above dense earns nothing and
    one below text-only costs nothing. The bounds are the objective's own, never those of the run.

    Raises `InvalidValueError` for no points, NaN, infinity (in the values or the bounds) or a
    number of columns other than that of the objectives.
    """
    matrix = cost_matrix(values, name="objective values")
    if matrix.shape[1] != len(objectives):
        raise InvalidValueError(
            f"objective values must have one column per objective ({len(objectives)}), "
            f"got {matrix.shape[1]} columns"
        )
    best = np.array([o.best for o in objectives])
    span = np.array([o.reference - o.best for o in objectives])
    for objective, width in zip(objectives, span, strict=True):
        if not np.isfinite(width):
            raise InvalidValueError(
                f"objective {objective.name!r} needs finite bounds, got best={objective.best:g} "
                f"and reference={objective.reference:g}"
            )
    reference = np.array([o.reference for o in objectives])
    clipped = np.clip(matrix, np.minimum(best, reference), np.maximum(best, reference))
    costs: NDArray[np.float64] = np.abs((clipped - best) / span)  # abs: no negative zeros
    return costs


def hypervolume(costs: ArrayLike) -> float:
    """Return the volume that `costs` dominates in the unit cube; the ideal point scores 1.

    `HV(A) = volume(union over a in A of [a_1, 1] x ... x [a_m, 1])`: the reference point is
    (1, ..., 1), which is (q = 0, u = 1) for relative score and compute. Higher is better; strictly
    Pareto-compliant inside the cube. Dominated and repeated points change nothing.

    Source: Zitzler and Thiele 1998 (PPSN V). Variant: exact, not approximated, not divided by the
    hypervolume of a reference front.

    Raises `InvalidValueError` for an empty front, NaN, infinity, or costs outside 0..1, which
    `normalise` has not seen.

    >>> hypervolume([[0.5, 0.5]])
    0.25
    """
    matrix = cost_matrix(costs)
    outside = (matrix < 0.0) | (matrix > 1.0)
    if outside.any():
        raise InvalidValueError(
            f"hypervolume takes costs normalised to 0..1, got {matrix[outside][0]:g}; "
            "apply normalise() first"
        )
    return float(moocore.hypervolume(matrix, ref=np.ones(matrix.shape[1])))


def igd_plus(costs: ArrayLike, reference_front: ArrayLike) -> float:
    """Return how far the reference front is from being weakly dominated, on average (IGD+).

    `IGD+(A, R) = 1/|R| * sum over r in R of min over a in A of || max(a - r, 0) ||_2`, in the unit
    of the costs. Lower is better, 0 is perfect; weakly Pareto-compliant.

    Source: Ishibuchi, Masuda, Tanigaki and Nojima 2015 (EMO), arithmetic mean of distances.

    Raises `InvalidValueError` for an empty set, NaN, infinity or different numbers of columns.

    >>> igd_plus([[0.5, 0.0]], [[0.0, 0.5]])
    0.5
    """
    matrix, reference = _pair(costs, reference_front)
    return float(moocore.igd_plus(matrix, reference))


def additive_epsilon(costs: ArrayLike, reference_front: ArrayLike) -> float:
    """Return the smallest shift that makes `costs` weakly dominate the whole reference front.

    `eps+(A, R) = max over r in R of min over a in A of max over i of (a_i - r_i)`, in the unit of
    the costs. Lower is better; 0 where the reference front is matched, negative where every point
    of it is beaten in all objectives. Weakly Pareto-compliant.

    Source: Zitzler, Thiele, Laumanns, Fonseca and Grunert da Fonseca 2003 (IEEE TEC 7(2)), the
    unary additive form.

    Raises `InvalidValueError` for an empty set, NaN, infinity or different numbers of columns.

    >>> additive_epsilon([[0.5, 0.25]], [[0.25, 0.25]])
    0.25
    """
    matrix, reference = _pair(costs, reference_front)
    return float(moocore.epsilon_additive(matrix, reference))


def average_hausdorff(costs: ArrayLike, reference_front: ArrayLike, *, p: int = 1) -> float:
    """Return the averaged Hausdorff distance of two sets, symmetric in them.

    `Delta_p(A, R) = max(GD_p(A, R), IGD_p(A, R))`, where `GD_p(A, R) = (1/|A| * sum over a in A of
    (min over r in R of ||a - r||_2)^p)^(1/p)` and `IGD_p(A, R) = GD_p(R, A)`, in the unit of the
    costs. Lower is better, 0 for equal sets; *not* Pareto-compliant: points beyond the reference
    front are as far from it as points behind.

    Source: Schuetze, Esquivel, Lara and Coello Coello 2012 (IEEE TEC 16(4)): the mean is taken
    inside the root.

    Raises `InvalidValueError` for an empty set, NaN, infinity, different numbers of columns, or a
    `p` that is not a whole number of at least 1.

    >>> average_hausdorff([[0.0, 0.0]], [[0.0, 0.5], [0.0, 1.0]])
    0.75
    """
    if isinstance(p, bool) or not isinstance(p, int) or p < 1:
        raise InvalidValueError(f"p must be a whole number of at least 1, got {p!r}")
    matrix, reference = _pair(costs, reference_front)
    if matrix.shape[1] == 1:  # moocore 0.3 ignores p there; a column of zeros moves no distance
        matrix, reference = (np.pad(x, ((0, 0), (0, 1))) for x in (matrix, reference))
    return float(moocore.avg_hausdorff_dist(matrix, reference, p=p))


def _pair(
    costs: ArrayLike, reference_front: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as cost matrices with the same number of columns."""
    matrix = cost_matrix(costs)
    reference = cost_matrix(reference_front, name="the reference front")
    if matrix.shape[1] != reference.shape[1]:
        raise InvalidValueError(
            "costs and the reference front must have the same number of columns, "
            f"got {matrix.shape[1]} and {reference.shape[1]}"
        )
    return matrix, reference
