"""The study loop: accounting, stopping, order, determinism, interruption."""

import numpy as np
import optuna
import pytest

from paretoprune.comparison.log import StudyLog, read_outcomes
from paretoprune.core.problem import Candidate, Evaluation
from paretoprune.core.strategy import SearchStrategy
from paretoprune.core.study import evaluate_all, run_study
from paretoprune.errors import InvalidValueError
from paretoprune.search.grid import GridSearch
from paretoprune.search.random import RandomSearch
from paretoprune.testing.strategies import STEPPED, Toy


class Priced(Toy):
    """A toy whose candidates cost 0.3 each, and whose every third evaluation fails."""

    failing = False

    def price(self, candidate: Candidate) -> float:
        return 0.3

    def evaluate(self, candidates):
        found = super().evaluate(candidates)
        if not self.failing:
            return found
        return [
            Evaluation(e.candidate, {}, cost=e.cost, failure="no luck") if i % 3 == 2 else e
            for i, e in enumerate(found)
        ]


class Repeating(SearchStrategy):
    def ask(self, n):
        rng = np.random.default_rng(0)
        return [self.point(self.problem.space(self.space_name).sample(rng))]


class Interrupting(RandomSearch):
    def tell(self, evaluations):
        super().tell(evaluations)
        if self.context.asks == 3:
            raise KeyboardInterrupt


def test_spends_what_fits_and_not_more():
    result = run_study(Priced(), RandomSearch(), budget=3.2, batch=4)
    assert len(result.evaluations) == 10
    assert result.spent == pytest.approx(3.0)
    assert result.stopped == "budget"
    assert result.spent_at == sorted(result.spent_at)


def test_same_seed_same_study():
    first = run_study(Priced(), RandomSearch(), seed=4, budget=5.0)
    second = run_study(Priced(), RandomSearch(), seed=4, budget=5.0)
    assert [e.objectives for e in first.evaluations] == [e.objectives for e in second.evaluations]


def test_a_strategy_that_repeats_itself_stops():
    result = run_study(Priced(), Repeating(), budget=1000.0, patience=5)
    assert result.stopped == "stale"
    assert len(result.evaluations) == 6


def test_interruption_keeps_what_was_evaluated():
    result = run_study(Priced(), Interrupting(), budget=100.0, batch=4)
    assert result.stopped == "interrupted"
    assert len(result.evaluations) == 12


def test_failures_are_told_as_failures_and_counted():
    problem = Priced()
    problem.failing = True
    result = run_study(problem, RandomSearch(), budget=2.7, batch=3)
    assert sum(e.failure is not None for e in result.evaluations) == 3


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_a_budget_must_be_positive(budget):
    with pytest.raises(InvalidValueError, match="budget"):
        run_study(Priced(), RandomSearch(), budget=budget)


@pytest.mark.parametrize(
    "price", [-1.0, 0, float("nan"), float("inf"), -float("inf"), None, "1", True, [1.0], (1,)]
)
def test_a_price_that_is_none_ends_the_study(price):
    """A negative price spent without end; NaN and infinite ones ended without a reason."""

    class Mispriced(Toy):
        def price(self, candidate):
            return price

    told = "prices .* at .*: a price is a finite number of dense-pass equivalents above 0"
    for strategy in (RandomSearch(), GridSearch(points=3)):
        problem = Mispriced(STEPPED) if isinstance(strategy, GridSearch) else Mispriced()
        with pytest.raises(InvalidValueError, match=told):
            run_study(problem, strategy, budget=5.0)


@pytest.mark.parametrize("cost", [-1.0, float("nan"), float("inf"), None, "1"])
def test_a_strategy_cannot_charge_what_is_no_price(cost):
    class Working(RandomSearch):
        def ask(self, n):
            self.context.charge(cost)
            return super().ask(n)

    with pytest.raises(InvalidValueError, match="a price is a finite number"):
        run_study(Priced(), Working(), budget=5.0)


class Counted(Toy):
    """With per-sample outcomes of `counts` in turn; 0 for none at all."""

    def __init__(self, counts):
        super().__init__()
        self.counts = list(counts)

    def evaluate(self, candidates):
        found = []
        for e in super().evaluate(candidates):
            count = self.counts.pop(0) if self.counts else 5
            outcomes = np.ones(count, np.float32) if count else None
            found.append(Evaluation(e.candidate, e.objectives, cost=1.0, outcomes=outcomes))
        return found


@pytest.mark.parametrize("counts", [(5, 5, 5, 6), (5, 5, 5, 0), (5, 5, 5, 4)])
@pytest.mark.parametrize("batch", [1, 2, 8])
def test_the_first_sample_count_that_differs_is_refused(counts, batch):
    """It ended in a traceback after the whole search."""
    told = f"gave outcomes of {counts[-1]} samples for .*, and of 5 before"
    with pytest.raises(InvalidValueError, match=told):
        run_study(Counted(counts), RandomSearch(), budget=20.0, batch=batch)
    candidates = [Toy().candidate(Toy().space().decode([u] * 6)) for u in (0.1, 0.3, 0.5, 0.9)]
    with pytest.raises(InvalidValueError, match=told):
        evaluate_all(Counted(counts), candidates, batch=batch)


def test_an_evaluation_with_nan_is_an_error():
    with pytest.raises(InvalidValueError, match="finite"):
        Evaluation(Candidate("a", {}), {"score": float("nan")}, cost=1.0)


def test_the_log_holds_every_evaluation(tmp_path):
    problem = Priced()
    problem.failing = True
    with StudyLog(tmp_path) as log:
        recorder = log.study("random seed=0", problem, {"seed": 0})
        result = run_study(problem, RandomSearch(), budget=2.7, batch=3, recorder=recorder)
    study = optuna.load_study(
        study_name="random seed=0", storage=f"sqlite:///{tmp_path / 'study.db'}"
    )
    assert study.user_attrs["settings"] == {"seed": 0}
    assert len(study.trials) == len(result.evaluations)
    for number, (trial, e) in enumerate(zip(study.trials, result.evaluations, strict=True)):
        assert trial.params == dict(e.candidate.values)
        assert trial.user_attrs["cost"] == e.cost
        assert trial.user_attrs["ask"] == result.asks[number]
        assert trial.user_attrs["spent"] == pytest.approx(result.spent_at[number])
        if e.failure is None:
            assert trial.values == [e.objectives[o.name] for o in problem.objectives]
        else:
            assert trial.state == optuna.trial.TrialState.FAIL
            assert trial.user_attrs["failure"] == "no luck"


def test_outcomes_are_named_by_their_content(tmp_path):
    class WithOutcomes(Toy):
        def evaluate(self, candidates):
            return [
                Evaluation(e.candidate, e.objectives, cost=1.0, outcomes=np.ones(5, np.float32))
                for e in super().evaluate(candidates)
            ]

    problem = WithOutcomes()
    with StudyLog(tmp_path) as log:
        recorder = log.study("a", problem, {})
        run_study(problem, RandomSearch(), budget=3.0, recorder=recorder)
    files = list((tmp_path / "outcomes").iterdir())
    assert len(files) == 1  # equal outcomes are stored once
    assert read_outcomes(tmp_path, files[0].stem).tolist() == [1.0] * 5
