"""Every strategy against every other: paired differences, corrected for their number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paretoprune.errors import InvalidValueError
from paretoprune.frontier.dominance import finite_array
from paretoprune.frontier.statistics import (
    Interval,
    cohens_d,
    percentile_interval,
    resampled_means,
)

RESAMPLES = 10_000
"""Least number of resamples; more for many pairs, see `enough_resamples`."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Result of a paired comparison of `first` with `second`.

    `difference` is the mean of first - second with its 95 % interval (of this pair alone);
    `p_value` is two-sided; `adjusted` is corrected for the number of pairs; `effect_size` is
    Cohen's d_z over the held-out samples, each averaged over the seeds. `separated` says whether
    `adjusted` is below 1 - level.
    """

    first: str
    second: str
    difference: Interval
    p_value: float
    adjusted: float
    effect_size: float

    @property
    def separated(self) -> bool:
        """Whether the two differ by more than chance, all pairs considered."""
        return self.adjusted < 1.0 - self.difference.level


def compare_pairs(
    areas: Mapping[str, ArrayLike],
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int | None = None,
) -> list[Pair]:
    """Compare all strategies with each other, in the order of `areas`.

    `areas` maps a label to its per-sample held-out areas `[seeds, samples]`, the samples being the
    same for all. Seeds are paired in order; one that ran fewer is repeated. Both factors are
    resampled (see `bootstrap_area`), with the same draws for every strategy. The p-value inverts
    the percentile interval: twice the smaller tail of the differences at 0, the observed one
    counted (Davison and Hinkley 1997, section 4.4 and 5.6). Holm's step-down method (1979,
    Scandinavian Journal of Statistics 6(2)) keeps the chance of any false positive below 1 - level.
    `resamples` is `enough_resamples` where not given.

    Raises `InvalidValueError` for different numbers of samples, NaN or infinity.
    """
    matrices = {
        label: finite_array(a, name=f"areas of {label}", axes=("seeds", "samples"))
        for label, a in areas.items()
    }
    if len(matrices) < 2:
        return []
    samples = sorted({matrix.shape[1] for matrix in matrices.values()})
    if len(samples) > 1:
        raise InvalidValueError(f"all strategies must share the samples, got {samples}")
    resamples = resamples or enough_resamples(len(matrices), level)
    seeds = max(len(matrix) for matrix in matrices.values())
    stack = np.stack([np.resize(matrix, (seeds, samples[0])) for matrix in matrices.values()])
    means = resampled_means(stack, rng=rng, resamples=resamples)
    tested: list[tuple[int, int, NDArray[np.float64], float]] = []
    for i, j in combinations(range(len(stack)), 2):
        draws = means[i] - means[j]
        tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
        tested.append((i, j, draws, min(1.0, 2.0 * (1 + tail) / (1 + resamples))))
    labels = list(matrices)
    adjusted = holm([p for *_, p in tested])
    return [
        Pair(
            labels[i],
            labels[j],
            percentile_interval(draws, float(stack[i].mean() - stack[j].mean()), level),
            p,
            corrected,
            cohens_d((stack[i] - stack[j]).mean(axis=0)),
        )
        for (i, j, draws, p), corrected in zip(tested, adjusted, strict=True)
    ]


def enough_resamples(strategies: int, level: float = 0.95) -> int:
    """Resamples with which all pairs of so many strategies can be significantly different.

    A p-value of R resamples cannot be below 2 / (R + 1), and Holm's method multiplies the smallest
    by the number of pairs; the result must be able to get to half of 1 - level.

    >>> enough_resamples(6), enough_resamples(23)
    (10000, 20240)
    """
    pairs = strategies * (strategies - 1) // 2
    return max(RESAMPLES, ceil(round(4 * pairs / (1.0 - level), 6)))


def holm(p_values: ArrayLike) -> list[float]:
    """Holm's adjusted p-values, in the order of `p_values` `[tests]`.

    Raises `InvalidValueError` for values outside 0..1 or NaN.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = finite_array(p_values, name="p-values", axes=("tests",))
    if (p < 0).any() or (p > 1).any():
        raise InvalidValueError(f"p-values must be in 0..1, got {p.min()!r} to {p.max()!r}")
    order = np.argsort(p, kind="stable")
    steps = np.arange(len(p), 0, -1)
    raised = np.minimum(1.0, np.maximum.accumulate(p[order] * steps))
    result = np.empty(len(p))
    result[order] = raised
    return [float(value) for value in result]
