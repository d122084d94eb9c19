"""Grid search: every point of the space's lattice, in an order whose every prefix is spread out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.problem import Candidate, Problem
from paretoprune.core.space import Float, SearchSpace, Value
from paretoprune.core.strategy import SearchContext, SearchStrategy
from paretoprune.errors import InvalidValueError

POOL = 5000
"""Points that are ordered against each other; a larger lattice is taken pool by pool."""


class GridSearch(SearchStrategy):
    """Every point of the lattice, once; thinned evenly where the budget does not reach.

    Points go in farthest-point order (Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5) in the unit
    cube, from the centre outwards, so the points that the budget pays for cover the space whatever
    their number. Of points that share `problem.identity` only the first is asked. A lattice of more
    than `POOL` points is first walked with a golden-section stride. The seed plays no part.

    `points` makes a lattice of each real knob without a step: that many values, ends included.
    """

    depends_on_seed: ClassVar[bool] = False
    learns: ClassVar[bool] = False

    def __init__(self, points: int | None = None) -> None:
        if points is not None and points < 2:
            raise InvalidValueError(f"a grid needs 2 or more points per knob, got {points}")
        self.points = points

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Bind to a problem; a knob that cannot be enumerated raises `InvalidValueError`."""
        super().start(problem, context)
        self._order = self._affordable(self._lattice())
        self._next = next(self._order, None)

    def ask(self, n: int) -> list[Candidate]:
        """Propose the next `n` points, fewer at the end."""
        asked: list[Candidate] = []
        while self._next is not None and len(asked) < n:
            asked.append(self._next)
            self._next = next(self._order, None)
        return asked

    @property
    def finished(self) -> bool:
        """Whether every point that the budget pays for has been asked."""
        return self._next is None

    def _lattice(self) -> SearchSpace:
        space = self.problem.space(self.space_name)
        knobs = list(space.knobs)
        for i, knob in enumerate(knobs):
            if isinstance(knob, Float) and knob.step is None:
                if self.points is None:
                    raise InvalidValueError(
                        f"a grid cannot enumerate knob {knob.name!r}, which has no step; say how "
                        "many points to take of such knobs, as in GridSearch(points=9)"
                    )
                step = (knob.high - knob.low) / (self.points - 1)
                knobs[i] = dataclasses.replace(knob, step=step)
        return SearchSpace(tuple(knobs))

    def _affordable(self, lattice: SearchSpace) -> Iterator[Candidate]:
        """Yield the longest prefix of the order that fits the whole budget."""
        spent = 0.0
        for candidate in self._spread(lattice):
            spent += self.problem.checked_price(candidate)
            if spent > self.context.budget + 1e-9:  # the same slack as the context's own meter
                return
            yield candidate

    def _spread(self, lattice: SearchSpace) -> Iterator[Candidate]:
        walk = _walk(lattice)
        seen: set[str] = set()
        while pool := list(islice(walk, POOL)):
            fresh: dict[str, Candidate] = {}
            for values in pool:
                candidate = self.point(dict(values))
                fresh.setdefault(self.problem.identity(candidate), candidate)
            kept = [c for identity, c in fresh.items() if identity not in seen]
            seen.update(fresh)
            if kept:
                units = np.stack([lattice.encode(c.values) for c in kept])
                yield from (kept[i] for i in farthest_point_order(units))


def farthest_point_order(units: NDArray[np.float64]) -> Iterator[int]:
    """Rows of `units` `[points, knobs]`, each the farthest from those before; the centre first."""
    gaps = np.full(len(units), np.inf)  # squared distance to the nearest row taken
    row = int(np.argmin(((units - 0.5) ** 2).sum(axis=1)))
    for _ in range(len(units)):
        yield row
        gaps = np.minimum(gaps, ((units - units[row]) ** 2).sum(axis=1))
        gaps[row] = -1.0
        row = int(np.argmax(gaps))


def _walk(lattice: SearchSpace) -> Iterator[Mapping[str, Value]]:
    """All points of the lattice; a large one in strides, so that it is never listed whole."""
    if lattice.size <= POOL:
        yield from lattice.grid()
        return
    count = int(lattice.size)
    stride = int(count * (math.sqrt(5) - 1) / 2)
    while math.gcd(stride, count) != 1:
        stride += 1
    for i in range(count):
        yield lattice.at(i * stride % count)
