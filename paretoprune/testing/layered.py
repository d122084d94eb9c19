"""A toy of token pruning: keep ratios per layer, with a known best schedule at any quality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from paretoprune.core.problem import Candidate, Evaluation, Objective, Problem
from paretoprune.core.space import Float, SearchSpace
from paretoprune.errors import UnknownNameError
from paretoprune.pruning.policies.autoprune import AutoPrune
from paretoprune.registry import policies
from paretoprune.testing.toys import STEPPED

NEEDS = (1.0, 0.75, 0.5, 0.5, 0.25, 0.0)
TEXT = 1.0
"""Cost of the text in a layer, relative to the cost of all visual tokens there."""


class Layered(Problem):
    """Quality falls where a layer keeps less than it needs; every kept token costs the same.

    Layer 0 is dense. Quality = 1 - sum over layers of what is missing to `needs`, where keep ratios
    hold at the one before if they would rise; the best schedule that loses nothing is `needs`
    itself. Cost is the mean ratio of the other layers; the price counts text, too. Statistics are
    those of two samples with 8 and 4 tokens: attention falls linearly over the tokens of a layer,
    and the withdrawal's divergence is 10^-layer.
    """

    name = "layered"
    objectives = (
        Objective("quality", "max", "", reference=0.0, best=1.0),
        Objective("cost", "min", "", reference=1.0, best=0.0),
    )

    def __init__(self, needs: Sequence[float] = NEEDS, levels: int = 8) -> None:
        self.needs = np.asarray(needs)
        knobs = [Float(f"keep_{i}", 0.0, 1.0, step=1 / levels) for i in range(1, len(needs))]
        self.spaces = {"small": STEPPED, "free": SearchSpace(tuple(knobs))}

    def policy_candidate(self, name: str, **settings: Any) -> Candidate:
        """The policy for this many layers; AutoPrune alone, which reads one sample's signal."""
        policy = policies.load(name)(layers=len(self.needs), levels=None, **settings)
        return Candidate("policy", {}, policy=policy)

    def ratios(self, candidate: Candidate) -> NDArray[np.float64]:
        """Keep ratios of all layers."""
        if candidate.policy is not None:
            assert isinstance(candidate.policy, AutoPrune)
            curve = candidate.policy.curve(torch.ones(1, dtype=torch.float64))
            return np.asarray(curve[0].numpy())
        return np.minimum.accumulate([1.0, *(float(v) for v in candidate.values.values())])

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Evaluate each candidate on its own."""
        return [self._one(c) for c in candidates]

    def _one(self, candidate: Candidate) -> Evaluation:
        ratios = self.ratios(candidate)
        missing = np.maximum(0.0, self.needs - ratios).sum()
        found = {"quality": 1 - float(missing), "cost": float(ratios[1:].mean())}
        return Evaluation(candidate, found, cost=self.price(candidate))

    def price(self, candidate: Candidate) -> float:
        """Text and kept tokens of all layers, over those of the dense schedule."""
        return float((TEXT + self.ratios(candidate)).mean() / (TEXT + 1.0))

    def identity(self, candidate: Candidate) -> str:
        """The ratios that are run."""
        return str(self.ratios(candidate).tolist())

    def probe(self, statistic: str, samples: int) -> NDArray[np.float64]:
        """Statistics by closed forms."""
        layers = len(self.needs)
        if statistic == "withdrawal":
            return np.asarray(10.0 ** -np.arange(layers))
        if statistic != "attention":
            raise UnknownNameError("statistic", statistic, ("attention", "withdrawal"))
        statistics = np.full((2, min(samples, 2), layers, 8), np.nan)
        for sample, tokens in enumerate((8, 4)[:samples]):
            statistics[:, sample, :, :tokens] = np.arange(tokens, 0, -1)
        return statistics

    def probe_price(self, statistic: str, samples: int) -> float:
        """A quarter of a dense pass."""
        return 0.25
