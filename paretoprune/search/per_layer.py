"""Base classes of the published choosers: keep ratios per layer, and fixed lists of candidates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.capabilities import statistics_of
from paretoprune.core.problem import Candidate, Objective, Problem
from paretoprune.core.space import Float
from paretoprune.core.strategy import SearchContext, SearchStrategy
from paretoprune.errors import InvalidValueError, UnsupportedError

Numbers = float | str | Sequence[float]
"""A number, several written as `0.1/0.2`, or a sequence of them."""
BISECTIONS = 30
"""Halvings of the range of a schedule's parameter: the parameter is then exact to 1e-9."""


class PerLayerStrategy(SearchStrategy):
    """Searches a space `free`: a keep ratio per layer, from shallow to deep, on one lattice.

    A ratio that would rise holds at the one before. The problem's price is what a schedule runs: a
    target is a share of the way from the price of the cheapest schedule to that of the dense one.
    """

    only_space: ClassVar[str | None] = "free"

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Bind to a problem; knobs other than stepped reals raise `UnsupportedError`."""
        super().start(problem, context)
        self.knobs: list[Float] = []
        for knob in problem.space(self.space_name).knobs:
            stepped = isinstance(knob, Float) and knob.step is not None
            if not stepped or (self.knobs and knob.values() != self.knobs[0].values()):
                raise UnsupportedError(
                    f"strategy {self.called} needs a keep ratio per layer, all on one "
                    f"lattice; knob {knob.name!r} of problem {problem.name!r} is none"
                )
            assert isinstance(knob, Float)
            self.knobs.append(knob)
        self.lowest_price = problem.checked_price(self.schedule(np.zeros(len(self.knobs))))
        self.dense = self.schedule(np.ones(len(self.knobs)))
        self.dense_price = problem.checked_price(self.dense)

    def schedule(self, ratios: Sequence[float] | NDArray[np.float64]) -> Candidate:
        """The candidate nearest to these ratios, one per knob, within the knobs' bounds."""
        return self.point(
            {
                knob.name: float(min(max(ratio, knob.low), knob.high))
                for knob, ratio in zip(self.knobs, ratios, strict=True)
            }
        )

    def share(self, candidate: Candidate) -> float:
        """Where a candidate's price lies between the cheapest schedule's (0) and the dense (1)."""
        return (self.problem.checked_price(candidate) - self.lowest_price) / (
            self.dense_price - self.lowest_price
        )

    def at_target(
        self, schedule_of: Callable[[float], Candidate], fits: float, exceeds: float, target: float
    ) -> Candidate:
        """The schedule whose price comes nearest to `target` without exceeding it.

        By bisection of the parameter of `schedule_of`, between a value that `fits` the target and
        one that `exceeds` it.
        """
        for _ in range(BISECTIONS):
            middle = (fits + exceeds) / 2
            if self.share(schedule_of(middle)) <= target + 1e-9:
                fits = middle
            else:
                exceeds = middle
        return schedule_of(fits)

    def needs_prices(self) -> None:
        """Refuse a problem where every schedule has the same price."""
        if not self.dense_price > self.lowest_price:
            raise UnsupportedError(
                f"strategy {self.called} aims at compute targets, but problem "
                f"{self.problem.name!r} has the same price for every schedule"
            )

    def needs_budget(self, before: float) -> None:
        """Refuse a budget that does not reach `before` and one evaluation after it."""
        needed = before + self.lowest_price
        if not self.context.affords(needed):
            raise InvalidValueError(
                f"strategy {self.called} needs a budget of at least {needed:.2f} dense "
                f"passes, {before:.2f} of them before its first configuration, "
                f"got {self.context.budget:g}"
            )

    def quality(self) -> Objective:
        """The one objective to raise; raises `UnsupportedError` where there is not exactly one."""
        raised = [o for o in self.problem.objectives if o.direction == "max"]
        if len(raised) != 1:
            raise UnsupportedError(
                f"strategy {self.called} needs exactly one objective to raise, problem "
                f"{self.problem.name!r} has {len(raised)}"
            )
        return raised[0]


class RecipeStrategy(SearchStrategy):
    """Computes all its candidates in its first ask; no evaluation changes them."""

    depends_on_seed: ClassVar[bool] = False

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Bind to a problem; nothing is computed yet."""
        super().start(problem, context)
        self._pending: list[Candidate] | None = None

    @abstractmethod
    def candidates(self) -> list[Candidate]:
        """All candidates, in the order in which they are asked; charges its own work."""

    def ask(self, n: int) -> list[Candidate]:
        """Up to `n` of the candidates; the first ask computes them."""
        if self._pending is None:
            self._pending = self.candidates()
        asked, self._pending = self._pending[:n], self._pending[n:]
        return asked

    @property
    def finished(self) -> bool:
        """Whether every candidate has been asked."""
        return self._pending is not None and not self._pending

    def affordable(
        self, targets: int | Numbers, candidate_of: Callable[[float], Candidate]
    ) -> list[Candidate]:
        """The candidates of compute targets, each once.

        A number of targets is lowered until the budget pays for all candidates, but not below 1.
        """
        fewer = range(targets, 0, -1) if isinstance(targets, int) else [targets]
        once: dict[str, Candidate] = {}
        for given in fewer:
            found = map(candidate_of, targets_of(given))
            once = {self.problem.identity(candidate): candidate for candidate in found}
            if self.context.affords(sum(map(self.problem.checked_price, once.values()))):
                break
        return list(once.values())


class StatisticStrategy(RecipeStrategy, PerLayerStrategy):
    """A recipe whose schedules follow from one statistic of the model, paid for in the first ask.

    `samples` are those of the search split that the statistic is measured on.
    """

    statistic: ClassVar[str]
    samples: int

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Bind to a problem that offers the statistic."""
        super().start(problem, context)
        self._statistics = statistics_of(problem, self.statistic)
        self._price = self._statistics.probe_price(self.statistic, self.samples)
        self.needs_budget(self._price)

    def candidates(self) -> list[Candidate]:
        """Measure the statistic, and turn it into schedules."""
        self.context.charge(self._price)
        return self.schedules(self._statistics.probe(self.statistic, self.samples))

    @abstractmethod
    def schedules(self, statistic: NDArray[np.float64]) -> list[Candidate]:
        """The schedules that follow from the statistic."""


def numbers_of(name: str, given: Numbers) -> tuple[float, ...]:
    """The option `name` as numbers; raises `InvalidValueError` for anything else, or none."""
    parts = given.split("/") if isinstance(given, str) else given
    try:
        numbers = tuple(float(x) for x in (parts if isinstance(parts, Sequence) else [parts]))
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or not np.isfinite(numbers).all():
        raise InvalidValueError(
            f"option {name} takes one or more numbers, written as 0.1/0.2, got {given!r}"
        )
    return numbers


def targets_of(given: int | Numbers) -> tuple[float, ...]:
    """Compute targets between 0 and 1: as many evenly spaced ones as a whole number says."""
    if isinstance(given, int):
        if given < 1:
            raise InvalidValueError(f"option targets needs 1 or more of them, got {given}")
        return tuple((i + 1) / (given + 1) for i in range(given))
    targets = numbers_of("targets", given)
    outside = [x for x in targets if not 0 <= x <= 1]
    if outside:
        raise InvalidValueError(f"option targets takes shares from 0 to 1, got {outside[0]:g}")
    return targets
