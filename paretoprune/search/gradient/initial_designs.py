"""Initial designs of a gradient search: schedules evaluated before the first step.

A gradient only measures the effect of one more token. Dropping many tokens late and dropping few
early are different valleys of the loss. A search that starts from the constant schedule stays in
its own valley. So schedules that are spread over the space are evaluated on a few
samples first, really pruned and paid for like any evaluation. A surrogate fitted on their losses
predicts those of all schedules of the space, and each grid point starts at the best predicted
schedule that fits its budget, evaluated or not.

An initial design's loss is noisy: it is measured on few samples, and the best of many is mostly the
luckiest. But similar schedules have similar losses. The surrogate is the posterior mean of a
Gaussian process (Rasmussen and Williams, *Gaussian Processes for Machine Learning*, eq. 2.23),
which averages over neighbours. Distances are those between square roots of keep ratios, since one
more token matters less the more there are. The covariance is Matern's with nu = 3/2, since counts
make steps, with one length for all layers; noise and length are fitted by maximum likelihood.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from torch import Tensor

from paretoprune.core.problem import Candidate, Problem
from paretoprune.search.gradient.coordinates import Coordinates
from paretoprune.search.gradient.relaxation import Relaxation
from paretoprune.search.grid import farthest_point_order

MIN_DESIGNS = 20
"""Designs that are evaluated, if any are: fewer say nothing of their neighbours."""
MAX_DESIGNS = 200
"""Designs that are evaluated, at most: the cost of a Gaussian process grows with their cube."""
SLACK = 1e-6
"""Relative compute by which a start may exceed its budget by rounding."""
MAX_GAP = 0.05
"""Relative compute by which a budget may exceed all designs and still start at one."""
LENGTH = (1.0, (0.1, 10.0))
"""Length scale of the covariance, in roots of keep ratios: its initial value and bounds."""
HEIGHT = (0.3, (1e-5, 1e5))
NOISE = (0.01, (1e-5, 0.1))
"""Variances relative to that of the values."""
JITTER = 1e-8


@dataclass
class InitialDesign:
    """A schedule to evaluate: its keep ratios `[layers]`, and its loss once it is known.

    `retained` is its score on each sample, where samples are distinguished.
    """

    ratios: NDArray[np.float64]
    candidate: Candidate
    loss: float | None = None
    retained: NDArray[np.float64] | None = None

    @property
    def evaluated(self) -> bool:
        """Whether its evaluation is known."""
        return self.loss is not None or self.retained is not None


@dataclass(frozen=True)
class InitialDesigns:
    """Points float64 `[n, coordinates]` all over a space, their keep ratios `[n, layers]`, compute.

    `evaluated` are those of them that are evaluated.
    """

    points: Tensor
    ratios: NDArray[np.float64]
    compute: NDArray[np.float64]
    evaluated: Sequence[InitialDesign] = ()

    def best(self, budgets: NDArray[np.float64], otherwise: Tensor) -> Tensor:
        """The point of least predicted loss within each budget, `[budgets, coordinates]`.

        Where none fits, far above all of them, and where every evaluation failed, that of
        `otherwise` `[budgets, coordinates]`.
        """
        loss = predicted_loss(self.evaluated, self.ratios)
        found = otherwise.clone()
        for place, budget in enumerate(budgets):
            fitting = np.where(self.compute <= budget + SLACK, loss, np.inf)
            if np.isfinite(fitting).any() and budget <= self.compute.max() + MAX_GAP:
                found[place] = self.points[int(fitting.argmin())]
        return found


def plan_initial_designs(
    coordinates: Coordinates,
    relaxed: Relaxation,
    problem: Problem,
    *,
    max_compute: float,
    affordable: float,
    samples_per_design: float,
    min_samples: int,
) -> InitialDesigns | None:
    """Points up to a relative compute, and the designs among them that `affordable` pays for.

    Each is evaluated on `samples_per_design` times as many samples as there are designs (see
    `split_budget`); None where that is fewer than `MIN_DESIGNS` on `min_samples` samples. Each is
    the farthest from those before it, from the middle outwards, so that any first part covers the
    space.
    """
    points = coordinates.spread(max_compute)
    if len(points) < MIN_DESIGNS or affordable <= 0:
        return None
    with torch.no_grad():
        ratios = coordinates.ratios(points)
        compute = relaxed.compute(ratios)
    order = list(itertools.islice(farthest_point_order(ratios.numpy()), MAX_DESIGNS))
    whole = designs_at(coordinates, points[order], 1.0)
    price = float(np.mean([problem.checked_price(design.candidate) for design in whole]))
    count, samples = split_budget(affordable / price, relaxed.samples, samples_per_design)
    if samples < min(min_samples, relaxed.samples):
        return None
    left = affordable
    designs: list[InitialDesign] = []
    for design in designs_at(coordinates, points[order[:count]], samples / relaxed.samples):
        left -= problem.checked_price(design.candidate)
        if left < 0:
            break
        designs.append(design)
    if len(designs) < MIN_DESIGNS:
        return None
    return InitialDesigns(points, ratios.numpy(), compute.numpy(), designs)


def split_budget(passes: float, samples: int, samples_per_design: float) -> tuple[int, int]:
    """The number of designs that so many passes of the split pay for, and of samples of each.

    `samples_per_design` times as many samples as designs, within `MIN_DESIGNS`, `MAX_DESIGNS` and
    the split. A design's loss is noisy by few samples, a prediction by few designs: both errors
    are kept alike.
    """
    pairs = passes * samples
    count = min(max(np.sqrt(pairs / samples_per_design), MIN_DESIGNS), MAX_DESIGNS)
    samples_each = min(pairs / count, samples)
    return int(min(pairs / samples_each, MAX_DESIGNS) + SLACK), int(samples_each + SLACK)


def designs_at(coordinates: Coordinates, points: Tensor, share: float) -> list[InitialDesign]:
    """Points `[n, coordinates]`, to be evaluated on the sample fraction `share`."""
    with torch.no_grad():
        ratios = coordinates.ratios(points).numpy()
    share = min(1.0, share)
    return [
        InitialDesign(row, replace(coordinates.candidate(point), share=share))
        for point, row in zip(points.numpy(), ratios, strict=True)
    ]


def predicted_loss(
    designs: Sequence[InitialDesign], ratios: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Predicted losses of schedules `[n, layers]`, `[n]`; infinite where no loss is known."""
    loss = np.array([np.inf if design.loss is None else design.loss for design in designs])
    return predict(np.stack([design.ratios for design in designs]), loss, ratios)


def predict(
    known: NDArray[np.float64], values: NDArray[np.float64], asked: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Predicted values at keep ratios `asked` `[m, layers]`, from those `known` `[n, layers]`.

    Float64 `[m]`. Values that are not finite are ignored. Where all others are equal, that value is
    predicted.
    """
    finite = np.isfinite(values)
    if not finite.any():
        return np.full(len(asked), np.inf)
    if np.ptp(values[finite]) == 0:
        return np.full(len(asked), values[finite][0])
    process = GaussianProcessRegressor(
        ConstantKernel(*HEIGHT) * Matern(*LENGTH, nu=1.5) + WhiteKernel(*NOISE),
        alpha=JITTER, normalize_y=True,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit at its bounds is a fit
        process.fit(_roots(known[finite]), values[finite])
    return np.asarray(process.predict(_roots(asked)), dtype=np.float64)


def _roots(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    # where a kernel adds its steps up, nothing kept may come out as -1e-17
    return np.asarray(np.sqrt(np.maximum(ratios, 0.0)))
