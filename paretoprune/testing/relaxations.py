"""A relaxed toy problem with known solutions, for tests of gradient strategies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.problem import Candidate, Evaluation, Objective, Problem
from paretoprune.schedules.kernels import Free, Kernel, fitting_kernels
from paretoprune.search.relaxation import RelaxedFigures

WEIGHTS = np.array([0.0, 2.0, 1.5, 1.0])
"""What a layer's missing tokens cost."""


class ToyRelaxation:
    """Loss sum_l a_l (1 - r_l)^2 and compute mean(r) over four layers: solved in closed form.

    Stationarity of a_l (1 - r_l)^2 under mean(r) = b gives 1 - r_l proportional to 1 / a_l. Samples
    differ by a factor of 0.9 or 1.1.
    """

    layers, first, samples, space = len(WEIGHTS), 1, 16, "free"
    reachable = (0.25, 1.0)

    def __init__(self, problem: ToyPruning) -> None:
        self.problem = problem
        self.kernels: Mapping[str, Kernel] = problem.kernels

    def loss(self, ratios: Tensor, samples: NDArray[np.int64], **_: Any) -> Tensor:
        """See the class; the mask plays no part."""
        factor = torch.from_numpy(0.9 + 0.2 * (samples % 2))
        return factor * (torch.from_numpy(WEIGHTS) * (1 - ratios) ** 2).sum(1)

    def compute(self, ratios: Tensor) -> Tensor:
        """Mean ratio."""
        return ratios.mean(1)

    def figures(self, ratios: NDArray[np.float64], **_: Any) -> RelaxedFigures:
        """The score is 1 - loss / loss of nothing kept, as that of a rounded configuration."""
        loss = float((WEIGHTS * (1 - ratios) ** 2).sum())
        score = 1 - loss / float(WEIGHTS.sum())
        return RelaxedFigures(score, float(ratios.mean()), loss, 1 - float(np.exp(-loss)))

    def constant(self, budget: float) -> NDArray[np.float64]:
        """The first layer keeps all, the others equally much."""
        rest = (budget * self.layers - 1) / (self.layers - 1)
        return np.array([1.0] + [rest] * (self.layers - 1))

    def step_price(self, ratios: NDArray[np.float64], **_: Any) -> float:
        """What the problem says."""
        return self.problem.step_cost

    def teacher_price(self) -> float:
        """One."""
        return 1.0

    def checkpointed(self) -> ToyRelaxation:
        """There is nothing to recompute."""
        return self

    def candidate(self, ratios: Sequence[float] | NDArray[np.float64]) -> Candidate:
        """The nearest point of the free space."""
        values = {f"keep_{i}": float(np.clip(ratios[i], 0, 1)) for i in range(1, self.layers)}
        return self.problem.candidate(values, "free")


class ToyPruning(Problem):
    """The rounded problem, with every kernel's space and a coarser one, `small`."""

    name = "toy-pruning"

    def __init__(self, step_cost: float = 0.01) -> None:
        self.step_cost = step_cost
        layers = ToyRelaxation.layers
        self.kernels = fitting_kernels(layers, 100).kernels
        self.spaces = {
            **{name: kernel.space for name, kernel in self.kernels.items()},
            "small": Free(layers, 10).space,
        }
        self.objectives = (
            Objective("score", "max", "", reference=0.0, best=1.0),
            Objective("compute", "min", "", reference=1.0, best=0.0),
        )

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Score and compute of each, at a cost of one."""
        return [self._one(c) for c in candidates]

    def _one(self, candidate: Candidate) -> Evaluation:
        ratios = np.array(self.kernels[candidate.space].schedule(candidate.values).ratios)
        loss = float((WEIGHTS * (1 - ratios) ** 2).sum())
        values = {"score": 1 - loss / float(WEIGHTS.sum()), "compute": float(ratios.mean())}
        metrics = {"kl_to_dense": loss, "lost_to_dense": 1 - float(np.exp(-loss))}
        return Evaluation(
            candidate, values, cost=1.0, metrics=metrics, detail={"keep": ratios.tolist()}
        )

    def relaxation(self) -> ToyRelaxation:
        """The smooth form."""
        return ToyRelaxation(self)
