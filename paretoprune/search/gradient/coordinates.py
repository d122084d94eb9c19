"""Parameters of a gradient search: the keep ratios themselves, or those of a kernel."""

from __future__ import annotations

import itertools
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import qmc
from sklearn.isotonic import isotonic_regression
from torch import Tensor

from paretoprune.core.capabilities import relaxation_of
from paretoprune.core.problem import Candidate, Problem
from paretoprune.schedules.kernels import Kernel
from paretoprune.search.gradient.relaxation import Relaxation

START_POINTS_LOG2 = 8
"""Base-two logarithm of the number of points that a kernel's start is chosen from."""
SPREAD_POINTS_LOG2 = 10
"""The same of the points all over a kernel's space."""
KEEP_LEVELS = 9
"""Keep ratios of the free space's initial designs, in steps of 1 / 9."""
MAX_DROP_LAYERS = 8
"""Layers at which they drop tokens, at most."""
CONTINUITY = 0.2
"""Weight of the distance to the neighbour's start, relative to that of missing the budget."""
DAMPING = 0.1
"""Added to the metric of a kernel's parameters, so that none without effect runs away."""


class Coordinates(Protocol):
    """Real parameters x `[..., n]` of keep schedules."""

    slope: float
    """Steepness of a kernel's steps, annealed by the search."""

    def start(self, budgets: NDArray[np.float64]) -> Tensor:
        """A point per budget whose relative compute is near it: float64 `[budgets, n]`."""

    def spread(self, highest: float) -> Tensor:
        """Points all over the space, of at most this relative compute: float64 `[points, n]`."""

    def ratios(self, x: Tensor) -> Tensor:
        """Keep ratios `[..., layers]`, differentiable."""

    def project(self, x: Tensor) -> Tensor:
        """The nearest valid points."""

    def natural(self, x: Tensor, gradient: Tensor) -> Tensor:
        """M^-1 g, `[rows, n]`: the gradient in the metric of keep ratios, M = J^T J."""

    def limited(self, step: Tensor, max_step: float) -> Tensor:
        """A step `[rows, n]` with no coordinate beyond `max_step`."""

    def candidate(self, x: NDArray[np.float64]) -> Candidate:
        """The candidate that one point rounds to."""


class FreeRatios:
    """One keep ratio per layer, valid by projection: sigmoids of free parameters would saturate."""

    slope = 1.0

    def __init__(self, relaxed: Relaxation) -> None:
        self.relaxed = relaxed

    def start(self, budgets: NDArray[np.float64]) -> Tensor:
        """Constant schedules that meet their budgets exactly."""
        return torch.from_numpy(np.stack([self.relaxed.constant(float(b)) for b in budgets]))

    def spread(self, highest: float) -> Tensor:
        """Schedules of one or two drops to ninths; of many layers, eight even ones drop."""
        relaxed = self.relaxed
        count = min(MAX_DROP_LAYERS, relaxed.layers - relaxed.first)
        layers = np.rint(np.linspace(relaxed.first, relaxed.layers - 1, count)).astype(int)
        pairs = itertools.combinations_with_replacement(np.unique(layers).tolist(), 2)
        rows = []
        for first, second in pairs:
            for less, more in itertools.combinations_with_replacement(range(KEEP_LEVELS), 2):
                if (first == second) == (more == less):
                    row = np.ones(relaxed.layers)
                    row[first:], row[second:] = more / KEEP_LEVELS, less / KEEP_LEVELS
                    rows.append(row)
        return _below(torch.from_numpy(np.unique(np.stack(rows), axis=0)), self, highest)

    def ratios(self, x: Tensor) -> Tensor:
        """The parameters are the ratios."""
        return x

    def project(self, x: Tensor) -> Tensor:
        """See `project`."""
        return project(x, self.relaxed.first)

    def natural(self, x: Tensor, gradient: Tensor) -> Tensor:
        """The metric is the identity."""
        return gradient

    def limited(self, step: Tensor, max_step: float) -> Tensor:
        """Each coordinate by itself."""
        return step.clamp(-max_step, max_step)

    def candidate(self, x: NDArray[np.float64]) -> Candidate:
        """The nearest point of the free space."""
        return self.relaxed.candidate(x)


class KernelParameters:
    """A kernel's parameters, each scaled to 0..1 over its bounds.

    Steps are natural-gradient steps in the metric of keep ratios: the step of the free search,
    expressed in the kernel's parameters. So step sizes mean the same for every kernel.
    """

    def __init__(self, relaxed: Relaxation, problem: Problem, kernel: Kernel) -> None:
        self.relaxed = relaxed
        self.problem = problem
        self.kernel = kernel
        self.slope = 10.0
        low, high = (torch.from_numpy(b) for b in kernel.bounds)
        self._low, self._span = low, (high - low)

    def start(self, budgets: NDArray[np.float64]) -> Tensor:
        """The points of a Sobol sequence that come near each budget and resemble each other.

        From the highest budget down; the sequence is not scrambled, so nothing is random.
        """
        points = qmc.Sobol(len(self._low), scramble=False).random_base2(START_POINTS_LOG2)
        units = self.project(torch.from_numpy(points))
        with torch.no_grad():
            compute = self.relaxed.compute(self.ratios(units)).numpy()
        found: list[NDArray[np.float64]] = []
        before = np.full(len(self._low), 0.5)
        for budget in budgets[::-1]:
            unlike = np.sqrt(((units.numpy() - before) ** 2).mean(1))
            place = int(np.argmin(np.abs(compute - budget) + CONTINUITY * unlike))
            before = units.numpy()[place]
            found.append(before)
        return torch.from_numpy(np.stack(found[::-1]))

    def spread(self, highest: float) -> Tensor:
        """Points of a Sobol sequence, as they are in the kernel's own order."""
        points = qmc.Sobol(len(self._low), scramble=False).random_base2(SPREAD_POINTS_LOG2)
        return _below(self.project(torch.from_numpy(points)), self, highest)

    def ratios(self, x: Tensor) -> Tensor:
        """The kernel's smooth form at this steepness."""
        return self.kernel.ratios(self._low + x * self._span, slope=self.slope)

    def project(self, x: Tensor) -> Tensor:
        """Into the unit cube, in the kernel's own order."""
        inside = self.kernel.canonical(self._low + x.detach().clamp(0.0, 1.0) * self._span)
        safe = torch.where(self._span > 0, self._span, torch.ones_like(self._span))
        return ((inside - self._low) / safe).clamp(0.0, 1.0)

    def natural(self, x: Tensor, gradient: Tensor) -> Tensor:
        """(J^T J + damping)^-1 g per row."""
        rows = x.detach().requires_grad_()
        ratios = self.ratios(rows)
        jacobian = torch.stack(
            [
                torch.autograd.grad(ratios[:, layer].sum(), rows, retain_graph=True)[0]
                for layer in range(ratios.shape[1])
            ],
            dim=1,
        )  # [rows, layers, n]
        metric = jacobian.transpose(1, 2) @ jacobian
        metric = metric + DAMPING * torch.eye(metric.shape[-1], dtype=metric.dtype)
        solved: Tensor = torch.linalg.solve(metric, gradient[..., None])
        return solved[..., 0]

    def limited(self, step: Tensor, max_step: float) -> Tensor:
        """Shorter, in the same direction: coordinates work together."""
        largest = step.abs().amax(1, keepdim=True).clamp(min=1e-12)
        return step * (max_step / largest).clamp(max=1.0)

    def candidate(self, x: NDArray[np.float64]) -> Candidate:
        """The nearest point of the kernel's space."""
        real = self._low.numpy() + x * self._span.numpy()
        return self.problem.candidate(self.kernel.values(real), self.kernel.name)


def _below(x: Tensor, coordinates: FreeRatios | KernelParameters, highest: float) -> Tensor:
    with torch.no_grad():
        compute = coordinates.relaxed.compute(coordinates.ratios(x))
    return x[compute <= highest]


def coordinates_of(relaxed: Relaxation, problem: Problem, kernel: str) -> Coordinates:
    """The coordinates of a kernel by name; says why one is missing that does not fit."""
    if kernel == relaxed.space:
        return FreeRatios(relaxed)
    problem.space(kernel)
    return KernelParameters(relaxed, problem, relaxed.kernels[kernel])


def reachable_by(relaxed: Relaxation, problem: Problem, kernel: str) -> tuple[float, float]:
    """Lowest and highest relative compute among a kernel's schedules, by a Sobol sequence.

    Exact for the free kernel; for others the corners of the parameters are tried too.
    """
    if kernel == relaxed.space:
        return relaxed.reachable
    coordinates = KernelParameters(relaxed, problem, relaxed.kernels[kernel])
    count = len(relaxed.kernels[kernel].bounds[0])
    points = qmc.Sobol(count, scramble=False).random_base2(START_POINTS_LOG2)
    corners = np.array(list(itertools.product((0.0, 1.0), repeat=count)))
    with torch.no_grad():
        units = coordinates.project(torch.from_numpy(np.concatenate([points, corners])))
        compute = relaxed.compute(coordinates.ratios(units))
    return float(compute.min()), float(compute.max())


def project(ratios: Tensor, first: int) -> Tensor:
    """The nearest valid schedules: in 0..1, non-increasing, 1 before `first`: `[rows, layers]`.

    Euclidean projection by isotonic regression (pool adjacent violators).
    """
    out = np.ones(tuple(ratios.shape))
    for k, row in enumerate(ratios.detach().numpy()):
        out[k, first:] = isotonic_regression(row[first:], y_min=0.0, y_max=1.0, increasing=False)
    return torch.from_numpy(out)


def kernel_spaces(problem: Problem, chosen: str) -> tuple[str, ...]:
    """Spaces of the relaxation's kernels, the `chosen` one first; raises where there is none."""
    problem.space(chosen)  # a misspelt one is named, not passed over
    return (chosen, *(name for name in relaxation_of(problem).kernels if name != chosen))
