"""The hybrid: one meter for both parts, nothing paid twice, a polish that starts at the front."""

import numpy as np
import pytest

from paretoprune.comparison.log import StudyLog, differences, projection
from paretoprune.core.strategy import SearchContext
from paretoprune.core.study import run_study
from paretoprune.errors import InvalidValueError, UnknownNameError
from paretoprune.frontier import front_of
from paretoprune.search.gradient.lagrangian import LagrangianSearch
from paretoprune.search.hybrid import Hybrid
from paretoprune.testing.relaxations import ToyPruning
from paretoprune.testing.strategies import Killed, Mortal, StrategyContract

GRADIENT = {"max_final_evaluations": 8, "inner_steps": 4}


class TestHybridNSGA2(StrategyContract):
    handles_continuous = False
    handles_conditional = False
    asks = 20

    def make(self):
        return Hybrid(gradient_share=0.3, population=8, grid_points=3, batch=8, inner_steps=2)

    def problem(self):
        return ToyPruning(step_cost=20.0)  # the suite's runs have a budget of 1000


class TestHybridTPE(TestHybridNSGA2):
    def make(self):
        return Hybrid("tpe", gradient_share=0.3, grid_points=3, batch=8, inner_steps=2)


def run(polish, *, budget=60.0, seed=0, **options):
    problem = ToyPruning(step_cost=0.1)
    strategy = Hybrid(polish, population=8, **(GRADIENT | options))
    result = run_study(problem, strategy, budget=budget, seed=seed)
    return problem, strategy, result


@pytest.mark.parametrize("polish", ["nsga2", "tpe"])
def test_the_first_part_is_the_gradient_search_at_its_share(polish):
    problem, _, result = run(polish, gradient_share=0.5)
    alone = run_study(problem, LagrangianSearch(**GRADIENT), budget=30.0, seed=0)
    count = len(alone.evaluations)
    assert [e.candidate.key for e in result.evaluations[:count]] == [
        e.candidate.key for e in alone.evaluations
    ]
    assert len(result.evaluations) > count + 10
    assert result.spent <= 60.0 + 1e-9
    assert result.spent == pytest.approx(alone.spent + len(result.evaluations) - count)


def test_the_front_is_the_first_generation():
    """What NSGA-II knows before it breeds is what was returned, with its values."""
    problem, strategy, result = run("nsga2", gradient_share=0.5)
    returned = strategy._returned
    population = Hybrid(population=8, **GRADIENT)
    population.start(problem, SearchContext(seed=0, budget=60.0))
    population._returned = list(returned)
    population._hand_over()
    known = population._black_box._algorithm.pop
    front = [returned[int(i)] for i in front_of(returned, problem.objectives)]
    costs = {(round(-e.objectives["score"], 9), round(e.objectives["compute"], 9)) for e in front}
    assert costs <= {tuple(np.round(row, 9)) for row in known.get("F")}
    first = result.evaluations[len(returned)].candidate
    assert problem.identity(first) not in {problem.identity(e.candidate) for e in returned}


def test_tpe_knows_all_that_was_returned_and_draws_no_random_start():
    _, strategy, result = run("tpe", gradient_share=0.5, max_final_evaluations=12)
    trials = strategy._black_box._study.trials
    known = [t for t in trials[: len(strategy._returned)] if t.values is not None]
    assert [t.values for t in known] == [
        [e.objectives["score"], e.objectives["compute"]] for e in strategy._returned
    ]
    assert sum(t.values is not None for t in trials) == len(result.evaluations)


def test_a_polish_finds_more_than_it_was_given():
    problem, strategy, result = run("nsga2", gradient_share=0.3, budget=120.0)
    from paretoprune.comparison.ranking import hypervolume_of

    given = hypervolume_of(problem, strategy._returned)
    assert hypervolume_of(problem, result.evaluations) > given


def test_it_searches_the_kernel_that_is_asked_for():
    problem = ToyPruning(step_cost=0.1)
    result = run_study(problem, Hybrid(population=6, **GRADIENT), budget=40.0, space="single-step")
    assert {e.candidate.space for e in result.evaluations} == {"single-step"}


class Shared(ToyPruning):
    """The toy, which may be evaluated on a share of its samples at that share of the price."""

    has_shares = True

    def price(self, candidate):
        return candidate.share


def test_initial_designs_are_evaluated_once_and_are_nothing_to_breed_from():
    """They were asked for again and again: the gradient search was never told of them."""
    problem = Shared(step_cost=0.1)
    strategy = Hybrid(population=8, gradient_share=0.5, **GRADIENT)
    result = run_study(problem, strategy, budget=120.0)
    tried = len(strategy.gradient._evaluated)
    assert tried > 20 and strategy.gradient.history
    assert strategy._returned == result.evaluations[tried : tried + len(strategy._returned)]
    assert all(e.candidate.share == 1 for e in strategy._returned)
    assert len(result.evaluations) > tried + len(strategy._returned)


@pytest.mark.parametrize("polish", ["nsga2", "tpe"])
@pytest.mark.parametrize("lives", [1, pytest.param(9, marks=pytest.mark.slow)])
def test_a_killed_study_goes_on_without_repeating_its_gradient_steps(tmp_path, polish, lives):
    """Killed amid initial designs or in the polish: the log is that of a study left alone.

    Where designs were evaluated on all samples, they counted as returned, and steps were repeated.
    """

    def play(folder, problem):
        strategy = Hybrid(polish, population=8, **GRADIENT)
        steps = []
        step = strategy.gradient._step
        strategy.gradient._step = lambda rng: steps.append(1) or step(rng)
        with StudyLog(folder) as log:
            recorder = log.study("one", problem, {"seed": 0, "budget": 120.0}, resume=True)
            run_study(problem, strategy, budget=120.0, recorder=recorder)
        return len(steps)

    alone = play(tmp_path / "alone", Shared(step_cost=0.1))
    problem = Mortal(Shared(step_cost=0.1))
    problem.lives = lives
    with pytest.raises(Killed):
        play(tmp_path / "killed", problem)
    problem.lives = None
    again = play(tmp_path / "killed", problem)
    assert not differences(projection(tmp_path / "alone"), projection(tmp_path / "killed"))
    assert again == (alone if lives == 1 else 0)


def test_wrong_options_are_named():
    with pytest.raises(UnknownNameError, match="polish 'nsga3'"):
        Hybrid("nsga3")
    with pytest.raises(InvalidValueError, match="gradient_share must be between 0 and 1, got 1"):
        Hybrid(gradient_share=1)
    with pytest.raises(TypeError, match="grid_pointz"):
        Hybrid(grid_pointz=3)
