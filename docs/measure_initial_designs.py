"""Loss of a gradient search's initial designs: a table of docs/explanation/gradient-search.md.

Run `python docs/measure_initial_designs.py`; it takes minutes. All schedules of one or two drops
are evaluated on every sample. Then the samples are halved at random, again and again: on a few of
the one half some schedules are tried, as a search does, and per budget the best is chosen by
measured or predicted losses; printed is the loss of the chosen ones on the other half, mean over
budgets and halvings.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from paretoprune.compression.load import load_problem
from paretoprune.core.strategy import SearchContext
from paretoprune.search.gradient.initial_designs import SLACK, predict
from paretoprune.search.gradient.lagrangian import LagrangianSearch
from paretoprune.search.grid import farthest_point_order

SAMPLES = 400
HALVINGS = 16
TRIES = ((100, 16), (40, 40), (20, 80), (200, 32), (80, 80), (40, 160))
"""How many schedules, on how many samples of the half each."""

Row = NDArray[np.float64]


WAYS: dict[str, Callable[[Row, Row, Row], Row]] = {
    "between ratios": lambda tried, lost, asked: predict(tried**2, lost, asked**2),  # of roots
    "between roots": predict,
}


def chosen(lost: Row, compute: Row, budgets: Row) -> list[int]:
    """Of each budget that starts reach, the place of what loses least within it."""
    within = [b for b in budgets if compute.min() <= b <= compute.max() + 0.05]
    return [int(np.where(compute <= b + SLACK, lost, np.inf).argmin()) for b in within]


def measure(model: str) -> None:
    """Print the rows of one model."""
    problem = load_problem(model, search_size=SAMPLES, heldout_size=0)
    search = LagrangianSearch()
    search.start(problem, SearchContext(seed=0, budget=40.0))
    starts, budgets = search.designs, search.grid.budgets
    assert starts is not None
    candidates = [search.coordinates.candidate(point) for point in starts.points.numpy()]
    retained = [e.retained for e in problem.evaluate(candidates)]
    lost = 1 - np.stack([r for r in retained if r is not None]).astype(np.float64)
    price = np.mean([problem.price(c) for c in candidates])
    order = np.array(list(farthest_point_order(starts.ratios)))
    found: dict[str, list[float]] = {}
    for halving in range(HALVINGS):
        samples = np.random.default_rng(halving).permutation(SAMPLES)
        one, other = samples[: SAMPLES // 2], samples[SAMPLES // 2 :]
        truth = lost[:, other].mean(1)

        def told(name: str, places: list[int], truth: Row = truth) -> None:
            found.setdefault(name, []).append(float(truth[places].mean()))

        for count, on in TRIES:
            tried = order[:count]
            known = lost[tried][:, one[:on]].mean(1)
            cost = price * count * on / len(one)
            of = f"{count} on {on}, {cost:.1f} passes: "
            best = chosen(known, starts.compute[tried], budgets)
            told(f"{of}the best", tried[best].tolist())
            for name, way in WAYS.items():
                hoped = way(starts.ratios[tried], known, starts.ratios)
                told(f"{of}expected, {name}", chosen(hoped, starts.compute, budgets))
        told("all on all", chosen(lost[:, one].mean(1), starts.compute, budgets))
    for name, values in found.items():
        error = np.std(values) / np.sqrt(HALVINGS)
        print(f"{model:16} {name:55} {np.mean(values):.3f} ± {error:.3f}")


if __name__ == "__main__":
    for name in ("mini-llava", "mini-qwen2.5-vl"):
        measure(name)
