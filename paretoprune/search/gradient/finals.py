"""Which budgets a gradient search offers its final configurations at.

Whoever deploys one names a budget such as 0.5. A configuration that costs 0.504 is of no use there,
so each is meant for a round budget and stays below it, as `Relaxation.rounded_compute` tells.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

ROUND = 0.05
"""Configurations are offered at multiples of this relative compute, as far as they can be paid."""
BETWEEN = 0.025
"""Where more can be paid, at multiples of this between them, the cheapest first."""
SLACK = 1e-9


def round_budgets(
    low: float,
    high: float,
    *,
    price: Callable[[float], float],
    affordable: float,
    most: int,
) -> NDArray[np.float64]:
    """Rising round budgets within `low..high`, at least one and at most `most`, float64.

    `price` is what evaluating a configuration of a budget costs; together they cost no more than
    `affordable`, unless a single one does. Thinned evenly where not all multiples of `ROUND` fit;
    where none lies within, `low` alone.
    """
    every = _multiples(ROUND, low, high)
    if not len(every):
        return np.array([low])
    for count in range(min(most, len(every)), 0, -1):
        # the middles of equal parts: few at the ends would say nothing of what lies between
        chosen = every[((np.arange(count) + 0.5) / count * len(every)).astype(int)]
        if sum(map(price, chosen)) <= affordable:
            break
    if len(chosen) < len(every):
        return np.asarray(chosen)
    left = affordable - sum(map(price, chosen))
    found = list(chosen)
    for budget in _multiples(BETWEEN, low, high):
        if np.abs(every - budget).min() < BETWEEN / 2:
            continue
        left -= price(budget)
        if left < 0 or len(found) >= most:
            break
        found.append(budget)
    return np.sort(found)


def below(compute: NDArray[np.float64], budgets: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each budget the place of the dearest that fits it; where none does, the cheapest.

    Each place once, int64.
    """
    found = []
    for budget in budgets:
        fitting = np.where(compute <= budget + SLACK, compute, -np.inf)
        found.append(int(fitting.argmax()) if np.isfinite(fitting).any() else int(compute.argmin()))
    return np.asarray(list(dict.fromkeys(found)), dtype=np.int64)


def least(
    compute: NDArray[np.float64], lost: NDArray[np.float64], budgets: NDArray[np.float64]
) -> NDArray[np.int64]:
    """For each budget, of what fits it and not the one before, the place of what loses least.

    Where nothing fits any, the cheapest. Int64.
    """
    found = []
    before = -np.inf
    for budget in budgets:
        fits = (compute > before + SLACK) & (compute <= budget + SLACK)
        if fits.any():
            found.append(int(np.where(fits, lost, np.inf).argmin()))
        before = budget
    return np.asarray(found or [int(compute.argmin())], dtype=np.int64)


def _multiples(step: float, low: float, high: float) -> NDArray[np.float64]:
    return step * np.arange(np.ceil(low / step - SLACK), np.floor(high / step + SLACK) + 1)
