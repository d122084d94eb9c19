"""What the starts of a gradient search lose: the table of docs/explanation/gradient-search.md.

Run `python docs/measure_starts.py`; it takes minutes. All schedules of one or two drops are
evaluated on the whole search split, which is the truth, and on parts of it, which is what a search
tries. Per knot the best is chosen by what was tried, or by what that lets expect of all; printed is
what the chosen lose in truth, mean over knots.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from paretoprune.problems.load import load_problem
from paretoprune.search.base import SearchContext
from paretoprune.search.gradient.starts import SLACK
from paretoprune.search.gradient.surrogate import expected
from paretoprune.search.grid import farthest_first
from paretoprune.search.lagrangian import LagrangianSearch

SAMPLES = 200
PASSES = 10.0
TRIES = ((32, 40), (32, None), (16, 60), (16, None))
"""On how many samples, and how many schedules: None for as many as `PASSES` pay for."""


def chosen(
    lost: NDArray[np.float64], compute: NDArray[np.float64], budgets: NDArray[np.float64]
) -> list[int]:
    """Of each budget that starts reach, the place of what loses least within it."""
    within = [b for b in budgets if compute.min() <= b <= compute.max() + 0.05]
    return [int(np.where(compute <= b + SLACK, lost, np.inf).argmin()) for b in within]


def measure(model: str) -> None:
    """Print the rows of one model."""
    problem = load_problem(model, search_size=SAMPLES, heldout_size=0)
    search = LagrangianSearch()
    search.start(problem, SearchContext(seed=0, budget=4 * PASSES))
    starts, budgets = search.starts, search.budgets
    assert starts is not None
    candidates = [search.coordinates.candidate(point) for point in starts.points.numpy()]
    prices = np.array([problem.price(c) for c in candidates])

    def lost(samples: int) -> NDArray[np.float64]:
        asked = [replace(c, share=samples / SAMPLES) for c in candidates]
        return np.array([e.metrics["lost_to_dense"] for e in problem.evaluate(asked)])

    truth = lost(SAMPLES)

    def told(name: str, places: list[int], cost: float) -> None:
        print(f"{model:16} {name:28} {cost:6.1f} passes  {truth[places].mean():.3f}")

    order = np.array(list(farthest_first(starts.ratios)))
    for samples, count in TRIES:
        known, costs = lost(samples), (prices[order] * samples / SAMPLES).cumsum()
        tried = order[: count or int((costs <= PASSES).sum())]
        cost = float(costs[len(tried) - 1])
        best = chosen(known[tried], starts.compute[tried], budgets)
        told(f"best of {len(tried)} on {samples}", tried[best].tolist(), cost)
        hoped = expected(starts.ratios[tried], known[tried], starts.ratios)
        told(f"expected, {len(tried)} on {samples}", chosen(hoped, starts.compute, budgets), cost)
    told("truth", chosen(truth, starts.compute, budgets), float(prices.sum()))


if __name__ == "__main__":
    for name in ("mini-llava", "mini-qwen2.5-vl"):
        measure(name)
