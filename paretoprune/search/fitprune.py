"""FitPrune's recipe (arXiv 2409.10197): tokens whose loss hardly moves the attention go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.capabilities import statistics_of
from paretoprune.core.problem import Candidate, Problem
from paretoprune.core.strategy import SearchContext
from paretoprune.errors import InvalidValueError
from paretoprune.search.per_layer import Numbers, PerLayerStrategy, targets_of

STATISTIC = "attention"
HALVINGS = 30
"""Steps of the bisection: the threshold is then exact to 1e-9."""


class FitPruneSearch(PerLayerStrategy):
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

    depends_on_seed: ClassVar[bool] = False

    def __init__(self, targets: int | Numbers = 24, samples: int = 16) -> None:
        if samples < 1:
            raise InvalidValueError(f"FitPrune needs 1 or more samples, got {samples}")
        self.targets = targets_of(targets)
        self._count_given = isinstance(targets, int)
        self.samples = samples

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Bind to a problem that offers attention statistics."""
        super().start(problem, context)
        self.needs_prices()
        self._price = statistics_of(problem, STATISTIC).probe_price(STATISTIC, self.samples)
        self.needs_budget(self._price)
        self._pending: list[Candidate] | None = None

    def ask(self, n: int) -> list[Candidate]:
        """Up to `n` of the schedules; the first ask looks at the attention."""
        if self._pending is None:
            self.context.charge(self._price)
            attention = statistics_of(self.problem, STATISTIC).probe(STATISTIC, self.samples)
            self._pending = self._affordable(attention)
        asked, self._pending = self._pending[:n], self._pending[n:]
        return asked

    @property
    def finished(self) -> bool:
        """Whether every schedule has been asked."""
        return self._pending is not None and not self._pending

    def recipe(self, attention: NDArray[np.float64], target: float) -> Candidate:
        """The schedule of the lowest threshold whose price is at most `target`."""
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            if self.share(self._rounded(attention, middle)) <= target + 1e-9:
                high = middle
            else:
                low = middle
        return self._rounded(attention, high)

    def _rounded(self, attention: NDArray[np.float64], threshold: float) -> Candidate:
        kept = kept_shares(attention, threshold)
        return self.schedule(kept[len(kept) - len(self.knobs) :])

    def _affordable(self, attention: NDArray[np.float64]) -> list[Candidate]:
        """Schedules of all targets, each once; of fewer targets where the budget ends before."""
        for targets in self._thinned():
            found = (self.recipe(attention, target) for target in targets)
            once = {self.problem.identity(c): c for c in found}
            if self.context.affords(sum(map(self.problem.checked_price, once.values()))):
                break
        return list(once.values())

    def _thinned(self) -> Iterator[tuple[float, ...]]:
        yield self.targets
        if self._count_given:
            for count in range(len(self.targets) - 1, 0, -1):
                yield targets_of(count)


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
