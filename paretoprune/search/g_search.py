"""G-Search (arXiv 2412.00556): the fewest tokens of each layer, greedily from shallow to deep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from paretoprune.core.problem import Candidate, Evaluation, Problem
from paretoprune.core.strategy import SearchContext
from paretoprune.errors import InvalidValueError
from paretoprune.search.per_layer import Numbers, PerLayerStrategy, numbers_of


@dataclass
class _Descent:
    """One tolerance on its way: `levels` are those of the knobs; before `layer` they are settled.

    At `layer`, level `fits` keeps the score within the tolerance and `fails` does not (-1: none is
    known to). From there on all layers hold the same level, which is the most they can keep.
    """

    tolerance: float
    levels: list[int]
    layer: int = 0
    fails: int = -1

    @property
    def fits(self) -> int:
        return self.levels[self.layer]

    def tried(self) -> list[int] | None:
        """Levels to try next, halfway between the two; None where every layer is settled."""
        while self.fits - self.fails <= 1:
            if self.layer + 1 == len(self.levels):
                return None
            self.layer, self.fails = self.layer + 1, -1
        middle = (self.fits + self.fails) // 2
        return self.levels[: self.layer] + [middle] * (len(self.levels) - self.layer)

    def learn(self, levels: list[int], good: bool) -> None:
        """Move one of the two ends to the evaluated level."""
        if good:
            self.levels = levels
        else:
            self.fails = levels[self.layer]


class GSearch(PerLayerStrategy):
    """Per layer, from shallow to deep, the lowest keep ratio whose score stays within a tolerance.

    A tolerance is a share of the way from the dense score to the reference score; each gives one
    schedule, so several give a front. While a layer is searched, deeper ones hold its ratio: what
    has left is gone. The ratio is found by bisection on the lattice, which takes for granted that
    the score rises with it. Tolerances advance side by side, one evaluation each per ask, and share
    what they have in common. Needs exactly one objective to raise. A failed evaluation counts as
    outside every tolerance; that of the dense schedule is asked for again.
    """

    depends_on_seed: ClassVar[bool] = False

    def __init__(self, tolerances: Numbers = (0.02, 0.05, 0.1, 0.2, 0.4)) -> None:
        self.tolerances = numbers_of("tolerances", tolerances)
        if min(self.tolerances) < 0:
            raise InvalidValueError(f"a tolerance must be 0 or more, got {min(self.tolerances):g}")

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Put every tolerance at the dense schedule."""
        super().start(problem, context)
        self._objective = self.quality()
        self.needs_budget(self.dense_price)
        top = int(self.knobs[0].size) - 1
        self._descents = [_Descent(t, [top] * len(self.knobs)) for t in self.tolerances]
        self._scores: dict[str, float] = {}
        self._dense_score: float | None = None

    def ask(self, n: int) -> list[Candidate]:
        """The dense schedule first; then the next step of up to `n` tolerances."""
        if self._dense_score is None:
            return [self.dense]
        asked: dict[str, Candidate] = {}
        for descent in self._descents:
            candidate = self._next(descent)
            if candidate is not None and len(asked) < n:
                asked.setdefault(self.problem.identity(candidate), candidate)
        return list(asked.values())

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Remember scores; the next ask draws the conclusions."""
        for evaluation in evaluations:
            failed = evaluation.failure is not None
            score = -math.inf if failed else self._raised(evaluation)
            if self._dense_score is not None:
                self._scores[self.problem.identity(evaluation.candidate)] = score
            elif not failed:
                self._dense_score = score

    @property
    def finished(self) -> bool:
        """Whether every layer of every tolerance is settled."""
        if self._dense_score is None:
            return False
        return all(self._next(descent) is None for descent in self._descents)

    @property
    def chosen(self) -> list[Candidate]:
        """The schedule that each tolerance has come to so far, in the tolerances' order."""
        return [self._at(descent.levels) for descent in self._descents]

    def _next(self, descent: _Descent) -> Candidate | None:
        """The next schedule that this tolerance must know of; None once it is done."""
        while (levels := descent.tried()) is not None:
            candidate = self._at(levels)
            score = self._scores.get(self.problem.identity(candidate))
            if score is None:
                return candidate
            descent.learn(levels, score >= self._bar(descent.tolerance) - 1e-9)
        return None

    def _bar(self, tolerance: float) -> float:
        assert self._dense_score is not None
        return self._dense_score - tolerance * (self._objective.best - self._objective.reference)

    def _raised(self, evaluation: Evaluation) -> float:
        return evaluation.objectives[self._objective.name]

    def _at(self, levels: Sequence[int]) -> Candidate:
        return self.schedule([k.at(i) for k, i in zip(self.knobs, levels, strict=True)])
