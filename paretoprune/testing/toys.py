"""Toy problems to try strategies on, and a driver that plays the study, without pytest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.capabilities import policies_of, relaxation_of, statistics_of
from paretoprune.core.problem import Candidate, Evaluation, Objective, Problem
from paretoprune.core.space import Categorical, Condition, Float, Int, SearchSpace
from paretoprune.core.strategy import BudgetExhausted, SearchContext, SearchStrategy
from paretoprune.search.gradient.relaxation import Relaxation

STEPPED = SearchSpace((Float("ratio", 0.0, 1.0, step=0.1), Int("layer", 1, 8)))
CONTINUOUS = SearchSpace((Float("ratio", 0.0, 1.0), Float("temperature", 0.5, 2.0)))
CONDITIONAL = SearchSpace(
    (
        Categorical("mode", ("single", "double")),
        Float("ratio", 0.0, 1.0, step=0.1),
        Int("layer", 1, 8),
        Float("second_ratio", 0.0, 1.0, step=0.25, when=Condition("mode", ("double",))),
        Int("second_layer", 2, 8, when=Condition("mode", ("double",))),
    )
)
MIXED = SearchSpace((*CONDITIONAL.knobs, Float("temperature", 0.5, 2.0)))


class Toy(Problem):
    """Squared distances in the unit cube to two or three points: quality up, the others down.

    The Pareto set is the segment (triangle) between the points. A second space, `small`, is there
    to be asked for by name. A sample fraction costs that fraction and gives the same values.
    """

    name = "toy"
    has_shares = True

    def __init__(self, space: SearchSpace = MIXED, *, objectives: int = 2) -> None:
        self.spaces: Mapping[str, SearchSpace] = {"toy": space, "small": STEPPED}
        self.objectives = (
            Objective("quality", "max", "", reference=0.0, best=1.0),
            Objective("cost", "min", "", reference=1.0, best=0.0),
            Objective("delay", "min", "s", reference=1.0, best=0.0),
        )[:objectives]

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Evaluate each candidate on its own."""
        return [self._one(c) for c in candidates]

    def price(self, candidate: Candidate) -> float:
        """The candidate's sample fraction."""
        return candidate.share

    def _one(self, candidate: Candidate) -> Evaluation:
        unit = self.spaces[candidate.space].encode(candidate.values)
        far = [float(np.mean((unit - goal) ** 2)) for goal in (0.9, 0.1, 0.5)]
        values = {"quality": 1 - far[0], "cost": far[1], "delay": far[2]}
        found = {o.name: values[o.name] for o in self.objectives}
        return Evaluation(candidate, found, cost=self.price(candidate))


class Flaky(Problem):
    """Another problem, of whose evaluations every second one fails (`period` 1: each one)."""

    def __init__(self, inner: Problem, period: int = 2) -> None:
        self.inner = inner
        self.name = f"flaky {inner.name}"
        self.spaces = inner.spaces
        self.objectives = inner.objectives
        self.has_shares = inner.has_shares
        self._period = period
        self._count = 0

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Evaluate, then let some fail."""
        return [self._spoil(e) for e in self.inner.evaluate(candidates)]

    def _spoil(self, evaluation: Evaluation) -> Evaluation:
        self._count += 1
        if self._count % self._period:
            return evaluation
        return replace(evaluation, objectives={}, failure="failed on purpose")

    def price(self, candidate: Candidate) -> float:
        """Price of the inner problem."""
        return self.inner.price(candidate)

    def identity(self, candidate: Candidate) -> str:
        """Identity of the inner problem."""
        return self.inner.identity(candidate)

    def relaxation(self) -> Relaxation:
        """Relaxation of the inner problem."""
        found: Relaxation = relaxation_of(self.inner)
        return found

    def probe(self, statistic: str, samples: int) -> NDArray[np.float64]:
        """Statistics of the inner problem."""
        return statistics_of(self.inner, statistic).probe(statistic, samples)

    def policy_candidate(self, name: str, **settings: Any) -> Candidate:
        """The inner problem's."""
        return policies_of(self.inner, name).policy_candidate(name, **settings)

    def probe_price(self, statistic: str, samples: int) -> float:
        """Price of the inner problem's."""
        return statistics_of(self.inner, statistic).probe_price(statistic, samples)


class Killed(BaseException):
    """Ends a run of `Mortal` as abruptly as a signal does."""


class Mortal(Flaky):
    """Another problem whose evaluations end the process after `lives` more (None: never).

    `evaluated` counts candidates over all runs.
    """

    evaluated = 0

    def describe(self) -> dict[str, Any]:
        """Description of the inner problem."""
        return self.inner.describe()

    def __init__(self, inner: Problem) -> None:
        super().__init__(inner)
        self.name = inner.name
        self.lives: int | None = None

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Evaluate, or die before."""
        if self.lives == 0:
            raise Killed
        if self.lives is not None:
            self.lives -= 1
        self.evaluated += len(candidates)
        return self.inner.evaluate(candidates)


def rounds(
    strategy: SearchStrategy,
    problem: Problem,
    *,
    seed: int,
    asks: int,
    n: int,
    budget: float = 1000.0,
    space: str | None = None,
) -> Iterator[list[Evaluation]]:
    """Play the study: start, then ask, charge, evaluate and tell up to `asks` times.

    Yields each ask's evaluations after telling them. Ends early when the strategy has finished or
    the budget, in dense-pass equivalents, does not reach.
    """
    context = SearchContext(seed=seed, budget=budget, space=space)
    strategy.start(problem, context)
    for _ in range(asks):
        if strategy.finished:
            return
        context.asks += 1
        try:
            candidates = strategy.ask(n)
            for candidate in candidates:
                context.charge(problem.price(candidate))
        except BudgetExhausted:
            return
        evaluations = problem.evaluate(candidates)
        strategy.tell(evaluations)
        yield evaluations


def drive(
    strategy: SearchStrategy,
    problem: Problem,
    *,
    seed: int,
    asks: int,
    n: int,
    budget: float = 1000.0,
    space: str | None = None,
) -> list[Evaluation]:
    """Play the study as `rounds` does; return all evaluations in order."""
    played = rounds(strategy, problem, seed=seed, asks=asks, n=n, budget=budget, space=space)
    return [evaluation for batch in played for evaluation in batch]
