"""Which budgets a gradient search offers its final configurations at.

Whoever deploys one names a budget such as 0.5. A configuration that costs 0.504 is of no use there,
so each is meant for a round budget and stays below it, as `Relaxation.rounded_compute` tells.

A front of few points is a staircase, and what lies between two of them is lost. Where starts have
told what to expect at each budget, further points go where that loses least for what they cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROUND = 0.05
"""Configurations are offered at multiples of this relative compute, as far as they can be paid."""
BETWEEN = 0.025
"""Where more can be paid, at multiples of this between them, the cheapest first."""
FINE = 0.01
"""Where it is known what to expect, at multiples of this, too."""
HALVINGS = 50
"""Of the range of prices of compute, to find the one at which all that can be paid is bought."""
SLACK = 1e-9
DIGITS = 9


class Foretold(NamedTuple):
    """What starts foretell at rising `budgets`: `lost` by the best within each, 0..1; float64."""

    budgets: NDArray[np.float64]
    lost: NDArray[np.float64]


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


def fine_budgets(low: float, high: float, planned: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rising multiples of `FINE` within `low..high`, and what is `planned` anyway, float64."""
    return np.unique(np.concatenate([_multiples(FINE, low, high), planned]).round(DIGITS))


def staircase(
    budgets: NDArray[np.float64],
    lost: NDArray[np.float64],
    prices: NDArray[np.float64],
    planned: NDArray[np.bool_],
    *,
    affordable: float,
    most: int,
) -> NDArray[np.float64]:
    """What is planned of rising budgets `[n]`, and what of the others makes it lose least.

    `lost`, 0..1, is what the best within each budget should lose, `prices` what evaluating it
    costs; all are float64. What is lost on average by those who ask for a budget, `a(b)` of them
    for less than b (see `asked_below`),

        a(b_1) + sum_i l_i (a(b_{i+1}) - a(b_i)),    a(b_{n+1}) = 1: all is lost below b_1,

    is least among choices of its cost for some price of compute (Everett, as in `kinds`), and found
    for a given one by going backwards (Bellman). The price is the lowest at which at most `most`
    are chosen, for at most `affordable`, unless what is planned is more.
    """
    low, high = 1e-12, 1e3
    asked, extra = asked_below(budgets), np.where(planned, 0.0, prices)
    chosen = np.flatnonzero(planned)
    affordable -= prices[planned].sum()
    for _ in range(HALVINGS):
        middle = float(np.sqrt(low * high))
        found = _cheapest_staircase(asked, lost, middle * extra, planned)
        if len(found) <= most and extra[found].sum() <= affordable:
            chosen, high = found, middle
        else:
            low = middle
    return budgets[chosen]


def asked_below(budgets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of those who ask for less than each budget, float64.

    Half of them ask for anything in 0..1, as hypervolume has it, and half for a multiple of
    `ROUND`, as people do, and as held-out front area is read off.
    """
    multiples = np.ceil(budgets / ROUND - SLACK) - 1
    return np.asarray((budgets + ROUND * multiples) / 2)


def _cheapest_staircase(
    asked: NDArray[np.float64],
    lost: NDArray[np.float64],
    prices: NDArray[np.float64],
    planned: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Places of the budgets whose loss and price together are least; none planned is left out."""
    count = len(asked)
    to_go = lost * (1 - asked)  # from each on, if it is the last
    after = np.full(count, -1)
    last, must = count, False  # one behind the next that is planned; whether there is one
    for i in range(count - 1, -1, -1):
        on = lost[i] * (asked[i + 1 : last] - asked[i]) + (prices + to_go)[i + 1 : last]
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


def lost_within(
    compute: NDArray[np.float64], lost: NDArray[np.float64], budgets: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The least that is lost within each budget, float64; infinite where nothing fits it."""
    fits = compute[None] <= budgets[:, None] + SLACK
    found: NDArray[np.float64] = np.where(fits, lost, np.inf).min(axis=1)
    return found


def _multiples(step: float, low: float, high: float) -> NDArray[np.float64]:
    return step * np.arange(np.ceil(low / step - SLACK), np.floor(high / step + SLACK) + 1)
