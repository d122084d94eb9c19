"""Gain of a schedule per cluster of questions: the table of docs/explanation/gradient-search.md.

Run `python docs/measure_clusters.py`, with a model's name if it is not to be mini-llava; it takes
minutes. An exhaustive grid is evaluated on a search and a held-out split. Every group of samples,
by family or by cluster, takes a schedule of its own at each price of compute; the mixtures are a
front, and everything is chosen on the search split.
"""

from __future__ import annotations

import sys
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from paretoprune.comparison.reference import reference_candidates
from paretoprune.compression.load import load_problem
from paretoprune.frontier import heldout_front_area
from paretoprune.search.gradient.adaptive import standardised
from paretoprune.search.gradient.clusters import cluster_questions
from paretoprune.search.grid import farthest_point_order

Floats = NDArray[np.float64]
PRICES = np.geomspace(0.02, 20, 60)
PRIOR = 10.0
CHEAP = 0.6


def grouped(
    search: Floats,
    heldout: Floats,
    compute: Floats,
    of: NDArray,
    of_heldout: NDArray,
    seen: NDArray | None = None,
) -> float:
    """Held-out front area of the best schedule per group; scores `[schedules, samples]`.

    Groups choose by the samples in `seen` (None: all); the front is that of the whole split.
    """
    known = np.ones(len(of), dtype=bool) if seen is None else np.isin(np.arange(len(of)), seen)
    overall = search[:, known].mean(1)
    scores, costs, held = np.zeros((3, len(PRICES)))
    for group in np.unique(of):
        mine, theirs = of == group, of_heldout == group
        told = mine & known
        trust = told.sum() / (told.sum() + PRIOR)
        own = search[:, told].mean(1) if told.any() else overall
        mean = trust * own + (1 - trust) * overall
        chosen = (mean - PRICES[:, None] * compute).argmax(1)
        scores += mine.mean() * search[chosen][:, mine].mean(1)
        costs += mine.mean() * compute[chosen]
        if theirs.any():
            held += theirs.mean() * heldout[chosen][:, theirs].mean(1)
    return heldout_front_area(scores, costs, held)


def rows(search, heldout, compute, keep, families, questions):
    """Lines of the table, as text and ratio; `families` and `questions` are pairs."""
    static = heldout_front_area(search.mean(1), compute, heldout.mean(1))
    drops = (np.diff(keep, axis=1) < 0).sum(1)
    everything, single = np.arange(len(compute)), np.flatnonzero(drops <= 1)
    yield "family", everything, grouped(search, heldout, compute, *families) / static
    for count in (8, 16, 32):
        clusters = cluster_questions(questions[0], count, seed=0)
        away = ((questions[1][:, None] - clusters.centres[None]) ** 2).sum(2)
        labels = clusters.labels, away.argmin(1)
        rng = np.random.default_rng(0)
        some = {n: [rng.choice(everything, n, replace=False) for _ in range(5)] for n in (50, 25)}
        for chosen in ([everything], [single], *some.values()):
            found = [grouped(search[c], heldout[c], compute[c], *labels) / static for c in chosen]
            yield f"{len(clusters.centres)} clusters", chosen[0], float(np.mean(found))
        low = np.flatnonzero(compute < CHEAP)
        far = low[np.array(list(islice(farthest_point_order(keep[low]), 240)))]
        for part, most in ((1.0, 100), (0.5, 60), (0.25, 120), (0.125, 240)):
            c, n = far[:most], search.shape[1]
            found = [
                grouped(
                    search[c], heldout[c], compute[c], *labels, rng.permutation(n)[: int(part * n)]
                )
                / static
                for _ in range(6)
            ]
            yield f"{len(clusters.centres)} clusters, {part:g}", c, float(np.mean(found))


def main() -> None:
    """Evaluate, and print the table."""
    model = sys.argv[1] if len(sys.argv) > 1 else "mini-llava"
    problem = load_problem(model, search_size=500, heldout_size=512)
    other = problem.heldout
    candidates = reference_candidates(problem, "medium")
    here, there = problem.evaluate(candidates), other.evaluate(candidates)
    hidden = problem.adapter.spec.hidden
    features = [p.relaxation().features for p in (problem, other)]
    both = standardised(features[0]), (features[1] - features[0].mean(0)) / features[0].std(0)
    for name, schedules, ratio in rows(
        problem.relative(np.stack([e.outcomes for e in here])),
        other.relative(np.stack([e.outcomes for e in there])),
        np.array([e.objectives["compute"] for e in here]),
        np.array([e.detail["keep"] for e in here]),
        [np.array([s.family for s in p.samples]) for p in (problem, other)],
        [x[:, hidden:].numpy() for x in both],
    ):
        print(f"{name:16} {len(schedules):4} schedules  {ratio:.3f}")


if __name__ == "__main__":
    main()
