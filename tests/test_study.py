"""The study loop: accounting, stopping, order, determinism, interruption."""

import numpy as np
import optuna
import pytest

from paretoprune.errors import InvalidValueError
from paretoprune.log import StudyLog, read_outcomes
from paretoprune.problem import Candidate, Evaluation
from paretoprune.search.base import SearchStrategy
from paretoprune.search.random import RandomSearch
from paretoprune.study import run_study
from paretoprune.testing.strategies import Toy


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
