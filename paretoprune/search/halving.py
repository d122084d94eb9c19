"""Successive halving: many candidates on a few samples, the better half on twice as many."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from paretoprune.core.problem import Candidate, Evaluation, Problem, costs_matrix
from paretoprune.core.strategy import SearchContext, SearchStrategy
from paretoprune.errors import InvalidValueError
from paretoprune.frontier import nondominated
from paretoprune.search.grid import farthest_point_order


class SuccessiveHalving(SearchStrategy):
    """Brackets of random candidates; each rung keeps a part of them for more samples.

    After Jamieson and Talwalkar 2016 (AISTATS), for several objectives: a rung promotes whole
    non-dominated layers, and of the layer that does not fit those that lie farthest apart in the
    objectives. All candidates of a rung see the same samples, and larger rungs contain the smaller
    ones' (common random numbers). Only the last rung, on all samples, can reach a front; every
    rung is charged for its samples. Brackets follow one another until the budget is spent.

    A bracket starts with `width` candidates on `1 / eta^(rungs - 1)` of the samples; each rung
    promotes `1 / eta` of its candidates.
    """

    requires_shares: ClassVar[bool] = True

    def __init__(self, width: int = 12, eta: int = 2, rungs: int = 3) -> None:
        if eta < 2:
            raise InvalidValueError(f"halving needs eta of 2 or more, got {eta}")
        if rungs < 2:
            raise InvalidValueError(f"halving needs 2 or more rungs, got {rungs}")
        if width < eta ** (rungs - 1):
            raise InvalidValueError(
                f"halving with eta={eta} and {rungs} rungs needs a width of at least "
                f"{eta ** (rungs - 1)}, got {width}"
            )
        self.width = width
        self.eta = eta
        self.rungs = rungs

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Bind to a problem, which must evaluate on fractions of its samples."""
        super().start(problem, context)
        self._rung = 0
        self._waiting: list[Candidate] = []
        self._evaluated: list[Evaluation] = []
        self._open = 0

    def share(self, rung: int) -> float:
        """Sample fraction (fidelity) of rung number `rung`; 1 in the last one."""
        return float(self.eta) ** (rung - self.rungs + 1)

    def ask(self, n: int) -> list[Candidate]:
        """Up to `n` candidates of this rung; a new bracket draws its candidates here."""
        if not self._waiting and not self._open:
            rng = self.context.rng()
            space = self.problem.space(self.space_name)
            drawn = (self.point(space.sample(rng)) for _ in range(self.width))
            once = {self.problem.identity(c): c for c in drawn}
            self._begin(0, list(once.values()))
        ready, self._waiting = self._waiting[:n], self._waiting[n:]
        self._open += len(ready)
        return ready

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Collect a rung; its last evaluation promotes the best to the next."""
        self._evaluated += evaluations
        self._open -= len(evaluations)
        if self._waiting or self._open:
            return
        good = [e for e in self._evaluated if e.failure is None]
        if self._rung + 1 < self.rungs and good:
            costs = costs_matrix(good, self.problem.objectives)
            count = max(1, len(self._evaluated) // self.eta)
            self._begin(self._rung + 1, [good[i].candidate for i in promoted(costs, count)])

    def _begin(self, rung: int, candidates: list[Candidate]) -> None:
        share = self.share(rung)
        self._rung = rung
        self._evaluated = []
        self._waiting = [dataclasses.replace(c, share=share) for c in candidates]


def promoted(costs: np.ndarray, count: int) -> list[int]:
    """Rows of costs `[points, objectives]` to promote, at most `count`: the best layers first.

    Of the layer that does not fit, rows farthest apart in the unit cube of this rung's costs.
    """
    span = np.ptp(costs, axis=0)
    unit = (costs - costs.min(axis=0)) / np.where(span > 0, span, 1.0)
    chosen: list[int] = []
    left = np.arange(len(costs))
    while len(left) and len(chosen) < count:
        layer = left[nondominated(costs[left])]
        room = count - len(chosen)
        if len(layer) > room:
            order = farthest_point_order(unit[layer])
            layer = np.array([layer[next(order)] for _ in range(room)])
        chosen += [int(i) for i in layer]
        left = np.setdiff1d(left, layer)
    return chosen
