"""Budgets of a gradient search: the grid it solves for, and those of its final candidates.

Whoever deploys a configuration names a budget such as 0.5. A configuration that costs 0.504 is of
no use there, so each final candidate is meant for a round budget and stays within it, as
`Relaxation.rounded_compute` says.

The front of a few points is a staircase: between two of them the score of the cheaper one counts.
Where initial designs predict the loss at each budget, further final candidates go to the budgets
where they lower the mean loss most for their price.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROUND_STEP = 0.05
"""Final candidates are offered at multiples of this relative compute first."""
BETWEEN_STEP = 0.025
"""Further budgets, where they can be paid for: multiples of this, the cheapest first."""
FINE_STEP = 0.01
"""Further budgets where losses are predicted: multiples of this."""
BISECTIONS = 50
"""Halvings of the range of prices of compute, to find the one at which the budget is used up."""
SLACK = 1e-9
DIGITS = 9


# --- the grid


@dataclass(frozen=True)
class BudgetGrid:
    """Rising budgets in relative compute, float64 `[points]`; parameters between are linear."""

    budgets: NDArray[np.float64]

    @classmethod
    def within(cls, low: float, high: float, count: int, exponent: float = 1.0) -> BudgetGrid:
        """`count` points over a range of budgets: evenly spaced, or denser at the low end.

        Point i of n stands at low + (high - low) (i / (n - 1)) ^ exponent.
        """
        return cls(low + (high - low) * np.linspace(0, 1, count) ** exponent)

    def __len__(self) -> int:
        return len(self.budgets)

    def weights(self, budgets: NDArray[np.float64]) -> Tensor:
        """Weights of the grid points at these budgets: float64 `[budgets, points]`, rows sum to 1.

        Linear between neighbours, constant outside.
        """
        place = np.interp(budgets, self.budgets, np.arange(len(self)))
        below = np.minimum(place.astype(np.int64), len(self) - 2)
        found = np.zeros((len(budgets), len(self)))
        rows = np.arange(len(budgets))
        found[rows, below] = 1 - (place - below)
        found[rows, below + 1] = place - below
        return torch.from_numpy(found)

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """One budget per sample, stratified over the grid points."""
        return self._at((np.arange(count) + rng.random(count)) / count)

    def even(self, count: int) -> NDArray[np.float64]:
        """Budgets spaced as the grid points are, ends included."""
        return self._at(np.linspace(0, 1, count))

    def _at(self, place: NDArray[np.float64]) -> NDArray[np.float64]:
        """Budgets at positions 0..1 along the grid."""
        steps = np.linspace(0, 1, len(self))
        return np.asarray(np.interp(place, steps, self.budgets))


def smoothed(values: Tensor, weight: float) -> Tensor:
    """Rows `[points, n]`, each averaged with its neighbours, which have this weight."""
    padded = torch.cat([values[:1], values, values[-1:]])
    return ((padded[:-2] + padded[2:]) * weight + padded[1:-1]) / (1 + 2 * weight)


# --- budgets of final candidates


class PredictedFront(NamedTuple):
    """The predicted `loss`, 0..1, of the best schedule within each of rising `budgets`; float64."""

    budgets: NDArray[np.float64]
    loss: NDArray[np.float64]


def round_budgets(
    low: float,
    high: float,
    *,
    price: Callable[[float], float],
    affordable: float,
    max_count: int,
) -> NDArray[np.float64]:
    """Rising round budgets within `low..high`, at least one and at most `max_count`, float64.

    `price` is that of evaluating a configuration of a budget; together they cost no more than
    `affordable`, unless a single one does. As many multiples of `ROUND_STEP` as can be paid, denser
    at low budgets, then multiples of `BETWEEN_STEP`, the cheapest first. Where no multiple lies
    within, `low` alone.
    """
    every = _multiples(ROUND_STEP, low, high)
    if not len(every):
        return np.array([low])
    chosen = every[:1]
    for count in range(max_count, 0, -1):
        chosen = every[_denser_at_first(count, len(every))]
        if sum(map(price, chosen)) <= affordable:
            break
    left = affordable - sum(map(price, chosen))
    found = list(chosen)
    for budget in _multiples(BETWEEN_STEP, low, high):
        if np.abs(chosen - budget).min() < BETWEEN_STEP / 2:
            continue
        left -= price(budget)
        if left < 0 or len(found) >= max_count:
            break
        found.append(budget)
    return np.sort(found)


def _denser_at_first(count: int, size: int) -> NDArray[np.int64]:
    """Up to `count` of the first `size` numbers, even in their square roots.

    A front is steep at low budgets, where a gap between two points costs most. Each number is the
    middle of its part.
    """
    middles = (np.arange(count) + 0.5) / count
    return np.unique((middles**2 * size).astype(np.int64))


def fine_budgets(low: float, high: float, planned: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rising multiples of `FINE_STEP` within `low..high`, and the `planned` budgets, float64."""
    return np.unique(np.concatenate([_multiples(FINE_STEP, low, high), planned]).round(DIGITS))


def select_budgets(
    front: PredictedFront,
    prices: NDArray[np.float64],
    planned: NDArray[np.bool_],
    *,
    affordable: float,
    max_count: int,
) -> NDArray[np.float64]:
    """The planned budgets of a predicted front, and those others that lower the mean loss most.

    `prices` `[budgets]` are those of an evaluation at each budget. The mean loss over users who ask
    for a budget, `a(b)` of them for less than b (see `asked_below`), is

        a(b_1) + sum_i l_i (a(b_{i+1}) - a(b_i)),    a(b_{n+1}) = 1: below b_1 the loss is 1.

    It is least among choices of its cost for some price of compute (Everett, as in `clusters`), and
    minimised at a given price from the last budget backwards (Bellman). The price is the lowest at
    which at most `max_count` budgets are chosen, for at most `affordable`, unless the planned ones
    are more.
    """
    low, high = 1e-12, 1e3
    asked, extra = asked_below(front.budgets), np.where(planned, 0.0, prices)
    chosen = np.flatnonzero(planned)
    affordable -= prices[planned].sum()
    for _ in range(BISECTIONS):
        middle = float(np.sqrt(low * high))
        found = _cheapest_selection(asked, front.loss, middle * extra, planned)
        if len(found) <= max_count and extra[found].sum() <= affordable:
            chosen, high = found, middle
        else:
            low = middle
    return front.budgets[chosen]


def asked_below(budgets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of users who ask for less than each budget, float64.

    Half of them ask for any budget in 0..1, as hypervolume assumes, and half for a multiple of
    `ROUND_STEP`, as the held-out front area assumes.
    """
    multiples = np.ceil(budgets / ROUND_STEP - SLACK) - 1
    return np.asarray((budgets + ROUND_STEP * multiples) / 2)


def _cheapest_selection(
    asked: NDArray[np.float64],
    loss: NDArray[np.float64],
    prices: NDArray[np.float64],
    planned: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Indices of the budgets with the least loss plus price; contains all planned ones."""
    count = len(asked)
    to_go = loss * (1 - asked)  # from each on, if it is the last
    after = np.full(count, -1)
    last, must = count, False  # one behind the next planned budget; whether there is one
    for i in range(count - 1, -1, -1):
        on = loss[i] * (asked[i + 1 : last] - asked[i]) + (prices + to_go)[i + 1 : last]
        if len(on) and (must or on.min() < to_go[i]):
            best = int(on.argmin())
            to_go[i], after[i] = on[best], i + 1 + best
        if planned[i]:
            last, must = i + 1, True
    place = int((asked + prices + to_go)[:last].argmin())
    found = []
    while place >= 0:
        found.append(place)
        place = int(after[place])
    return np.asarray(found, dtype=np.int64)


# --- schedules for given budgets


def largest_within(compute: NDArray[np.float64], budgets: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each budget the place of the largest compute within it, or the smallest if none is.

    Each place once, int64.
    """
    found = []
    for budget in budgets:
        fitting = np.where(compute <= budget + SLACK, compute, -np.inf)
        found.append(int(fitting.argmax()) if np.isfinite(fitting).any() else int(compute.argmin()))
    return np.asarray(list(dict.fromkeys(found)), dtype=np.int64)


def best_in_interval(
    compute: NDArray[np.float64], loss: NDArray[np.float64], budgets: NDArray[np.float64]
) -> NDArray[np.int64]:
    """For each budget the place of the least loss above the budget before it and within it.

    Budgets with none are left out; where all are, the cheapest place. Int64.
    """
    found = []
    before = -np.inf
    for budget in budgets:
        fits = (compute > before + SLACK) & (compute <= budget + SLACK)
        if fits.any():
            found.append(int(np.where(fits, loss, np.inf).argmin()))
        before = budget
    return np.asarray(found or [int(compute.argmin())], dtype=np.int64)


def best_within(
    compute: NDArray[np.float64], loss: NDArray[np.float64], budgets: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The least loss within each budget, float64; infinite where nothing fits it."""
    fits = compute[None] <= budgets[:, None] + SLACK
    found: NDArray[np.float64] = np.where(fits, loss, np.inf).min(axis=1)
    return found


def _multiples(step: float, low: float, high: float) -> NDArray[np.float64]:
    return step * np.arange(np.ceil(low / step - SLACK), np.floor(high / step + SLACK) + 1)
