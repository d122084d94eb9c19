"""Choosing one point of a front: the best within bounds, or the knee."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from paretoprune.errors import InvalidValueError, UnknownNameError
from paretoprune.frontier.dominance import cost_matrix

Direction = Literal["max", "min"]


@dataclass(frozen=True, slots=True)
class Bound:
    """An objective's value is at most (`max`) or at least (`min`) `value`."""

    objective: str
    side: Direction
    value: float

    @classmethod
    def parse(cls, side: Direction, text: str) -> Bound:
        """Read `NAME=VALUE`; raises `InvalidValueError`."""
        name, equals, value = (part.strip() for part in text.partition("="))
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (name and equals and math.isfinite(number)):
            raise InvalidValueError(f"--{side} takes NAME=VALUE, such as compute=0.4; got {text!r}")
        return cls(name, side, number)

    def holds(self, value: float) -> bool:
        """Whether a value is within the bound."""
        return value <= self.value if self.side == "max" else value >= self.value

    def __str__(self) -> str:
        return f"{self.objective} {'≤' if self.side == 'max' else '≥'} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen point: its index, the rule in words, and among how many points it was chosen."""

    index: int
    rule: str
    of: int


def choose(
    points: Sequence[Mapping[str, float]],
    directions: Mapping[str, Direction],
    bounds: Sequence[Bound] = (),
    *,
    at_knee: bool = False,
) -> Choice:
    """Choose one of `points`, each with its objectives by name; `directions` names all objectives.

    Within the bounds it is the point of the best maximised objective, or of the lowest first cost
    where only that objective is bounded; ties go to the cheaper one. With `at_knee`, or without
    bounds, it is the knee of the points within the bounds. Raises `UnknownNameError` for a bound on
    what is no objective, and `InvalidValueError` where nothing lies within the bounds.
    """
    for bound in bounds:
        if bound.objective not in directions:
            raise UnknownNameError("objective of this comparison", bound.objective, directions)
    within = [i for i, p in enumerate(points) if all(b.holds(p[b.objective]) for b in bounds)]
    if not within:
        raise InvalidValueError(_nothing_within(points, bounds))

    def costs(i: int, names: Sequence[str]) -> list[float]:
        return [-points[i][n] if directions[n] == "max" else points[i][n] for n in names]

    limits = " and ".join(map(str, bounds))
    if at_knee or not bounds:
        place = knee([costs(i, list(directions)) for i in within])
        rule = f"the knee of the front{f' with {limits}' if limits else ''}"
        return Choice(within[place], rule, len(within))
    up = [name for name, direction in directions.items() if direction == "max"]
    down = [name for name, direction in directions.items() if direction == "min"]
    only_quality = bool(up and down) and {b.objective for b in bounds} <= set(up)
    order = [*down, *up] if only_quality else [*up, *down]
    chosen = min(within, key=lambda i: costs(i, order))
    best = "highest" if directions[order[0]] == "max" else "lowest"
    return Choice(chosen, f"the {best} {order[0]} with {limits}", len(within))


def _nothing_within(points: Sequence[Mapping[str, float]], bounds: Sequence[Bound]) -> str:
    for bound in bounds:
        values = [p[bound.objective] for p in points]
        if not any(map(bound.holds, values)):
            is_upper = bound.side == "max"
            nearest = min(values) if is_upper else max(values)
            return (
                f"no configuration of the front has {bound}; "
                f"the {'lowest' if is_upper else 'highest'} is {nearest:.4g}"
            )
    return f"no configuration of the front has {' and '.join(map(str, bounds))} at once"


def knee(costs: ArrayLike) -> int:
    """Number of the knee among the points of a front, float64 `[points, objectives]`, minimised.

    Each objective is scaled to 0..1 over the front; the knee is the point farthest below the
    hyperplane through the scaled extremes, where the scaled costs sum to 1 (Das 1999, On
    characterizing the "knee" of the Pareto curve, Struct. Optim. 18): with two objectives, farthest
    from the line between the ends. The first of equals. Raises `InvalidValueError` for no point or
    for numbers that are not finite.
    """
    matrix = cost_matrix(costs)
    low, span = matrix.min(axis=0), np.ptp(matrix, axis=0)
    scaled = (matrix - low) / np.where(span > 0, span, 1.0)
    return int(scaled.sum(axis=1).round(12).argmin())
