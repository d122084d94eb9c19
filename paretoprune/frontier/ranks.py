"""Strategies ranked over several problems: mean ranks, groups without significant difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from paretoprune.errors import InvalidValueError
from paretoprune.frontier.dominance import finite_array


@dataclass(frozen=True, slots=True)
class Ranks:
    """Mean ranks over `problems`, 1 the best, in the order of `labels`: best first.

    `p_value` is Friedman's: the chance of such ranks if all strategies were equal. Two strategies
    whose mean ranks differ by less than `critical_difference` are not significantly different.
    `groups` are the largest runs of such strategies, as (first, last) indices in `labels`.
    """

    labels: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    ranks: tuple[tuple[float, ...], ...]
    """Per strategy its rank on each problem; ties share the mean of their ranks."""
    problems: int
    p_value: float
    critical_difference: float
    groups: tuple[tuple[int, int], ...]


def rank_over_problems(scores: ArrayLike, labels: Sequence[str], *, level: float = 0.95) -> Ranks:
    """Rank strategies by `scores` `[problems, strategies]`, higher better.

    Friedman's test and the critical difference of Nemenyi's post-hoc test at confidence `level`,
    as in Demsar 2006 (JMLR 7), section 3.2.2: CD = q sqrt(k (k + 1) / 6 N) for k strategies on N
    problems, q the studentised range over sqrt(2).

    Raises `InvalidValueError` for fewer than two problems or strategies, NaN, infinity or labels
    that do not fit.
    """
    from scipy import stats

    table = finite_array(scores, name="scores", axes=("problems", "strategies"))
    problems, count = table.shape
    if problems < 2 or count < 2:
        raise InvalidValueError(
            f"ranks need at least 2 problems and 2 strategies, got {problems} and {count}"
        )
    if len(labels) != count:
        raise InvalidValueError(f"{count} strategies need as many labels, got {len(labels)}")
    ranks = stats.rankdata(-table, axis=1)
    means = ranks.mean(axis=0)
    order = np.argsort(means, kind="stable")
    quantile = float(stats.studentized_range.ppf(level, count, np.inf)) / math.sqrt(2.0)
    difference = quantile * math.sqrt(count * (count + 1) / (6.0 * problems))
    ordered = means[order]
    return Ranks(
        labels=tuple(labels[i] for i in order),
        mean_ranks=tuple(float(mean) for mean in ordered),
        ranks=tuple(tuple(float(r) for r in ranks[:, i]) for i in order),
        problems=problems,
        p_value=_friedman(ranks),
        critical_difference=difference,
        groups=_groups(ordered.tolist(), difference),
    )


def _friedman(ranks: np.ndarray) -> float:
    """Friedman's chi-square p-value, corrected for ties; 1 where every problem ties all."""
    from scipy import stats

    problems, count = ranks.shape
    spread = float(((ranks.mean(axis=0) - (count + 1) / 2) ** 2).sum())
    within = float(((ranks - (count + 1) / 2) ** 2).sum()) / (problems * (count - 1))
    if within == 0.0:
        return 1.0
    return float(stats.chi2.sf(problems * spread / within, count - 1))


def _groups(means: Sequence[float], difference: float) -> tuple[tuple[int, int], ...]:
    groups: list[tuple[int, int]] = []
    for first, mean in enumerate(means):
        last = max(i for i, other in enumerate(means) if other - mean < difference)
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((first, last))
    return tuple(groups)
