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
    """A point that is tried: its keep ratios `[layers]`, and what it loses.

    Or the `outcomes` of the samples that it is tried on, where samples are told apart.
    """

    ratios: NDArray[np.float64]
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

    def best(self, budgets: NDArray[np.float64], otherwise: Tensor) -> Tensor:
        """The point of each knot: of the starts that fit its budget, what should lose least.

        Where none fits, above all of them, and where every probe failed, that of `otherwise`
        `[knots, coordinates]`.
        """
        lost = expected_loss(self.probes, self.ratios)
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
        left = affordable
        probes = []
        for probe in probes_of(coordinates, points[order], count / relaxed.samples):
            left -= problem.price(probe.candidate)
            if left < 0:
                break
            probes.append(probe)
        if len(probes) >= min(enough, most):
            break
    if len(probes) < FEWEST:
        return None
    return Starts(points, ratios.numpy(), compute.numpy(), probes)


def probes_of(coordinates: Coordinates, points: Tensor, share: float) -> list[Probe]:
    """Points `[n, coordinates]`, to be tried on a share of the samples."""
    with torch.no_grad():
        ratios = coordinates.ratios(points).numpy()
    share = min(1.0, share)
    return [
        Probe(row, replace(coordinates.candidate(point), share=share))
        for point, row in zip(points.numpy(), ratios, strict=True)
    ]


def expected_loss(probes: Sequence[Probe], ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """What schedules `[n, layers]` should lose, by what was tried, `[n]`; infinite if nothing."""
    lost = np.array([np.inf if p.lost is None else p.lost for p in probes])
    return expected(np.stack([p.ratios for p in probes]), lost, ratios)


def told(probe: Probe, evaluation: Evaluation, loss: str) -> None:
    """Note what a start loses; a failed one loses infinitely much."""
    name = "kl_to_dense" if loss == "kl" else "lost_to_dense"
    probe.lost = evaluation.metrics.get(name, np.inf) if evaluation.failure is None else np.inf
