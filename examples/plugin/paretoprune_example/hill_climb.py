"""A strategy that changes one knob of a front point at a time."""

from __future__ import annotations

from collections.abc import Sequence

from paretoprune import Candidate, Evaluation, Problem, SearchContext, SearchStrategy
from paretoprune.errors import InvalidValueError
from paretoprune.frontier import front_of


class HillClimb(SearchStrategy):
    """Changes one knob of a random front point at a time, after `startup` random points."""

    def __init__(self, startup: int = 8) -> None:
        if startup < 1:
            raise InvalidValueError(f"hill-climb needs 1 or more random points, got {startup}")
        self.startup = startup

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Bind, and forget everything."""
        super().start(problem, context)
        self.found: list[Evaluation] = []

    def ask(self, n: int) -> list[Candidate]:
        """`n` neighbours of the front; random points until `startup` of them succeeded."""
        rng = self.context.rng()
        space = self.problem.space(self.space_name)
        if len(self.found) < self.startup:
            return [self.point(space.sample(rng)) for _ in range(n)]
        front = [self.found[i] for i in front_of(self.found, self.problem.objectives)]
        asked = []
        for place in rng.integers(len(front), size=n):
            unit = space.encode(front[place].candidate.values)
            unit[rng.integers(len(unit))] = rng.random()
            asked.append(self.point(space.decode(unit)))
        return asked

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Remember what succeeded."""
        self.found += [e for e in evaluations if e.failure is None]
