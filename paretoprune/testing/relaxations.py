"""A relaxed toy problem with known solutions, for tests of gradient strategies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.core.problem import Candidate, Evaluation, Objective, Problem
from paretoprune.pruning.policies.base import Policy, checked
from paretoprune.pruning.policies.predictor import Predicted
from paretoprune.pruning.policies.vispco import VispcoPolicy
from paretoprune.schedules.kernels import Free, Kernel, fitting_kernels
from paretoprune.search.gradient.relaxation import RelaxedFigures

DENSE_FLOPS = 1e9
WEIGHTS = np.array([0.0, 2.0, 1.5, 1.0])
"""Loss weight of each layer's missing tokens."""


class ToyRelaxation:
    """Loss sum_l a_l (1 - r_l)^2 and compute mean(r) over four layers: solved in closed form.

    Stationarity of a_l (1 - r_l)^2 under mean(r) = b gives 1 - r_l proportional to 1 / a_l. Samples
    differ by a factor of 0.9 or 1.1, or of the problem's `factors` in turn, which the first of two
    features tells.
    """

    layers, first, samples, space = len(WEIGHTS), 1, 16, "free"
    reachable = (0.25, 1.0)

    def __init__(self, problem: ToyPruning) -> None:
        self.problem = problem
        self.kernels: Mapping[str, Kernel] = problem.kernels

    def loss(self, ratios: Tensor, samples: NDArray[np.int64], **_: Any) -> Tensor:
        """See the class; the mask plays no part."""
        factor = torch.from_numpy(self.problem.factor(samples))
        return factor * (torch.from_numpy(WEIGHTS) * (1 - ratios) ** 2).sum(1)

    @property
    def features(self) -> Tensor:
        """The factor, and nothing else."""
        factor = torch.from_numpy(self.problem.factor(np.arange(self.samples)))
        return torch.stack([factor, torch.zeros_like(factor)], 1)

    def embeddings(self, samples: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The factor as the only token."""
        factor = torch.from_numpy(self.problem.factor(samples))[:, None, None]
        return factor, torch.ones(len(samples), 1, dtype=torch.bool)

    def part(self, share: float) -> NDArray[np.int64]:
        """The first ones."""
        return np.arange(math.ceil(share * self.samples))

    def sample_compute(self, ratios: Tensor, samples: NDArray[np.int64]) -> Tensor:
        """Mean ratio, whatever the sample."""
        return ratios.mean(1)

    def passes(self, flops: float) -> float:
        """So many FLOPs are a dense pass."""
        return flops / DENSE_FLOPS

    def policy(self, policy: Policy) -> Candidate:
        """A candidate of no space."""
        assert policy.budget is not None
        return Candidate("policy", {"budget": policy.budget}, policy=policy)

    def compute(self, ratios: Tensor) -> Tensor:
        """Mean ratio."""
        return ratios.mean(1)

    def decisions(self, policy: Policy) -> NDArray[np.float64]:
        """Keep ratios of a policy, off its lattice."""
        return self.asked(policy, rounded=False)

    def asked(self, policy: Policy, *, rounded: bool) -> NDArray[np.float64]:
        """Keep ratios of a policy on each sample, `[samples, layers]`."""
        if isinstance(policy, Predicted):
            ratios = policy.predict(self.features)
        else:
            assert isinstance(policy, VispcoPolicy)
            with torch.no_grad():
                ratios = policy.predict(*self.embeddings(np.arange(self.samples)))
        return checked(policy, ratios.double().numpy(), self.samples, rounded=rounded)

    def figures(self, ratios: NDArray[np.float64], **_: Any) -> RelaxedFigures:
        """The score is 1 - loss / loss of nothing kept, as that of a rounded configuration."""
        each = self.problem.losses(np.broadcast_to(ratios, (self.samples, self.layers)))
        divergence, loss = float(each.mean()), 1 - float(np.exp(-each).mean())
        score = 1 - divergence / float(WEIGHTS.sum())
        return RelaxedFigures(score, float(ratios.mean()), divergence, loss)

    def constant(self, budget: float) -> NDArray[np.float64]:
        """The first layer keeps all, the others equally much."""
        rest = (budget * self.layers - 1) / (self.layers - 1)
        return np.array([1.0] + [rest] * (self.layers - 1))

    def step_price(self, ratios: NDArray[np.float64], **_: Any) -> float:
        """The problem's price of a step."""
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

    def rounded_compute(self, candidate: Candidate) -> float:
        """Mean ratio."""
        return float(self.problem.rows(candidate).mean())


class ToyPruning(Problem):
    """The rounded problem, with every kernel's space and a coarser one, `small`."""

    name = "toy-pruning"

    def __init__(self, step_cost: float = 0.01, factors: tuple[float, float] = (0.9, 1.1)) -> None:
        self.step_cost = step_cost
        self.factors = np.array(factors)
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

    def factor(self, samples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Weight of each sample's loss."""
        return np.asarray(self.factors[samples % 2])

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Score and compute of each, at a cost of one."""
        return [self._one(c) for c in candidates]

    def losses(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each sample under its ratios `[samples, layers]`: `[samples]`."""
        factor = self.factor(np.arange(ToyRelaxation.samples))
        return np.asarray(factor * (WEIGHTS * (1 - rows) ** 2).sum(1))

    def _one(self, candidate: Candidate) -> Evaluation:
        rows = self.rows(candidate)
        each = self.losses(rows)
        loss = float(each.mean())
        values = {"score": 1 - loss / float(WEIGHTS.sum()), "compute": float(rows.mean())}
        metrics = {"kl_to_dense": loss, "lost_to_dense": 1 - float(np.exp(-each).mean())}
        return Evaluation(
            candidate, values, cost=1.0, metrics=metrics, detail={"keep": rows.mean(0).tolist()}
        )

    def rows(self, candidate: Candidate) -> NDArray[np.float64]:
        """Keep ratios of each sample, `[samples, layers]`."""
        if isinstance(candidate.policy, Policy):
            return self.relaxation().asked(candidate.policy, rounded=True)
        ratios = np.array(self.kernels[candidate.space].schedule(candidate.values).ratios)
        return np.tile(ratios, (ToyRelaxation.samples, 1))

    def relaxation(self) -> ToyRelaxation:
        """The smooth form."""
        return ToyRelaxation(self)
