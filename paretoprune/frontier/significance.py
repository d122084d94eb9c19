"""Points of a front that are significantly better than all points of no higher cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.problem import Evaluation, Objective

SIGMAS = 1.96
"""Standard errors that a difference must exceed: 95 %, two-sided, one comparison."""


def significantly_better(
    front: Sequence[Evaluation], objectives: Sequence[Objective]
) -> list[bool | None]:
    """Whether each point's quality exceeds that of all points that cost no more, beyond its error.

    Quality is the maximised objective; with per-sample outcomes of the same samples the error is
    that of the paired difference, else the two standard errors are added in quadrature. None where
    this cannot be said: no single maximised objective, or no errors.
    """
    up = [o.name for o in objectives if o.direction == "max"]
    down = [o.name for o in objectives if o.direction == "min"]
    if len(up) != 1 or not down:
        return [None] * len(front)
    verdicts: list[bool | None] = []
    for point in front:
        cheaper = [
            other
            for other in front
            if other is not point and all(other.objectives[n] <= point.objectives[n] for n in down)
        ]
        exceeds = [_exceeds(point, other, up[0]) for other in cheaper]
        verdicts.append(None if None in exceeds else all(exceeds))
    return verdicts


def _exceeds(one: Evaluation, other: Evaluation, quality: str) -> bool | None:
    gain = one.objectives[quality] - other.objectives[quality]
    error = _paired_error(one.outcomes, other.outcomes)
    if error is None:
        error_one, error_other = (e.standard_errors.get(quality) for e in (one, other))
        if error_one is None or error_other is None:
            return None
        error = math.hypot(error_one, error_other)
    else:
        # outcomes are in their own unit: bring the error to that of the objective
        assert one.outcomes is not None
        assert other.outcomes is not None
        raw = float(one.outcomes.mean() - other.outcomes.mean())
        if raw == 0.0:
            return gain > 0 and error == 0.0
        error *= abs(gain / raw)
    return gain > SIGMAS * error


def _paired_error(
    one: NDArray[np.float32] | None, other: NDArray[np.float32] | None
) -> float | None:
    if one is None or other is None or one.shape != other.shape or len(one) < 2:
        return None
    difference = one.astype(np.float64) - other
    return float(difference.std(ddof=1) / np.sqrt(len(difference)))
