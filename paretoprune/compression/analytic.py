"""Analytic test problems: black boxes whose true front and best hypervolume are known.

They cost one unit per evaluation, need no model, and tell whether a strategy searches at all.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.problem import Candidate, Evaluation, Objective, Problem
from paretoprune.core.space import Float, SearchSpace
from paretoprune.errors import InvalidValueError, UnsupportedError


class Analytic(Problem):
    """A closed-form problem over `d` knobs x1..xd in [0, 1], all objectives minimised.

    Subclasses set `name`, `least` (the fewest knobs) and `objectives`, and define the rest.
    """

    least: int

    def __init__(self, d: int) -> None:
        if isinstance(d, bool) or not isinstance(d, int) or d < self.least:
            raise InvalidValueError(
                f"problem {self.name!r} needs a whole number d of at least {self.least} knobs, "
                f"got {d!r}"
            )
        self.d = d
        self.spaces = {"cube": SearchSpace(tuple(Float(f"x{i + 1}", 0.0, 1.0) for i in range(d)))}

    @abstractmethod
    def values(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Objectives `[points, objectives]` of points `[points, d]` of the unit cube."""

    @abstractmethod
    def true_front(self, n: int) -> NDArray[np.float64]:
        """`n` points of the true front, raw objective values `[n, objectives]`."""

    @property
    @abstractmethod
    def best_hypervolume(self) -> float:
        """Hypervolume of the whole true front after `frontier.normalise`, in closed form."""

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Evaluate a batch, in order; each costs 1.

        Raises `InvalidValueError` or `UnknownNameError` for a point outside the space and
        `UnsupportedError` for a candidate with a policy.
        """
        for candidate in candidates:
            if candidate.policy is not None:
                raise UnsupportedError(
                    f"problem {self.name!r} evaluates points, not policies: it has no inputs to "
                    "adapt to"
                )
        names = [objective.name for objective in self.objectives]
        points = [self.space(c.space).validate(c.values) for c in candidates]
        x = np.array([list(p.values()) for p in points], dtype=np.float64).reshape(-1, self.d)
        return [
            Evaluation(
                candidate,
                objectives=dict(zip(names, row, strict=True)),
                cost=self.price(candidate),
                executed=1.0,
            )
            for candidate, row in zip(candidates, self.values(x).tolist(), strict=True)
        ]

    def describe(self) -> dict[str, Any]:
        """JSON-ready description: name and number of knobs."""
        return {"problem": self.name, "d": self.d}

    def _box(self) -> float:
        """Volume between the objectives' best and reference."""
        return math.prod(o.reference - o.best for o in self.objectives)


class ZDT1(Analytic):
    """Two objectives with a convex front (Zitzler, Deb and Thiele 2000, Evol. Comput. 8(2), T1).

    `f1 = x1`, `f2 = g * (1 - sqrt(f1 / g))`, `g = 1 + 9 * mean(x2..xd)`. The front is
    `f2 = 1 - sqrt(f1)`, where g = 1. Best is 0; the references 1.1 and 11 are the worst values, 1
    and 10, plus a tenth: the front and every other point lie inside, so that small budgets score
    too. The paper has d = 30; five knobs suit budgets of tens of evaluations.
    """

    name = "zdt1"
    least = 2
    objectives = (
        Objective("f1", "min", "", reference=1.1, best=0.0),
        Objective("f2", "min", "", reference=11.0, best=0.0),
    )

    def __init__(self, d: int = 5) -> None:
        super().__init__(d)

    def values(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Objectives `[points, 2]` of points `[points, d]`."""
        f1 = x[:, 0]
        g = 1.0 + 9.0 * x[:, 1:].mean(axis=1)
        return np.stack([f1, g * (1.0 - np.sqrt(f1 / g))], axis=1)

    def true_front(self, n: int) -> NDArray[np.float64]:
        """`n >= 2` points of the front, `[n, 2]`, evenly spaced in f1, both ends included."""
        _check_count(n)
        f1 = np.linspace(0.0, 1.0, n)
        return np.stack([f1, 1.0 - np.sqrt(f1)], axis=1)

    @property
    def best_hypervolume(self) -> float:
        """1 - (1/3) / (r1 * r2): the front misses the integral of 1 - sqrt(f1), which is 1/3."""
        return 1.0 - (1.0 / 3.0) / self._box()


class DTLZ2(Analytic):
    """Three objectives with a spherical front (Deb, Thiele, Laumanns and Zitzler 2002, CEC).

    `f1 = (1 + g) cos(a) cos(b)`, `f2 = (1 + g) cos(a) sin(b)`, `f3 = (1 + g) sin(a)`, with
    `a = x1 * pi / 2`, `b = x2 * pi / 2`, `g = sum((x3..xd - 1/2)^2)`. The front is the unit sphere
    in the positive octant, where g = 0. Best is 0; the reference 1.1 is the front's worst value
    plus a tenth, as in BoTorch. The paper has d = 12; five knobs suit small budgets.
    """

    name = "dtlz2"
    least = 3
    objectives = (
        Objective("f1", "min", "", reference=1.1, best=0.0),
        Objective("f2", "min", "", reference=1.1, best=0.0),
        Objective("f3", "min", "", reference=1.1, best=0.0),
    )

    def __init__(self, d: int = 5) -> None:
        super().__init__(d)

    def values(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Objectives `[points, 3]` of points `[points, d]`."""
        radius = 1.0 + ((x[:, 2:] - 0.5) ** 2).sum(axis=1)
        a, b = (x[:, :2] * (np.pi / 2)).T
        return np.stack(
            [
                radius * np.cos(a) * np.cos(b),
                radius * np.cos(a) * np.sin(b),
                radius * np.sin(a),
            ],
            axis=1,
        )

    def true_front(self, n: int) -> NDArray[np.float64]:
        """`n >= 2` points of the front, `[n, 3]`, on a Fibonacci lattice: even by area, f3 rising.

        The lattice puts no point on the edges of the octant but the first and the last.
        """
        _check_count(n)
        f3 = np.linspace(0.0, 1.0, n)
        turn = np.arange(n) * ((math.sqrt(5.0) - 1.0) / 2.0) % 1.0
        ring, b = np.sqrt(1.0 - f3**2), turn * (np.pi / 2)
        return np.stack([ring * np.cos(b), ring * np.sin(b), f3], axis=1)

    @property
    def best_hypervolume(self) -> float:
        """1 - (pi/6) / (r1 * r2 * r3): the front misses an eighth of the unit ball, pi/6."""
        return 1.0 - (math.pi / 6.0) / self._box()


def _check_count(n: int) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or n < 2:
        raise InvalidValueError(
            f"a true front needs a whole number of at least 2 points, got {n!r}"
        )
