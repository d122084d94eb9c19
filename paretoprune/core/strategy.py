"""The strategy contract: propose candidates, learn from evaluations.

A new strategy is one file with one subclass of `SearchStrategy` and one line in the registry;
`paretoprune/search/random.py` is the complete minimal example.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from paretoprune.core.capabilities import relaxation_of
from paretoprune.core.options import is_number, whole_number
from paretoprune.core.problem import Candidate, Evaluation, Problem, default_space
from paretoprune.errors import InvalidValueError, UnsupportedError


class SearchState(Protocol):
    """State of a strategy in a checkpoint (`search.gradient.state`)."""

    @property
    def tensors(self) -> dict[str, Any]:
        """Torch tensors by name."""

    @property
    def values(self) -> dict[str, Any]:
        """JSON-ready values by name."""


class BudgetExhausted(Exception):
    """Raised by `SearchContext.charge` when the work costs more than the remaining budget."""


class SearchContext:
    """Context of a strategy in a study: seed, budget and the meter for search cost.

    `budget` is in dense-pass equivalents: one is the FLOPs of the dense model's decoder over the
    whole search split.
    """

    def __init__(self, *, seed: int, budget: float, space: str | None = None) -> None:
        if not is_number(budget) or not 0 < budget < math.inf:  # nan too
            raise InvalidValueError(
                "the search budget must be a finite number of dense-pass equivalents above 0, got "
                f"{budget!r}"
            )
        self.seed = whole_number("a seed", seed)
        self.budget = budget
        self.space = space
        self.spent = 0.0
        self.asks = 0

    @property
    def remaining(self) -> float:
        """Budget left, in dense-pass equivalents."""
        return self.budget - self.spent

    def affords(self, cost: float) -> bool:
        """Whether work of this price still fits the budget; raises where it is no price."""
        if not is_number(cost) or not 0 <= cost < math.inf:  # nan too
            raise InvalidValueError(
                f"a price is a finite number of dense-pass equivalents, 0 or more, got {cost!r}"
            )
        return cost <= self.remaining + 1e-9

    def charge(self, cost: float) -> None:
        """Pay for work before doing it; raises `BudgetExhausted` if it does not fit."""
        if not self.affords(cost):
            raise BudgetExhausted
        self.spent += cost

    def rng(self) -> np.random.Generator:
        """A generator for this ask alone: it depends on the seed and the ask's number only.

        That is what makes a resumed study, which replays its asks, continue identically.
        """
        return np.random.default_rng([self.seed, self.asks])

    def seed_of_ask(self) -> int:
        """A 31-bit seed for this ask alone, for libraries that take a number."""
        return int(self.rng().integers(2**31))


class SearchStrategy(ABC):
    """Proposes candidates (`ask`) and learns from their evaluations (`tell`).

    Life of a strategy: `start` once, then `ask` and `tell` in turn until the study's budget is
    spent or `finished` is true. One `ask` does a bounded piece of work; it may return fewer than
    `n` candidates, or none yet. Work of its own (gradient steps) is charged to the context.
    The same seed and the same tells give the same asks, in any process. It may also be
    `Checkpointed`, and `core.trace.Traced`.
    """

    requires_gradient: ClassVar[bool] = False
    """Whether the problem must offer a relaxation."""
    requires_shares: ClassVar[bool] = False
    """Whether it asks for evaluations on a sample fraction below 1."""
    min_objectives: ClassVar[int] = 1
    """The smallest number of objectives it handles."""
    max_objectives: ClassVar[int | None] = None
    """The largest number of objectives it handles; None for any."""
    only_space: ClassVar[str | None] = None
    """Name of the one space it searches, where it understands no other; None for any."""
    learns: ClassVar[bool] = True
    """Whether evaluations change its asks; if not, workers may start on its next ask."""
    depends_on_seed: ClassVar[bool] = True
    """Whether another seed asks for other candidates; one that does not is run once."""

    options_class: ClassVar[type | None] = None
    """Dataclass whose fields are options, too, where the constructor passes `**` on to it."""

    label: str | None = None
    """Name in the comparison that built it; None where it was built by hand."""

    problem: Problem
    context: SearchContext

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Bind to a problem and a context; raises `UnsupportedError` where they do not fit.

        Subclasses extend this (call `super().start` first); nothing may be evaluated in it.
        """
        self._check_objectives(problem)
        if self.requires_gradient:
            relaxation_of(problem)
        if self.requires_shares and not problem.has_shares:
            raise UnsupportedError(
                f"strategy {self.called} evaluates on a share of the samples, which "
                f"problem {problem.name!r} cannot"
            )
        self._searched = self._choose_space(problem, context.space)
        self.problem = problem
        self.context = context

    @abstractmethod
    def ask(self, n: int) -> list[Candidate]:
        """Propose up to `n` candidates (n >= 1)."""

    def tell(self, evaluations: Sequence[Evaluation]) -> None:  # noqa: B027 (optional hook)
        """Learn from evaluations of asked candidates, failed ones included, in asked order."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to ask."""
        return False

    def own_spaces(self, problem: Problem) -> Sequence[str] | None:
        """Names of the spaces of `problem` that it can search, its default first; None for any."""
        return None if self.only_space is None else (self.only_space,)

    @property
    def called(self) -> str:
        """Its name in messages: the user's own words where known."""
        return repr(self.label) if self.label else type(self).__name__

    @property
    def space_name(self) -> str:
        """Name of the space being searched."""
        return self._searched

    def point(self, values: dict[str, float | int | str]) -> Candidate:
        """A validated candidate of the space being searched."""
        return self.problem.candidate(values, self.space_name)

    def _check_objectives(self, problem: Problem) -> None:
        count = len(problem.objectives)
        if count < self.min_objectives:
            raise UnsupportedError(
                f"strategy {self.called} needs at least {self.min_objectives} "
                f"objectives, problem {problem.name!r} has {count}"
            )
        if self.max_objectives is not None and count > self.max_objectives:
            raise UnsupportedError(
                f"strategy {self.called} handles at most {self.max_objectives} "
                f"objectives, problem {problem.name!r} has {count}"
            )

    def _choose_space(self, problem: Problem, asked: str | None) -> str:
        """The space to search, `asked` for or not; raises where that is not its own."""
        if asked is not None:
            problem.space(asked)
        own = self.own_spaces(problem)
        if own is None:
            return asked or default_space(problem)
        known = [name for name in own if name in problem.spaces]
        listed = ", ".join(repr(name) for name in own)
        if not known:
            raise UnsupportedError(
                f"strategy {self.called} searches the space {listed}, which problem "
                f"{problem.name!r} does not have; choose a sampler such as 'tpe' or 'nsga2'"
            )
        if asked not in (None, *known):
            raise UnsupportedError(
                f"strategy {self.called} searches the space {listed} only, not {asked!r}"
            )
        return asked or known[0]


@runtime_checkable
class Checkpointed(Protocol):
    """A strategy that a resumed study restores from its last checkpoint.

    Any other strategy is replayed: it repeats its asks, and `tell` gets the recorded evaluations.
    So only strategies whose asks take long need this capability.
    """

    def state(self) -> SearchState | None:
        """Everything that a fresh, started strategy needs to continue identically.

        Called between `tell` and `ask`. None where its asks are to be replayed from the last state.
        """

    def restore(self, state: Any) -> None:
        """Take over a state; `start` must have been called with the same problem and context."""
