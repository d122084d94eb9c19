"""What the log writes, against what Optuna itself writes, before an evaluation and after it."""

import dataclasses

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from paretoprune.comparison.log import StudyLog
from paretoprune.comparison.log.trials import distribution_of
from paretoprune.core.problem import Evaluation
from paretoprune.core.study import run_study
from paretoprune.search.random import RandomSearch
from paretoprune.testing.strategies import Toy


def stored(folder, name="toy"):
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder / 'study.db'}")


@pytest.fixture
def evaluations():
    problem = Toy()
    space = problem.space()
    rng = np.random.default_rng(0)
    some = [problem.candidate(space.sample(rng)) for _ in range(12)]
    some[3] = dataclasses.replace(some[3], share=0.25)
    some[4] = dataclasses.replace(some[4], relaxed={"keep": [0.1 + 0.2, 1e-300]})
    found = problem.evaluate(some)
    found[5] = Evaluation(some[5], {}, cost=1.0, failure="out of luck")
    return found


def test_trials_are_those_that_add_trial_writes(tmp_path, evaluations):
    problem = Toy()
    with StudyLog(tmp_path) as log:
        recorder = log.study("toy", problem, {})
        for ask in range(3):
            part = evaluations[4 * ask : 4 * ask + 4]
            recorder.on_ask([e.candidate for e in part], ask=ask + 1, spent=4.0 * (ask + 1))
            recorder.on_tell(part, seconds=1.0, evaluating=0.5)
    mine = stored(tmp_path).trials
    theirs = optuna.create_study(
        storage=f"sqlite:///{tmp_path / 'other.db'}", directions=["maximize", "minimize"]
    )
    for evaluation, trial in zip(evaluations, mine, strict=True):
        knobs = problem.space().active(evaluation.candidate.values)
        theirs.add_trial(
            create_trial(
                state=trial.state,
                values=list(evaluation.objectives.values()) if evaluation.complete else None,
                params=dict(evaluation.candidate.values),
                distributions={knob.name: distribution_of(knob) for knob in knobs},
                user_attrs=trial.user_attrs,
            )
        )
    for one, other in zip(mine, theirs.trials, strict=True):
        for field in ("number", "state", "values", "params", "distributions", "user_attrs"):
            assert getattr(one, field) == getattr(other, field), field
        assert [type(v) for v in one.params.values()] == [type(v) for v in other.params.values()]
        assert one.datetime_start <= one.datetime_complete
    states = [trial.state for trial in mine]
    assert states.count(TrialState.PRUNED) == states.count(TrialState.FAIL) == 1
    assert [t.number for t in stored(tmp_path).best_trials]


def test_an_ask_is_in_the_log_while_it_is_evaluated(tmp_path):
    class Watching(Toy):
        def evaluate(self, candidates):
            trials = stored(tmp_path).trials
            running = [t.params for t in trials if t.state == TrialState.RUNNING]
            assert running == [dict(c.values) for c in candidates]
            return super().evaluate(candidates)

    problem = Watching()
    with StudyLog(tmp_path) as log:
        recorder = log.study("toy", problem, {})
        run_study(problem, RandomSearch(), budget=20.0, recorder=recorder)
    trials = stored(tmp_path).trials
    assert [t.number for t in trials] == list(range(20))
    assert all(t.state == TrialState.COMPLETE for t in trials)
