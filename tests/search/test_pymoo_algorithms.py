"""Pymoo's algorithms: generations over several asks, failures, small lattices, and worth."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
import pytest

from paretoprune.core.problem import Candidate, Evaluation, Objective, Problem, costs_matrix
from paretoprune.core.space import Float, Int, SearchSpace
from paretoprune.core.strategy import SearchContext, SearchStrategy
from paretoprune.errors import InvalidValueError
from paretoprune.search.pymoo_algorithms import PymooNSGA2
from paretoprune.search.random import RandomSearch
from paretoprune.testing.strategies import CONTINUOUS, STEPPED, Flaky, Toy, drive, rounds


class ZDT1(Problem):
    """Zitzler, Deb and Thiele (2000), test function 1, with five stepped knobs."""

    name = "zdt1"
    spaces = {"cube": SearchSpace(tuple(Float(f"x{i}", 0.0, 1.0, step=0.05) for i in range(5)))}
    objectives = tuple(Objective(f, "min", reference=1.1, best=0.0) for f in ("f1", "f2"))

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        return [self._one(c) for c in candidates]

    def _one(self, candidate: Candidate) -> Evaluation:
        x = np.array([float(v) for v in candidate.values.values()])
        g = 1 + 9 * x[1:].mean()
        return Evaluation(candidate, {"f1": x[0], "f2": g * (1 - np.sqrt(x[0] / g))}, cost=1.0)


def hypervolume(found: Sequence[Evaluation], reference: float = 1.1) -> float:
    """Area dominated below the reference point, two costs."""
    area, best = 0.0, reference
    for first, second in sorted(map(tuple, costs_matrix(found, ZDT1.objectives))):
        if first < reference and second < best:
            area += (reference - first) * (best - second)
            best = second
    return area


def started(strategy: PymooNSGA2, problem: Problem) -> PymooNSGA2:
    strategy.start(problem, SearchContext(seed=0, budget=1000.0))
    return strategy


def test_a_generation_is_handed_out_over_several_asks() -> None:
    problem = Toy(CONTINUOUS)
    strategy = started(PymooNSGA2(population=10), problem)
    for _ in range(3):
        sizes = []
        for _ in range(3):
            asked = strategy.ask(4)
            sizes.append(len(asked))
            strategy.tell(problem.evaluate(asked))
        assert sizes == [4, 4, 2]


def test_nothing_is_asked_while_a_generation_is_out() -> None:
    problem = Toy(CONTINUOUS)
    strategy = started(PymooNSGA2(population=6), problem)
    first, second = strategy.ask(4), strategy.ask(4)
    assert (len(first), len(second)) == (4, 2)
    assert strategy.ask(4) == []
    assert not strategy.finished
    strategy.tell(problem.evaluate(first))
    assert strategy.ask(4) == []
    strategy.tell(problem.evaluate(second))
    assert len(strategy.ask(4)) == 4


def test_batch_size_does_not_change_the_search() -> None:
    runs = [
        drive(PymooNSGA2(population=8), Toy(CONTINUOUS), seed=1, asks=48 // n, n=n) for n in (1, 8)
    ]
    assert [e.candidate for e in runs[0]] == [e.candidate for e in runs[1]]


def test_failed_evaluations_never_enter_the_front() -> None:
    strategy = PymooNSGA2(population=6)
    found = drive(strategy, Flaky(Toy(CONTINUOUS)), seed=0, asks=12, n=6)
    points = {tuple(e.candidate.values.values()): e.failure for e in found}
    space = CONTINUOUS
    survivors = [tuple(space.decode(x).values()) for x in strategy._algorithm.opt.get("X")]
    assert survivors
    assert [points[s] for s in survivors] == [None] * len(survivors)
    population = [tuple(space.decode(x).values()) for x in strategy._algorithm.pop.get("X")]
    assert [points[p] for p in population] == [None] * 6  # 36 succeeded: none need to survive


def test_maximised_objectives_are_negated() -> None:
    strategy = PymooNSGA2(population=6)
    found = drive(strategy, Toy(CONTINUOUS), seed=0, asks=1, n=6)
    costs = costs_matrix(found, Toy().objectives)
    assert (costs[:, 0] <= 0).all()
    np.testing.assert_allclose(
        np.sort(strategy._algorithm.pop.get("F")[:, 0]), np.sort(costs[:, 0])
    )


def test_a_generation_has_no_two_equal_points() -> None:
    for told in rounds(PymooNSGA2(population=12), Toy(STEPPED), seed=0, asks=20, n=12):
        assert len({e.candidate.key for e in told}) == len(told)


def test_finishes_when_a_small_lattice_is_in_the_population() -> None:
    space = SearchSpace((Int("a", 0, 1), Int("b", 0, 1)))
    strategy = PymooNSGA2(population=16)
    found = drive(strategy, Toy(space), seed=0, asks=50, n=4)
    assert strategy.finished
    assert {tuple(e.candidate.values.values()) for e in found} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert strategy.ask(4) == []


def test_does_not_stop_by_itself() -> None:
    """Pymoo's default termination would call this converged long before."""
    found = drive(PymooNSGA2(population=4), Toy(CONTINUOUS), seed=0, asks=200, n=4)
    assert len(found) == 800


def test_refuses_evaluations_out_of_order() -> None:
    problem = Toy(CONTINUOUS)
    strategy = started(PymooNSGA2(), problem)
    evaluations = problem.evaluate(strategy.ask(3))
    with pytest.raises(InvalidValueError, match="in the order"):
        strategy.tell(evaluations[::-1])


def test_options_are_checked() -> None:
    with pytest.raises(InvalidValueError, match="PymooNSGA2 needs 2 or more, got population=1"):
        PymooNSGA2(population=1)


def test_beats_random_search() -> None:
    def median(make: type[SearchStrategy]) -> float:
        runs = (drive(make(), ZDT1(), seed=seed, asks=30, n=8) for seed in range(5))
        return statistics.median(map(hypervolume, runs))

    assert median(PymooNSGA2) > median(RandomSearch) + 0.2
