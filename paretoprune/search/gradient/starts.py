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

from paretoprune.core.problem import Candidate, Evaluation, Problem
from paretoprune.search.gradient.coordinates import Coordinates
from paretoprune.search.gradient.relaxation import Relaxation
from paretoprune.search.gradient.surrogate import expected
from paretoprune.search.grid import farthest_point_order

FEWEST = 20
"""Schedules that are tried, at least, if any are: fewer say nothing of their neighbours."""
MOST = 200
"""Schedules that are tried, at most: what a Gaussian process costs grows with their cube."""
SLACK = 1e-6
"""How far a start may exceed its budget by rounding."""
FAR = 0.05
"""How far above all starts a knot may lie to begin there."""


@dataclass
class Probe:
    """A point that is tried: its keep ratios `[layers]`, and what it loses.

    Or what it keeps of each sample that it is tried on, where samples are told apart.
    """

    ratios: NDArray[np.float64]
    candidate: Candidate
    lost: float | None = None
    kept: NDArray[np.float64] | None = None


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
    affordable: float,
    per_start: float,
    least: int,
) -> Starts | None:
    """Starts below a relative compute, and which of them to try for what is `affordable`.

    On `per_start` times as many samples as starts are tried (see `shared_out`); None where that
    is fewer than `FEWEST` starts on `least` samples. Each is the farthest from those before it,
    from the middle outwards, so that any first part covers the space.
    """
    points = coordinates.spread(below)
    if len(points) < FEWEST or affordable <= 0:
        return None
    with torch.no_grad():
        ratios = coordinates.ratios(points)
        compute = relaxed.compute(ratios)
    order = list(itertools.islice(farthest_point_order(ratios.numpy()), MOST))
    whole = probes_of(coordinates, points[order], 1.0)
    price = float(np.mean([problem.checked_price(p.candidate) for p in whole]))
    count, samples = shared_out(affordable / price, relaxed.samples, per_start)
    if samples < min(least, relaxed.samples):
        return None
    left = affordable
    probes: list[Probe] = []
    for probe in probes_of(coordinates, points[order[:count]], samples / relaxed.samples):
        left -= problem.checked_price(probe.candidate)
        if left < 0:
            break
        probes.append(probe)
    if len(probes) < FEWEST:
        return None
    return Starts(points, ratios.numpy(), compute.numpy(), probes)


def shared_out(passes: float, samples: int, per_start: float) -> tuple[int, int]:
    """How many starts can be tried for so many passes of the split, and on how many samples each.

    `per_start` times as many samples as starts, as far as `FEWEST`, `MOST` and the split allow.
    What a start loses is uncertain by how few samples it is tried on, what others lose by how few
    starts there are: with either alone the other error stays.
    """
    pairs = passes * samples
    count = min(max(np.sqrt(pairs / per_start), FEWEST), MOST)
    tried_on = min(pairs / count, samples)
    return int(min(pairs / tried_on, MOST) + SLACK), int(tried_on + SLACK)


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
