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
    """Keep ratio of each layer, float64 `[layers]`; the first keeps all visual tokens.

    `attention` `[2, samples, layers, tokens]`, of two kinds, is NaN where a sample has no such
    token. Per layer and kind, the lowest tokens are marked while the others hold 1 - threshold of
    the layer's total. A token that is marked in both kinds is dropped before the next layer.
    """
    is_valid = ~np.isnan(attention[0, :, 0])  # [samples, tokens]
    layers = attention.shape[2]
    received = np.where(is_valid[None, :, None], attention, 0.0)
    keep_mask = is_valid.copy()
    shares = np.ones(layers)
    for layer in range(layers - 1):
        leaving = keep_mask.copy()
        for kind in received[:, :, layer]:
            total = kind.sum(1, keepdims=True)
            order = np.argsort(np.where(is_valid, kind, np.inf), axis=1, kind="stable")
            ordered = np.take_along_axis(kind * keep_mask, order, 1)
            dropped = total - ordered.sum(1, keepdims=True) + ordered.cumsum(1)
            low = np.zeros_like(keep_mask)
            np.put_along_axis(low, order, dropped <= threshold * total * (1 + 1e-12), 1)
            leaving &= low
        keep_mask &= ~leaving
        shares[layer + 1] = (keep_mask.sum(1) / is_valid.sum(1)).mean()
    return shares
