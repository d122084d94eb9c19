"""Exhaustive reference fronts, to measure searches against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretoprune import frontier
from paretoprune.comparison.results import ReferenceFront
from paretoprune.core.problem import Candidate, Evaluation, Problem, default_space
from paretoprune.core.study import Recorder, all_failed, evaluate_all
from paretoprune.errors import InvalidValueError, UnknownNameError

GRIDS = {"fine": 1, "medium": 2, "coarse": 3}
"""Stride by name: every n-th value of a knob with many values is taken."""
MAX_VALUES_WITHOUT_STRIDE = 8
CHUNK = 1024
"""Candidates per batch: the more, the more they share."""


@dataclass(frozen=True)
class Reference:
    """The front of a whole grid; `costs` float64 [points, objectives], normalised to 0..1."""

    name: str
    evaluations: list[Evaluation]
    front: list[int]
    costs: NDArray[np.float64]
    seconds: float

    def stored(self) -> ReferenceFront:
        """As the results file keeps it."""
        return ReferenceFront(
            name=self.name,
            evaluations=len(self.evaluations),
            costs=self.costs.tolist(),
            hypervolume=frontier.hypervolume(self.costs),
            cost=sum(e.cost for e in self.evaluations),
            executed=sum(e.executed for e in self.evaluations),
            seconds=self.seconds,
        )


def parse_reference(text: str) -> tuple[str, str]:
    """Read `grid:fine`; raises `UnknownNameError` for another kind or fineness."""
    kind, _, fineness = text.partition(":")
    if kind != "grid":
        raise UnknownNameError("reference", kind, ["grid"])
    fineness = fineness or "fine"
    if fineness not in GRIDS:
        raise UnknownNameError("reference grid", fineness, GRIDS)
    return kind, fineness


def reference_candidates(problem: Problem, fineness: str) -> list[Candidate]:
    """Every distinct configuration of the default space's lattice, or of a thinner one.

    In lattice order, so that neighbours share work. Raises `InvalidValueError` for a knob that
    cannot be enumerated.
    """
    return list(_distinct(problem, GRIDS[fineness]))


def _distinct(problem: Problem, stride: int) -> Iterator[Candidate]:
    space = problem.space()
    taken: dict[str, set[object]] = {}
    for knob in space.knobs:
        if not np.isfinite(knob.size):
            raise InvalidValueError(
                f"a reference grid needs knobs with steps, but {knob.name!r} has none"
            )
        every = knob.values()
        taken[knob.name] = set(every[::stride] if len(every) > MAX_VALUES_WITHOUT_STRIDE else every)
    seen: set[str] = set()
    for values in space.grid():
        if any(value not in taken[name] for name, value in values.items()):
            continue
        candidate = Candidate(default_space(problem), values)
        identity = problem.identity(candidate)
        if identity not in seen:
            seen.add(identity)
            yield candidate


def reference_front(
    problem: Problem,
    text: str = "grid:fine",
    *,
    observe: Callable[[int, int], None] | None = None,
    recorder: Recorder | None = None,
) -> Reference:
    """Evaluate the whole grid `text` on the search split; `observe` is called with done and total.

    Evaluations that `recorder` has from an earlier run are not repeated.
    """
    _, fineness = parse_reference(text)
    candidates = reference_candidates(problem, fineness)
    evaluations, seconds = evaluate_all(
        problem, candidates, batch=CHUNK, recorder=recorder, observe=observe
    )
    if all(e.failure is not None for e in evaluations):
        raise all_failed(problem, evaluations)
    front = [int(i) for i in frontier.front_of(evaluations, problem.objectives)]
    values = [[evaluations[i].objectives[o.name] for o in problem.objectives] for i in front]
    costs = frontier.normalise(np.asarray(values), problem.objectives)
    return Reference(text, evaluations, front, costs, seconds)
