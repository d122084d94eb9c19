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
    `affordable`, unless a single one does. As many multiples of `ROUND` as can be paid, the closer
    the cheaper, then multiples of `BETWEEN`, the cheapest first. Where no multiple lies within,
    `low` alone.
    """
    every = _multiples(ROUND, low, high)
    if not len(every):
        return np.array([low])
    chosen = every[:1]
    for count in range(most, 0, -1):
        chosen = every[_bent(count, len(every))]
        if sum(map(price, chosen)) <= affordable:
            break
    left = affordable - sum(map(price, chosen))
    found = list(chosen)
    for budget in _multiples(BETWEEN, low, high):
        if np.abs(chosen - budget).min() < BETWEEN / 2:
            continue
        left -= price(budget)
        if left < 0 or len(found) >= most:
            break
        found.append(budget)
    return np.sort(found)


def _bent(count: int, places: int) -> NDArray[np.int64]:
    """Up to `count` of the first `places` numbers, close at first: even in their square roots.

    There a front is steep, and what lies between two of its points is lost. Each is the middle of
    its part: few at the ends would say nothing of what lies between.
    """
    middles = (np.arange(count) + 0.5) / count
    return np.unique((middles**2 * places).astype(np.int64))


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
