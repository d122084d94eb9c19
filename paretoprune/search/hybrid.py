"""The hybrid: the gradient search's front, polished by a black-box search, at one total cost.

The gradient search is exact about compute and does not see rounding; an evolutionary search is the
opposite. So the first share of the budget goes to the gradient search. Its final candidates, which
are evaluated anyway, become the first generation of NSGA-II (or known trials of TPE). Nothing is
paid for twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from paretoprune.core.problem import Candidate, Evaluation, Problem
from paretoprune.core.strategy import SearchContext, SearchStrategy
from paretoprune.core.trace import SearchTrace
from paretoprune.errors import InvalidValueError, UnknownNameError
from paretoprune.frontier import front_of
from paretoprune.search.gradient.lagrangian import LagrangianSearch
from paretoprune.search.gradient.options import LagrangianOptions
from paretoprune.search.gradient.state import GradientState
from paretoprune.search.optuna_samplers import TPE
from paretoprune.search.pymoo_algorithms import PymooNSGA2

POLISHES = ("nsga2", "tpe")


class PartOfBudget(SearchContext):
    """A view of a study's context with a share of its budget, charging the same meter."""

    def __init__(self, whole: SearchContext, share: float, space: str | None) -> None:
        self.whole = whole
        super().__init__(seed=whole.seed, budget=share * whole.budget, space=space)

    @property
    def spent(self) -> float:
        """Search cost of the study so far, in dense-pass equivalents."""
        return self.whole.spent

    @spent.setter
    def spent(self, value: float) -> None:
        if value:  # the base class begins with 0, which is not this view's to say
            self.whole.spent = value

    @property
    def asks(self) -> int:
        """The study's number of this ask."""
        return self.whole.asks

    @asks.setter
    def asks(self, value: int) -> None:
        if value:
            self.whole.asks = value


class Hybrid(SearchStrategy):
    """A gradient search on `gradient_share` of the budget, then `polish` from its front.

    `polish` is `nsga2` (pymoo's; the front is its first generation, filled up with what else the
    gradient search returned, to `population`) or `tpe` (Optuna's; all that was returned are trials
    it knows). Further options go to the gradient search.
    """

    requires_gradient: ClassVar[bool] = True
    max_objectives: ClassVar[int | None] = 2
    options_class: ClassVar[type | None] = LagrangianOptions

    def __init__(
        self,
        polish: str = "nsga2",
        gradient_share: float = 0.9,
        population: int = 16,
        **options: Any,
    ) -> None:
        if polish not in POLISHES:
            raise UnknownNameError("polish", polish, POLISHES)
        if not 0 < gradient_share < 1:
            raise InvalidValueError(
                f"option gradient_share must be between 0 and 1, got {gradient_share}"
            )
        self.polish = polish
        self.gradient_share = gradient_share
        self.population = population
        self.gradient = LagrangianSearch(**options)
        self._black_box: PymooNSGA2 | TPE = PymooNSGA2(population) if polish == "nsga2" else TPE()

    def own_spaces(self, problem: Problem) -> Sequence[str]:
        """The kernels of the relaxation, the one that the options name first."""
        return self.gradient.own_spaces(problem)

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Start both searches on the same space; the second waits."""
        super().start(problem, context)
        part = PartOfBudget(context, self.gradient_share, context.space)
        self.gradient.start(problem, part)
        self._black_box.start(problem, PartOfBudget(context, 1.0, self.space_name))
        self._returned: list[Evaluation] = []
        self._polishing = False

    def ask(self, n: int) -> list[Candidate]:
        """The gradient search's asks until it is finished, then the polish's."""
        if not self._polishing and not self.gradient.finished:
            return self.gradient.ask(n)
        if not self._polishing:
            self._hand_over()
        return self._black_box.ask(n)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Let the gradient search learn and keep the evaluations, or let the polish learn."""
        if self._polishing:
            self._black_box.tell(evaluations)
            return
        self.gradient.tell(evaluations)
        if self.gradient.returning:  # initial designs are evaluated on few samples
            self._returned += evaluations

    @property
    def finished(self) -> bool:
        """Whether the polish has nothing left to breed."""
        return self._polishing and self._black_box.finished

    def trace(self) -> SearchTrace:
        """Curves of the gradient part."""
        return self.gradient.trace()

    # --- checkpoints

    def state(self) -> GradientState | None:
        """The gradient search's, until it returns something: from then on asks are replayed."""
        return None if self._polishing or self._returned else self.gradient.state()

    def restore(self, state: GradientState) -> None:
        """Take over a state; `start` must have been called with the same problem and context."""
        self.gradient.restore(state)

    # --- the second part

    def _hand_over(self) -> None:
        """Make the returned evaluations the second search's first generation or known trials."""
        self._polishing = True
        good = [e for e in self._returned if e.complete]
        if not good:
            return
        if self.polish == "nsga2":
            front = [int(i) for i in front_of(good, self.problem.objectives)]
            rest = [i for i in range(len(good)) if i not in front]
            good = [good[i] for i in [*front, *rest]][: max(self.population, len(front))]
        self._black_box.know(good)
