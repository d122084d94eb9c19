"""Random search: the baseline, and the complete minimal example of a strategy."""

from __future__ import annotations

from typing import ClassVar

from paretoprune.core.problem import Candidate
from paretoprune.core.strategy import SearchStrategy


class RandomSearch(SearchStrategy):
    """Draws every knob uniformly; learns nothing."""

    learns: ClassVar[bool] = False

    def ask(self, n: int) -> list[Candidate]:
        """Propose `n` independent points."""
        rng = self.context.rng()  # depends on the seed and the number of this ask only
        space = self.problem.space(self.space_name)
        return [self.point(space.sample(rng)) for _ in range(n)]
