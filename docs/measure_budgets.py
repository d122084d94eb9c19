"""Hypervolume of few final candidates: the table of docs/explanation/gradient-search.md.

Run `python docs/measure_budgets.py`; it takes minutes. The best schedules of an exhaustive grid,
one per budget, have part of the whole grid's hypervolume. Budgets are as many as can be paid for at
even distances; round ones, closer together the cheaper; and, as gradient searches choose, round
ones for half of the cost and for the rest others, by what 60 schedules on 60 samples predict.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
from numpy.typing import NDArray

from paretoprune.comparison.reference import reference_front
from paretoprune.compression.load import load_problem
from paretoprune.frontier import hypervolume
from paretoprune.search.gradient.budgets import (
    DIGITS,
    ROUND_STEP,
    PredictedFront,
    best_in_interval,
    best_within,
    fine_budgets,
    round_budgets,
    select_budgets,
)
from paretoprune.search.gradient.initial_designs import predict
from paretoprune.search.grid import farthest_point_order

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
    text_only = problem.cost_model.text_only_flops / problem.cost_model.dense_flops

    def price(budget: float) -> float:
        return text_only + budget * (1 - text_only)

    def part(budgets: NDArray[np.float64]) -> float:
        chosen = costs[best_in_interval(compute, costs[:, 0], budgets)]
        return hypervolume(chosen) / hypervolume(costs)

    kept = np.stack([e.retained for e in found])[:, :TRIED].mean(1)
    ratios = np.array([e.detail["keep"] for e in found])
    designs = list(islice(farthest_point_order(ratios), TRIED))
    predicted = predict(ratios[designs], 1 - kept[designs], ratios)
    every = ROUND_STEP * np.arange(
        np.ceil(LOW / ROUND_STEP), np.floor(HIGH / ROUND_STEP + 1e-9) + 1
    )
    prices = np.array([price(b) for b in every])
    for passes in PASSES:
        one = np.array(even(prices, every, passes))
        two = round_budgets(LOW, HIGH, price=price, affordable=passes, max_count=MOST)
        planned = round_budgets(LOW, HIGH, price=price, affordable=passes / 2, max_count=MOST)
        fine = fine_budgets(compute.min(), HIGH, planned)
        three = select_budgets(
            PredictedFront(fine, best_within(compute, predicted, fine).clip(0, 1)),
            np.array([price(b) for b in fine]), np.isin(fine, planned.round(DIGITS)),
            affordable=passes, max_count=MOST,
        )  # fmt: skip
        print(
            f"{model:16} {passes:4.0f} passes  even: {len(one):2} of {part(one):.3f}"
            f"  round: {len(two):2} of {part(two):.3f}"
            f"  predicted: {len(three):2} of {part(three):.3f}"
        )


if __name__ == "__main__":
    for name in ("mini-llava", "mini-qwen2.5-vl", "mini-internvl"):
        measure(name)
