"""Where a gradient search starts: at what should lose least at each budget, by a quick probe.

A gradient only sees what one more token changes. Whether a budget is better spent by dropping many
tokens late or few early is a choice between valleys, and a search that starts from the constant
schedule stays in its own. So schedules that are spread over the space are evaluated on a few
samples first, really pruned and paid for like any evaluation. From what they lose follows what all
others of the space should lose (`gradient.surrogate`), and each knot starts at the best that fits
its budget, tried or not.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.problem import Candidate, Evaluation, Problem
from paretoprune.search.gradient.coordinates import Coordinates
from paretoprune.search.gradient.surrogate import expected
from paretoprune.search.grid import farthest_first
from paretoprune.search.relaxation import Relaxation

FEWEST = 20
"""Schedules that are tried, at least, if any are: fewer say nothing of their neighbours."""
SLACK = 1e-6
"""How far a start may exceed its budget by rounding."""
FAR = 0.05
"""How far above all starts a knot may lie to begin there."""


@dataclass
class Probe:
    """A start that is tried: its place among all, and what it loses.

    Or the `outcomes` of the samples that it is tried on, where samples are told apart.
    """

    place: int
    candidate: Candidate
    lost: float | None = None
    outcomes: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Starts:
    """All starts: points float64 `[n, coordinates]`, their keep ratios `[n, layers]` and compute.

    And those of them that are tried.
    """

    points: Tensor
    ratios: NDArray[np.float64]
    compute: NDArray[np.float64]
    probes: Sequence[Probe] = ()

    @property
    def tried(self) -> NDArray[np.float64]:
        """Keep ratios of those that are tried, `[probes, layers]`."""
        return self.ratios[[p.place for p in self.probes]]

    def best(self, budgets: NDArray[np.float64], otherwise: Tensor) -> Tensor:
        """The point of each knot: of the starts that fit its budget, what should lose least.

        Where none fits, above all of them, and where every probe failed, that of `otherwise`
        `[knots, coordinates]`.
        """
        lost = expected(
            self.tried,
            np.array([np.inf if p.lost is None else p.lost for p in self.probes]), self.ratios,
        )  # fmt: skip
        found = otherwise.clone()
        for knot, budget in enumerate(budgets):
            fitting = np.where(self.compute <= budget + SLACK, lost, np.inf)
            if np.isfinite(fitting).any() and budget <= self.compute.max() + FAR:
                found[knot] = self.points[int(fitting.argmin())]
        return found


def plan_starts(
    coordinates: Coordinates,
    relaxed: Relaxation,
    problem: Problem,
    *,
    below: float,
    samples: Sequence[int],
    affordable: float,
    enough: int,
    most: int,
) -> Starts | None:
    """Starts below a relative compute, and which of them to try: as many as may be paid for.

    Up to `most`, on the first of these numbers of `samples` on which `enough` can be paid, or on
    the last; None if fewer than `FEWEST` can be there. Each is the farthest from those before it,
    from the middle outwards, so that any first part covers the space.
    """
    points = coordinates.spread(below)
    if len(points) < FEWEST:
        return None
    with torch.no_grad():
        ratios = coordinates.ratios(points)
        compute = relaxed.compute(ratios)
    order = list(itertools.islice(farthest_first(ratios.numpy()), most))
    probes: list[Probe] = []
    for count in samples:
        share = min(1.0, count / relaxed.samples)
        probes, left = [], affordable
        for place in order:
            candidate = replace(coordinates.candidate(points[place].numpy()), share=share)
            left -= problem.price(candidate)
            if left < 0:
                break
            probes.append(Probe(place, candidate))
        if len(probes) >= min(enough, most):
            break
    if len(probes) < FEWEST:
        return None
    return Starts(points, ratios.numpy(), compute.numpy(), probes)


def told(probe: Probe, evaluation: Evaluation, loss: str) -> None:
    """Note what a start loses; a failed one loses infinitely much."""
    name = "kl_to_dense" if loss == "kl" else "lost_to_dense"
    probe.lost = evaluation.metrics.get(name, np.inf) if evaluation.failure is None else np.inf
