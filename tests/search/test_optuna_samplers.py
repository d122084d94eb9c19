"""Optuna's samplers: trial states, batches, lattices, conditional knobs, silence, and worth."""

from __future__ import annotations

import logging
import statistics
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from paretoprune.core.problem import Candidate, Evaluation, Objective, Problem, costs_matrix
from paretoprune.core.space import Float, SearchSpace
from paretoprune.core.strategy import SearchContext, SearchStrategy
from paretoprune.errors import InvalidValueError
from paretoprune.search.optuna_samplers import NSGAII, TPE, OptunaStrategy
from paretoprune.search.random import RandomSearch
from paretoprune.testing.strategies import (
    CONDITIONAL,
    CONTINUOUS,
    MIXED,
    STEPPED,
    Flaky,
    Toy,
    drive,
    rounds,
)

BOTH = pytest.mark.parametrize("make", [TPE, NSGAII])


class ZDT1(Problem):
    """Zitzler, Deb and Thiele (2000), test function 1, with five knobs."""

    name = "zdt1"
    spaces = {"cube": SearchSpace(tuple(Float(f"x{i}", 0.0, 1.0) for i in range(5)))}
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


def median_hypervolume(make: type[SearchStrategy], asks: int, seeds: int) -> float:
    return statistics.median(
        hypervolume(drive(make(), ZDT1(), seed=seed, asks=asks, n=8)) for seed in range(seeds)
    )


@pytest.fixture
def optuna_log() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("optuna").addHandler(handler)
    yield lines
    logging.getLogger("optuna").removeHandler(handler)


def trials(strategy: OptunaStrategy) -> list[optuna.trial.FrozenTrial]:
    return strategy._study.get_trials(deepcopy=False)


@BOTH
def test_values_reach_the_study_with_their_directions(make: type[OptunaStrategy]) -> None:
    strategy, problem = make(), Toy(objectives=3)
    found = drive(strategy, problem, seed=0, asks=2, n=3)
    assert [d.name for d in strategy._study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    told = [list(e.objectives.values()) for e in found]
    assert [t.values for t in trials(strategy)] == told


@BOTH
def test_failed_evaluations_become_failed_trials(make: type[OptunaStrategy]) -> None:
    strategy = make()
    found = drive(strategy, Flaky(Toy(), 3), seed=0, asks=9, n=4)
    states = [t.state for t in trials(strategy)]
    expected = [TrialState.FAIL if e.failure else TrialState.COMPLETE for e in found]
    assert states == expected
    assert states.count(TrialState.FAIL) == 12


@BOTH
def test_asks_a_batch_before_any_tell(make: type[OptunaStrategy]) -> None:
    strategy, problem = make(), Toy(CONTINUOUS)
    list(rounds(strategy, problem, seed=0, asks=10, n=4))
    strategy.context.asks += 1
    batch = strategy.ask(12)
    assert len({c.key for c in batch}) == 12
    assert sum(t.state == TrialState.RUNNING for t in trials(strategy)) == 12
    strategy.tell(problem.evaluate(batch))
    assert all(t.state == TrialState.COMPLETE for t in trials(strategy))


def test_tpe_spreads_a_batch_over_the_lattice() -> None:
    """Without the constant liar the points of a late batch pile up."""

    class Trusting(TPE):
        def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
            return optuna.samplers.TPESampler(seed=seed, constant_liar=False)

    def distinct(strategy: OptunaStrategy) -> int:
        told = list(rounds(strategy, Toy(STEPPED), seed=0, asks=6, n=16))
        return sum(len({e.candidate.key for e in batch}) for batch in told[1:])

    assert distinct(TPE()) > distinct(Trusting())


@BOTH
def test_each_ask_has_its_own_seed(make: type[OptunaStrategy]) -> None:
    strategy, problem = make(), Toy(CONTINUOUS)
    strategy.start(problem, SearchContext(seed=0, budget=100.0))
    batches = []
    for number in (1, 2, 1):
        strategy.context.asks = number
        batches.append([c.key for c in strategy.ask(2)])
    assert batches[0] == batches[2] != batches[1]  # all asks are random before any tell


@BOTH
def test_lattices_that_do_not_divide_evenly(make: type[OptunaStrategy]) -> None:
    space = SearchSpace(
        (
            Float("third", 0.0, 1.0, step=1 / 3),
            Float("tenth", 0.1, 0.7, step=0.1),
            Float("short", 0.0, 1.0, step=0.3),
        )
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = drive(make(), Toy(space), seed=0, asks=20, n=4)
    for knob in space.knobs:
        seen = {e.candidate.values[knob.name] for e in found}
        assert seen == set(knob.values())


def test_tpe_suggests_active_knobs_only() -> None:
    strategy = TPE()
    for evaluation, trial in zip(
        drive(strategy, Toy(CONDITIONAL), seed=0, asks=8, n=4), trials(strategy), strict=True
    ):
        assert list(trial.params) == list(evaluation.candidate.values)


def test_nsga2_inherits_conditional_knobs() -> None:
    strategy = NSGAII(population=8)
    found = drive(strategy, Toy(CONDITIONAL), seed=0, asks=8, n=4)
    assert {e.candidate.values["mode"] for e in found} == {"single", "double"}
    assert all(set(t.params) == set(CONDITIONAL.names) for t in trials(strategy))
    assert all(
        ("second_ratio" in e.candidate.values) == (e.candidate.values["mode"] == "double")
        for e in found
    )


def test_nsga2_generations_count_successes() -> None:
    def generations(strategy: OptunaStrategy) -> list[int]:
        return [t.system_attrs["NSGAIISampler:generation"] for t in trials(strategy)]

    strategy = NSGAII(population=4)
    drive(strategy, Toy(), seed=0, asks=6, n=2)
    assert generations(strategy) == [0] * 4 + [1] * 4 + [2] * 4
    strategy = NSGAII(population=4)
    drive(strategy, Flaky(Toy()), seed=0, asks=8, n=2)
    assert generations(strategy) == [0] * 8 + [1] * 8


@BOTH
def test_says_nothing_and_leaves_the_verbosity(
    make: type[OptunaStrategy], optuna_log: list[str]
) -> None:
    before = optuna.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drive(make(), Flaky(Toy(MIXED)), seed=0, asks=6, n=4)
    assert optuna_log == []
    assert optuna.logging.get_verbosity() == before
    optuna.create_study()
    assert len(optuna_log) == 1, "the user's own studies are still announced"


@BOTH
def test_refuses_evaluations_out_of_order(make: type[OptunaStrategy]) -> None:
    strategy, problem = make(), Toy()
    strategy.start(problem, SearchContext(seed=0, budget=100.0))
    evaluations = problem.evaluate(strategy.ask(3))
    with pytest.raises(InvalidValueError, match="in the order"):
        strategy.tell(evaluations[::-1])
    strategy.tell(evaluations)
    with pytest.raises(InvalidValueError, match="in the order"):
        strategy.tell(evaluations[:1])


def test_options_are_checked() -> None:
    with pytest.raises(InvalidValueError, match="population of 2 or more, got 1"):
        NSGAII(population=1)
    with pytest.raises(InvalidValueError, match="1 or more startup points, got 0"):
        TPE(startup=0)


def test_nsga2_beats_random_search() -> None:
    chance = median_hypervolume(RandomSearch, asks=30, seeds=5)
    assert median_hypervolume(NSGAII, asks=30, seeds=5) > chance + 0.2


def test_tpe_beats_random_search() -> None:
    chance = median_hypervolume(RandomSearch, asks=14, seeds=3)
    assert median_hypervolume(TPE, asks=14, seeds=3) > chance + 0.2
