"""Pymoo's algorithms as strategies: one base class, and a few lines per algorithm."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.algorithm import Algorithm
from pymoo.core.duplicate import DefaultDuplicateElimination
from pymoo.core.population import Population
from pymoo.core.problem import Problem as UnitCube
from pymoo.core.termination import NoTermination
from pymoo.problems.static import StaticProblem

from paretoprune.errors import InvalidValueError
from paretoprune.problem import Candidate, Evaluation, Problem, costs_matrix
from paretoprune.search.base import SearchContext, SearchStrategy


class PymooStrategy(SearchStrategy):
    """A strategy around a pymoo algorithm on the unit cube, which the space decodes.

    A subclass defines `algorithm`. Pymoo proposes a generation at a time: it is handed out over as
    many asks as needed and told back once all of it has been told. Pymoo's own generator is seeded
    once, in `start`, and drawn from only when a generation is made or told, so replaying the asks
    and tells reproduces it.

    Pymoo knows no failures. A failed evaluation is told as one that violates a constraint: worse
    than any that succeeded, and never part of a front.
    """

    def __init__(self, population: int = 16) -> None:
        if population < 2:
            raise InvalidValueError(f"{type(self).__name__} needs 2 or more, got {population=}")
        self.population = population

    @abstractmethod
    def algorithm(self, duplicates: DefaultDuplicateElimination) -> Algorithm:
        """Build the algorithm; `duplicates` spares points that decode to the same values."""

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Bind to a problem and seed the algorithm."""
        super().start(problem, context)
        self._space = problem.space(self.space_name)
        self._cube = UnitCube(
            n_var=len(self._space),
            n_obj=len(problem.objectives),
            n_ieq_constr=1,  # violated by failed evaluations
            xl=0.0,
            xu=1.0,
        )
        self._algorithm = self.algorithm(DefaultDuplicateElimination(func=self._rounded))
        # pymoo would stop by its own idea of convergence; here the budget decides
        self._algorithm.setup(self._cube, seed=context.seed, termination=NoTermination())
        self._generation: Population = Population.empty()
        self._waiting: deque[Candidate] = deque()
        self._open: deque[Candidate] = deque()
        self._told: list[Evaluation] = []
        self._stuck = False

    def ask(self, n: int) -> list[Candidate]:
        """Propose up to `n` points of this generation; none while its last are being evaluated."""
        if not self._waiting and not self._open and not self._stuck:
            self._breed()
        asked = [self._waiting.popleft() for _ in range(min(n, len(self._waiting)))]
        self._open.extend(asked)
        return asked

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Collect evaluations; the last of a generation lets the algorithm advance."""
        for evaluation in evaluations:
            if not self._open or self._open[0].key != evaluation.candidate.key:
                raise InvalidValueError(
                    "evaluations must be told in the order their candidates were asked, got "
                    f"{dict(evaluation.candidate.values)!r}"
                )
            self._open.popleft()
            self._told.append(evaluation)
        if self._told and not self._waiting and not self._open:
            self._advance()

    @property
    def finished(self) -> bool:
        """Whether no new point can be bred: the population holds all that a small lattice has."""
        return self._stuck

    def _breed(self) -> None:
        generation = self._algorithm.ask()
        if generation is None:
            self._stuck = True
            return
        self._generation = generation
        self._waiting.extend(self.point(self._space.decode(x)) for x in generation.get("X"))

    def _advance(self) -> None:
        failed = np.array([e.failure is not None for e in self._told])
        costs = np.zeros((len(failed), len(self.problem.objectives)))
        found = [e for e in self._told if e.failure is None]
        costs[~failed] = costs_matrix(found, self.problem.objectives)
        violations = np.where(failed, 1.0, -1.0)[:, None]
        static = StaticProblem(self._cube, F=costs, G=violations)
        self._algorithm.evaluator.eval(static, self._generation)
        self._algorithm.tell(infills=self._generation)
        self._told = []

    def _rounded(self, population: Population) -> NDArray[np.float64]:
        """Return where the points of a population really lie, `[points, knobs]`."""
        units = [self._space.encode(self._space.decode(x)) for x in population.get("X")]
        return np.stack(units)


class PymooNSGA2(PymooStrategy):
    """Pymoo's NSGA-II (doi:10.1109/4235.996017): SBX crossover, polynomial mutation."""

    def algorithm(self, duplicates: DefaultDuplicateElimination) -> Algorithm:
        """Build NSGA-II with pymoo's defaults but for the population."""
        return NSGA2(pop_size=self.population, eliminate_duplicates=duplicates)
