"""Front points against cheaper ones, by paired outcomes."""

import numpy as np
import pytest

from paretoprune.core.problem import Candidate, Evaluation, Objective
from paretoprune.frontier import significantly_better

OBJECTIVES = (
    Objective("score", "max", "", reference=0.0, best=1.0),
    Objective("cost", "min", "", reference=1.0, best=0.0),
)


def point(outcomes, cost, **rest):
    outcomes = np.array(outcomes, dtype=np.float32)
    values = {"score": float(outcomes.mean()), "cost": cost}
    return Evaluation(Candidate("x", {}), values, cost=1.0, outcomes=outcomes, **rest)


def test_one_more_right_answer_is_no_separation_but_twenty_are():
    base = [1.0] * 50 + [0.0] * 50
    one, twenty = base.copy(), base.copy()
    one[50] = 1.0
    twenty[50:70] = [1.0] * 20
    front = [point(base, 0.1), point(one, 0.2), point(twenty, 0.3)]
    assert significantly_better(front, OBJECTIVES) == [True, False, True]


def test_pairing_matters():
    """Equal scores' difference counts by what changed, not by both errors."""
    rng = np.random.default_rng(0)
    first = (rng.random(400) < 0.5).astype(float)
    second = first.copy()
    second[np.flatnonzero(first == 0)[:12]] = 1.0  # 3 % better: 12 gained, none lost
    shuffled = rng.permutation(second)  # as good, but other answers
    assert significantly_better([point(first, 0.1), point(second, 0.2)], OBJECTIVES)[1] is True
    assert significantly_better([point(first, 0.1), point(shuffled, 0.2)], OBJECTIVES)[1] is False


def test_standard_errors_stand_in_for_outcomes():
    def bare(score, cost, error):
        values = {"score": score, "cost": cost}
        errors = {} if error is None else {"score": error}
        return Evaluation(Candidate("x", {}), values, cost=1.0, standard_errors=errors)

    assert significantly_better([bare(0.5, 0.1, 0.03), bare(0.6, 0.2, 0.04)], OBJECTIVES)[1] is True
    assert (
        significantly_better([bare(0.5, 0.1, 0.03), bare(0.59, 0.2, 0.04)], OBJECTIVES)[1] is False
    )
    assert significantly_better([bare(0.5, 0.1, None), bare(0.6, 0.2, 0.0)], OBJECTIVES)[1] is None


def test_two_qualities_cannot_be_told():
    both = (OBJECTIVES[0], Objective("other", "max", "", reference=0.0, best=1.0))
    found = Evaluation(Candidate("x", {}), {"score": 1.0, "other": 1.0}, cost=1.0)
    assert significantly_better([found], both) == [None]


def test_nothing_is_nothing():
    assert significantly_better([], OBJECTIVES) == []
    assert significantly_better([point([1.0, 0.0], 0.5)], OBJECTIVES) == [True]


def test_unit_of_the_score_plays_no_part():
    base = [1.0] * 50 + [0.0] * 50
    better = [1.0] * 56 + [0.0] * 44
    plain = significantly_better([point(base, 0.1), point(better, 0.2)], OBJECTIVES)
    scaled = [
        Evaluation(e.candidate, {**e.objectives, "score": 3 * e.objectives["score"]}, 1.0,
                   outcomes=e.outcomes)
        for e in (point(base, 0.1), point(better, 0.2))
    ]  # fmt: skip
    assert significantly_better(scaled, OBJECTIVES) == plain == [True, pytest.approx(True)]
