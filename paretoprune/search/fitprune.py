"""FitPrune's recipe (arXiv 2409.10197): tokens whose loss hardly moves the attention go."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.problem import Candidate, Problem
from paretoprune.core.strategy import SearchContext
from paretoprune.errors import InvalidValueError
from paretoprune.search.per_layer import Numbers, StatisticStrategy, targets_of


class FitPruneSearch(StatisticStrategy):
    """One schedule per compute target, from attention statistics; only then is any evaluated.

    For one divergence threshold, every calibration sample loses at each layer the tokens that are
    low in both kinds of attention: of its visual tokens as well as of its question, as many of the
    lowest as leave at least 1 - threshold of what all tokens receive in the dense model (Method,
    "Fitting the attention distribution"). The layer behind keeps the mean share of those that are
    left. The threshold is bisected until the rounded schedule's price meets the target.

    The authors' code runs the layers again for every threshold, pruned so far. Here the dense
    model's attention stands for it throughout, so the statistics are paid for once, in the first
    ask. `targets` is a number of evenly spaced ones, or the targets themselves; of a number, as
    many are asked as the budget reaches. `samples` are those of the search split that are looked
    at.
    """

    statistic: ClassVar[str] = "attention"

    def __init__(self, targets: int | Numbers = 24, samples: int = 16) -> None:
        if samples < 1:
            raise InvalidValueError(f"FitPrune needs 1 or more samples, got {samples}")
        self.targets = targets_of(targets)
        self._targets_given = targets
        self.samples = samples

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Bind to a problem that offers attention statistics."""
        super().start(problem, context)
        self.needs_prices()

    def schedules(self, statistic: NDArray[np.float64]) -> list[Candidate]:
        """The schedules of all targets, or of fewer where the budget ends before."""
        return self.affordable(self._targets_given, partial(self.recipe, statistic))

    def recipe(self, attention: NDArray[np.float64], target: float) -> Candidate:
        """The schedule of the lowest threshold whose price is at most `target`."""

        def rounded(threshold: float) -> Candidate:
            kept = kept_shares(attention, threshold)
            return self.schedule(kept[len(kept) - len(self.knobs) :])

        return self.at_target(rounded, fits=1.0, exceeds=0.0, target=target)


def kept_shares(attention: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Share of the visual tokens that each layer sees, float64 `[layers]`; the first sees all.

    `attention` `[2, samples, layers, tokens]` is NaN where a sample has no such token. At each
    layer the lowest tokens go, of each of the two kinds, as long as those that are left hold
    1 - threshold of the layer's total; what is low in both leaves before the next layer.
    """
    there = ~np.isnan(attention[0, :, 0])  # [samples, tokens]
    layers = attention.shape[2]
    received = np.where(there[None, :, None], attention, 0.0)
    alive = there.copy()
    shares = np.ones(layers)
    for layer in range(layers - 1):
        leaving = alive.copy()
        for kind in received[:, :, layer]:
            total = kind.sum(1, keepdims=True)
            order = np.argsort(np.where(there, kind, np.inf), axis=1, kind="stable")
            lost = total - np.take_along_axis(kind * alive, order, 1).sum(1, keepdims=True)
            gone = lost + np.take_along_axis(kind * alive, order, 1).cumsum(1)
            low = np.zeros_like(alive)
            np.put_along_axis(low, order, gone <= threshold * total * (1 + 1e-12), 1)
            leaving &= low
        alive &= ~leaving
        shares[layer + 1] = (alive.sum(1) / there.sum(1)).mean()
    return shares
