"""The shipped contract suite on the built-in strategies that need no gradients."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from paretoprune.core.problem import Candidate, Evaluation, Problem
from paretoprune.core.strategy import SearchContext, SearchStrategy
from paretoprune.search.autoprune import AutoPruneSearch
from paretoprune.search.fitprune import FitPruneSearch
from paretoprune.search.g_search import GSearch
from paretoprune.search.gradient.relaxation import Relaxation
from paretoprune.search.grid import GridSearch
from paretoprune.search.halving import SuccessiveHalving
from paretoprune.search.optuna_samplers import GP, NSGAII, NSGAIII, QMC, TPE
from paretoprune.search.p_sigmoid import PSigmoid
from paretoprune.search.pymoo_algorithms import (
    PymooMOEAD,
    PymooNSGA2,
    PymooNSGA3,
    PymooRVEA,
    PymooSMSEMOA,
)
from paretoprune.search.random import RandomSearch
from paretoprune.search.vtw import VTWSearch
from paretoprune.testing.layered import Layered
from paretoprune.testing.strategies import StrategyContract, Toy


class TestRandom(StrategyContract):
    def make(self) -> SearchStrategy:
        return RandomSearch()


class TestGrid(StrategyContract):
    def make(self) -> SearchStrategy:
        return GridSearch(points=3)


class TestTPE(StrategyContract):
    def make(self) -> SearchStrategy:
        return TPE()


class TestNSGAII(StrategyContract):
    def make(self) -> SearchStrategy:
        return NSGAII(population=8)


class TestNSGAIII(StrategyContract):
    def make(self) -> SearchStrategy:
        return NSGAIII(population=8)


class TestGP(StrategyContract):
    asks, n = 3, 2  # a fitted proposal takes a good part of a second

    def make(self) -> SearchStrategy:
        return GP(startup=3)


class TestQMC(StrategyContract):
    def make(self) -> SearchStrategy:
        return QMC()


class TestHalton(StrategyContract):
    def make(self) -> SearchStrategy:
        return QMC(sequence="halton")


class TestPymooNSGA2(StrategyContract):
    def make(self) -> SearchStrategy:
        return PymooNSGA2(population=8)


class TestPymooNSGA3(StrategyContract):
    def make(self) -> SearchStrategy:
        return PymooNSGA3(population=8)


class TestPymooSMSEMOA(StrategyContract):
    def make(self) -> SearchStrategy:
        return PymooSMSEMOA(population=8)


class TestPymooMOEAD(StrategyContract):
    def make(self) -> SearchStrategy:
        return PymooMOEAD(population=8)


class TestPymooRVEA(StrategyContract):
    def make(self) -> SearchStrategy:
        return PymooRVEA(population=8)


class TestSuccessiveHalving(StrategyContract):
    def make(self) -> SearchStrategy:
        return SuccessiveHalving(width=8)


class PerLayerContract(StrategyContract):
    """For strategies that set keep ratios per layer."""

    def problem(self) -> Problem:
        return Layered()


class TestGSearch(PerLayerContract):
    def make(self) -> SearchStrategy:
        return GSearch()


class TestPSigmoid(PerLayerContract):
    asks = 4

    def make(self) -> SearchStrategy:
        return PSigmoid(targets=4, startup=2)


class TestFitPrune(PerLayerContract):
    n = 2

    def make(self) -> SearchStrategy:
        return FitPruneSearch(targets=6)


class TestVTW(PerLayerContract):
    n = 2

    def make(self) -> SearchStrategy:
        return VTWSearch()


class TestAutoPrune(PerLayerContract):
    n = 2

    def make(self) -> SearchStrategy:
        return AutoPruneSearch(targets=6, layer=1)


class WithRelaxation(Toy):
    """The toy problem with a relaxation that exists but is never differentiated."""

    def relaxation(self) -> Relaxation:
        return cast(Relaxation, SimpleNamespace(space="toy"))


class FakeGradient(RandomSearch):
    """Works and charges on every ask, offers candidates on every second one."""

    requires_gradient = True
    max_objectives = 2

    def ask(self, n: int) -> list[Candidate]:
        self.context.charge(0.5)
        return [] if self.context.asks % 2 else super().ask(n)


class TestGradient(StrategyContract):
    def make(self) -> SearchStrategy:
        return FakeGradient()

    def problem(self) -> Problem:
        return WithRelaxation()


class UsesGlobalRandom(RandomSearch):
    def ask(self, n: int) -> list[Candidate]:
        space = self.problem.space(self.space_name)
        draws = np.random.random((n, len(space)))
        return [self.point(space.decode(row)) for row in draws]


class IgnoresSeed(RandomSearch):
    def start(self, problem: Problem, context: SearchContext) -> None:
        super().start(problem, SearchContext(seed=0, budget=context.budget, space=context.space))


class AsksTooMany(RandomSearch):
    def ask(self, n: int) -> list[Candidate]:
        return super().ask(n + 1)


class OffLattice(RandomSearch):
    def ask(self, n: int) -> list[Candidate]:
        asked = super().ask(n)
        return [Candidate(c.space, {**c.values, "ratio": 0.123}) for c in asked]


class IgnoresSpace(RandomSearch):
    def ask(self, n: int) -> list[Candidate]:
        rng = self.context.rng()
        return [self.problem.candidate(self.problem.space().sample(rng)) for _ in range(n)]


class SortsTold(RandomSearch):
    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        assert isinstance(evaluations, list)
        evaluations.sort(key=lambda e: e.objectives["cost"])


class NeverAsks(RandomSearch):
    def ask(self, n: int) -> list[Candidate]:
        return []


class StopsOnFailure(RandomSearch):
    failed = False

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        self.failed |= any(e.failure for e in evaluations)

    @property
    def finished(self) -> bool:
        return self.failed


class RemembersItsClass(RandomSearch):
    """State outside the instance: a replay in the same process differs."""

    asked = 0

    def ask(self, n: int) -> list[Candidate]:
        RemembersItsClass.asked += 1
        rng = np.random.default_rng(RemembersItsClass.asked)
        space = self.problem.space(self.space_name)
        return [self.point(space.sample(rng)) for _ in range(n)]


@pytest.mark.parametrize(
    ("strategy", "test"),
    [
        (UsesGlobalRandom, "test_leaves_global_generators_alone"),
        (UsesGlobalRandom, "test_same_seed_same_asks"),
        (IgnoresSeed, "test_different_seeds_differ"),
        (AsksTooMany, "test_asks_valid_candidates_and_no_more_than_n"),
        (OffLattice, "test_asks_valid_candidates_and_no_more_than_n"),
        (OffLattice, "test_handles_stepped_knobs"),
        (IgnoresSpace, "test_searches_the_space_that_the_context_names"),
        (SortsTold, "test_tell_leaves_the_list_alone"),
        (NeverAsks, "test_finds_a_front"),
        (RemembersItsClass, "test_same_seed_same_asks"),
        (RemembersItsClass, "test_replay_continues_identically"),
    ],
)
def test_the_suite_catches(strategy: type[SearchStrategy], test: str) -> None:
    class Suite(StrategyContract):
        def make(self) -> SearchStrategy:
            return strategy()

    with pytest.raises(AssertionError):
        getattr(Suite(), test)()


def test_the_suite_catches_a_strategy_that_stops_on_failure() -> None:
    class Suite(StrategyContract):
        def make(self) -> SearchStrategy:
            return StopsOnFailure()

    with pytest.raises(AssertionError):
        Suite().test_goes_on_after_failures(2)


def test_the_suite_catches_a_strategy_that_never_asks() -> None:
    class Suite(StrategyContract):
        def make(self) -> SearchStrategy:
            return NeverAsks()

    with pytest.raises(pytest.fail.Exception):
        Suite().test_asks_something_in_the_end()


SCRIPT = """
import json
from paretoprune import registry
from paretoprune.testing.strategies import Toy, drive
for name, options in [("random", {}), ("grid", {"points": 3}), ("tpe", {}), ("nsga2", {}),
                      ("pymoo-nsga2", {})]:
    strategy = registry.strategies.load(name)(**options)
    print(name, json.dumps([dict(e.candidate.values) for e in
                            drive(strategy, Toy(), seed=1, asks=6, n=6)]))
"""


def test_same_asks_in_any_process() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1] != ""


def test_contract_needs_no_torch() -> None:
    code = "import sys, paretoprune.testing.strategies; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
