"""What a staircase of few configurations loses: the table of docs/explanation/gradient-search.md.

Run `python docs/measure_finals.py`; it takes minutes. The best schedules of an exhaustive grid,
one per budget, have part of the whole grid's hypervolume. Budgets are as many as can be paid for at
even distances; round ones, closer together the cheaper; and, as gradient searches choose, round
ones for half of the cost and for the rest others, by what 60 schedules on 60 samples foretell.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
from numpy.typing import NDArray

from paretoprune.comparison.reference import reference_front
from paretoprune.compression.load import load_problem
from paretoprune.frontier import hypervolume
from paretoprune.search.gradient.finals import (
    DIGITS,
    ROUND,
    fine_budgets,
    least,
    lost_within,
    round_budgets,
    staircase,
)
from paretoprune.search.gradient.surrogate import expected
from paretoprune.search.grid import farthest_first

LOW, HIGH, MOST = 0.06, 0.9, 48
TRIED = 60
PASSES = (2.0, 3.0, 5.0, 8.0, 12.0)
"""What the final evaluations may cost, in dense passes."""


def even(price: NDArray[np.float64], budgets: NDArray[np.float64], passes: float) -> list[float]:
    """As many of the budgets as can be paid for, at even distances."""
    for count in range(len(budgets), 0, -1):
        places = ((np.arange(count) + 0.5) / count * len(budgets)).astype(int)
        if price[places].sum() <= passes:
            break
    return [float(b) for b in budgets[places]]


def measure(model: str) -> None:
    """Print the rows of one model."""
    problem = load_problem(model, heldout_size=0)
    found = reference_front(problem, "grid:medium").evaluations
    compute = np.array([e.objectives["compute"] for e in found])
    scores = np.array([e.objectives["score"] for e in found])
    costs = np.stack([1 - scores, compute], axis=1).clip(0, 1)
    blind = problem.cost_model.blind_flops / problem.cost_model.dense_flops

    def price(budget: float) -> float:
        return blind + budget * (1 - blind)

    def part(budgets: NDArray[np.float64]) -> float:
        chosen = costs[least(compute, costs[:, 0], budgets)]
        return hypervolume(chosen) / hypervolume(costs)

    kept = np.stack([e.retained for e in found])[:, :TRIED].mean(1)
    ratios = np.array([e.detail["keep"] for e in found])
    starts = list(islice(farthest_first(ratios), TRIED))
    foretold = expected(ratios[starts], 1 - kept[starts], ratios)
    every = ROUND * np.arange(np.ceil(LOW / ROUND), np.floor(HIGH / ROUND + 1e-9) + 1)
    prices = np.array([price(b) for b in every])
    for passes in PASSES:
        one = np.array(even(prices, every, passes))
        two = round_budgets(LOW, HIGH, price=price, affordable=passes, most=MOST)
        planned = round_budgets(LOW, HIGH, price=price, affordable=passes / 2, most=MOST)
        fine = fine_budgets(compute.min(), HIGH, planned)
        three = staircase(
            fine, lost_within(compute, foretold, fine).clip(0, 1),
            np.array([price(b) for b in fine]), np.isin(fine, planned.round(DIGITS)),
            affordable=passes, most=MOST,
        )  # fmt: skip
        print(
            f"{model:16} {passes:4.0f} passes  even: {len(one):2} of {part(one):.3f}"
            f"  round: {len(two):2} of {part(two):.3f}  told: {len(three):2} of {part(three):.3f}"
        )


if __name__ == "__main__":
    for name in ("mini-llava", "mini-qwen2.5-vl", "mini-internvl"):
        measure(name)
