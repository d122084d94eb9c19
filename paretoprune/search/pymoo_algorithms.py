"""Pymoo's algorithms as strategies: one base class, and a few lines per algorithm."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.moead import ParallelMOEAD
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.algorithms.moo.rvea import RVEA
from pymoo.algorithms.moo.sms import SMSEMOA
from pymoo.core.algorithm import Algorithm
from pymoo.core.duplicate import DefaultDuplicateElimination
from pymoo.core.population import Population
from pymoo.core.problem import Problem as UnitCube
from pymoo.core.termination import NoTermination, Termination
from pymoo.operators.selection.tournament import TournamentSelection
from pymoo.problems.static import StaticProblem
from pymoo.termination.max_gen import MaximumGenerationTermination
from pymoo.util.ref_dirs import get_reference_directions

from paretoprune.core.problem import Candidate, Evaluation, Problem, costs_matrix
from paretoprune.core.strategy import SearchContext, SearchStrategy
from paretoprune.errors import InvalidValueError
from paretoprune.search.reference_directions import max_divisions

FAR = 1e30
"""Beyond all costs, and still finite: weights of 0 leave no NaN."""


class PymooStrategy(SearchStrategy):
    """A strategy around a pymoo algorithm on the unit cube, which the space decodes.

    A subclass defines `algorithm`. Pymoo proposes a generation at a time: it is handed out over as
    many asks as needed and returned to pymoo once all of it is evaluated. Pymoo's own generator is
    seeded once, in `start`, and drawn from only when a generation is made or returned, so replaying
    the asks and tells reproduces it.

    Pymoo knows no failures. A failed evaluation violates a constraint for it: worse than any that
    succeeded, and never part of a front. Where an algorithm takes no constraints, a failed
    evaluation is `FAR` in every objective.
    """

    constrained: ClassVar[bool] = True
    """Whether the algorithm takes a constraint, by which it learns of failures."""

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
            n_ieq_constr=int(self.constrained),  # violated by failed evaluations
            xl=0.0,
            xu=1.0,
        )
        self._algorithm = self.algorithm(DefaultDuplicateElimination(func=self._rounded))
        # pymoo would stop by its own idea of convergence; here the budget decides
        self._algorithm.setup(self._cube, seed=context.seed, termination=self.termination())
        self._generation: Population = Population.empty()
        self._waiting: deque[Candidate] = deque()
        self._open: deque[Candidate] = deque()
        self._evaluated: list[Evaluation] = []
        self._stuck = False

    def termination(self) -> Termination:
        """When the algorithm takes itself to be done; the study goes on as long as it pays."""
        return NoTermination()

    def know(self, evaluations: Sequence[Evaluation]) -> None:
        """Make evaluated points of this space the first generation, in place of random ones.

        Call it after `start` and before the first `ask`; they are not asked again.
        """
        units = [self._space.encode(e.candidate.values) for e in evaluations]
        self._algorithm.initialization.sampling = np.stack(units)
        generation = self._algorithm.ask()
        rows = {self._key(self._space.encode(e.candidate.values)): e for e in evaluations}
        self._generation = generation
        self._evaluated = [rows[self._key(x)] for x in generation.get("X")]
        self._advance()

    @staticmethod
    def _key(unit: NDArray[np.float64]) -> bytes:
        return np.asarray(unit, dtype=np.float64).round(9).tobytes()

    def costs(self, found: Sequence[Evaluation]) -> NDArray[np.float64]:
        """Minimised values `[evaluations, objectives]` of the evaluations that succeeded."""
        return costs_matrix(found, self.problem.objectives)

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
                    "tell takes evaluations in the order in which their candidates were asked, got "
                    f"{dict(evaluation.candidate.values)!r}"
                )
            self._open.popleft()
            self._evaluated.append(evaluation)
        if self._evaluated and not self._waiting and not self._open:
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
        failed = np.array([e.failure is not None for e in self._evaluated])
        costs = np.full((len(failed), len(self.problem.objectives)), FAR)
        costs[~failed] = self.costs([e for e in self._evaluated if e.failure is None])
        known = {"F": costs}
        if self.constrained:
            costs[failed] = 0.0
            known["G"] = np.where(failed, 1.0, -1.0)[:, None]
        static = StaticProblem(self._cube, **known)
        self._algorithm.evaluator.eval(static, self._generation)
        self._algorithm.tell(infills=self._generation)
        self._evaluated = []

    def _rounded(self, population: Population) -> NDArray[np.float64]:
        """Return where the points of a population really lie, `[points, knobs]`."""
        units = [self._space.encode(self._space.decode(x)) for x in population.get("X")]
        return np.stack(units)


class PymooNSGA2(PymooStrategy):
    """Pymoo's NSGA-II (doi:10.1109/4235.996017): SBX crossover, polynomial mutation."""

    def algorithm(self, duplicates: DefaultDuplicateElimination) -> Algorithm:
        """Build NSGA-II with pymoo's defaults but for the population."""
        return NSGA2(pop_size=self.population, eliminate_duplicates=duplicates)


class PymooSMSEMOA(PymooStrategy):
    """Pymoo's SMS-EMOA (doi:10.1016/j.ejor.2006.08.008): drops points of least hypervolume.

    Survivors of a whole generation are chosen at once, which is pymoo's default; the paper replaces
    one at a time.
    """

    min_objectives: ClassVar[int] = 2

    def algorithm(self, duplicates: DefaultDuplicateElimination) -> Algorithm:
        """Build SMS-EMOA with pymoo's defaults but for the population."""
        return SMSEMOA(pop_size=self.population, eliminate_duplicates=duplicates)


class ByDirections(PymooStrategy):
    """An algorithm that is led by reference directions, as many as the population holds."""

    min_objectives: ClassVar[int] = 2

    def directions(self) -> NDArray[np.float64]:
        """Das-Dennis directions `[directions, objectives]`, which sum to 1."""
        objectives = len(self.problem.objectives)
        divisions = max_divisions(objectives, self.population)
        directions = get_reference_directions("uniform", objectives, n_partitions=divisions)
        return np.asarray(directions, dtype=np.float64)


class PymooNSGA3(ByDirections):
    """Pymoo's NSGA-III (doi:10.1109/TEVC.2013.2281535): niches around reference directions."""

    def algorithm(self, duplicates: DefaultDuplicateElimination) -> Algorithm:
        """Build NSGA-III with pymoo's defaults but for the population."""
        return NSGA3(
            self.directions(),
            pop_size=self.population,
            selection=TournamentSelection(func_comp=feasible_first),
            eliminate_duplicates=duplicates,
        )


class InUnits(ByDirections):
    """Compares objectives with each other, so they have one scale: 0 best, 1 reference."""

    def costs(self, found: Sequence[Evaluation]) -> NDArray[np.float64]:
        """Costs in units of each objective's fixed bounds, not clipped to them."""
        best = np.array([o.best for o in self.problem.objectives])
        span = np.array([o.reference for o in self.problem.objectives]) - best
        rows = [[e.objectives[o.name] for o in self.problem.objectives] for e in found]
        units: NDArray[np.float64] = (np.reshape(rows, (len(rows), len(span))) - best) / span
        return units


class PymooMOEAD(InUnits):
    """Pymoo's MOEA/D (doi:10.1109/TEVC.2007.892759): a scalar problem for each direction.

    Tchebycheff for two objectives, penalty boundary intersection for more. A whole generation is
    bred before any of it replaces a neighbour (pymoo's `ParallelMOEAD`); the paper goes one by one,
    which would evaluate one point at a time. A fifth of the population are neighbours. It does not
    eliminate duplicates: on a small lattice it asks for the same again, and pays for it.
    """

    constrained: ClassVar[bool] = False

    def algorithm(self, duplicates: DefaultDuplicateElimination) -> Algorithm:
        """Build MOEA/D; its population is its directions."""
        return ParallelMOEAD(self.directions(), n_neighbors=max(2, self.population // 5))


class PymooRVEA(InUnits):
    """Pymoo's RVEA (doi:10.1109/TEVC.2016.2519378): angles to directions, penalised ever more.

    The penalty grows with generation / last generation. The last one is what the budget pays for:
    budget / (population x mean price of 64 random points). The search goes on while there is budget
    left.
    """

    def algorithm(self, duplicates: DefaultDuplicateElimination) -> Algorithm:
        """Build RVEA with pymoo's defaults but for the population."""
        return RVEA(self.directions(), pop_size=self.population, eliminate_duplicates=duplicates)

    def termination(self) -> Termination:
        """The generations that the budget pays for, from the mean price of random points."""
        rng = np.random.default_rng(self.context.seed)
        points = [self.point(self._space.sample(rng)) for _ in range(64)]
        generation = self.population * float(
            np.mean([self.problem.checked_price(p) for p in points])
        )
        return MaximumGenerationTermination(max(1, round(self.context.budget / generation)))


def feasible_first(
    pop: Population, pairs: NDArray[np.int64], random_state: np.random.Generator, **_: Any
) -> NDArray[np.int64]:
    """Winners of tournaments `[pairs, 1]`: the one that did not fail, of equals a random one.

    NSGA-III's own; pymoo's version draws from an unseeded generator where both failed.
    """
    violation = pop.get("CV")[:, 0]
    draw = random_state.integers(2, size=len(pairs))
    first, second = violation[pairs[:, 0]], violation[pairs[:, 1]]
    place = np.where(first < second, 0, np.where(second < first, 1, draw))
    return pairs[np.arange(len(pairs)), place][:, None]
