"""Successive halving on the toy problem: rungs, promotion, refusals."""

import dataclasses

import numpy as np
import pytest

from paretoprune.compression.analytic import ZDT1
from paretoprune.core.problem import Problem
from paretoprune.core.strategy import SearchContext
from paretoprune.core.study import run_study
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.search.halving import SuccessiveHalving, promoted
from paretoprune.testing.strategies import Toy


def test_rungs_halve_candidates_and_double_samples():
    result = run_study(Toy(), SuccessiveHalving(width=16), budget=12.0, batch=5)
    shares = [e.candidate.share for e in result.evaluations]
    assert shares[:16] == [0.25] * 16
    assert shares[16:24] == [0.5] * 8
    assert shares[24:28] == [1.0] * 4
    assert result.spent == pytest.approx(12.0)
    # what is promoted was seen on fewer samples before
    seen = [{e.candidate.key: e for e in map(whole, part)} for part in split(result)]
    assert set(seen[2]) < set(seen[1]) < set(seen[0])


def whole(evaluation):
    return dataclasses.replace(
        evaluation, candidate=dataclasses.replace(evaluation.candidate, share=1.0)
    )


def split(result):
    e = result.evaluations
    return e[:16], e[16:24], e[24:28]


def test_same_seed_same_asks():
    first, second = (
        run_study(Toy(), SuccessiveHalving(width=8), seed=3, budget=20.0) for _ in range(2)
    )
    assert [e.candidate.key for e in first.evaluations] == [
        e.candidate.key for e in second.evaluations
    ]
    other = run_study(Toy(), SuccessiveHalving(width=8), seed=4, budget=20.0)
    assert first.evaluations[0].candidate.key != other.evaluations[0].candidate.key


def test_the_best_layer_is_promoted_first():
    costs = np.array([[0, 1], [1, 0], [2, 2], [0.5, 0.5], [3, 3]], dtype=float)
    assert set(promoted(costs, 3)) == {0, 1, 3}
    assert set(promoted(costs, 4)) == {0, 1, 2, 3}
    assert len(promoted(costs, 2)) == 2
    assert set(promoted(costs, 2)) < {0, 1, 3}


def test_problems_without_shares_are_refused():
    assert not Problem.has_shares
    with pytest.raises(UnsupportedError, match="share of the samples"):
        SuccessiveHalving().start(ZDT1(), SearchContext(seed=0, budget=1))


@pytest.mark.parametrize(
    ("options", "told"),
    [({"eta": 1}, "eta of 2"), ({"rungs": 1}, "2 or more rungs"), ({"width": 3}, "at least 4")],
)
def test_options_out_of_range_are_refused(options, told):
    with pytest.raises(InvalidValueError, match=told):
        SuccessiveHalving(**options)


def test_failed_evaluations_are_not_promoted():
    strategy = SuccessiveHalving(width=4, rungs=2)
    context = SearchContext(seed=0, budget=100)
    problem = Toy()
    strategy.start(problem, context)
    context.asks += 1
    asked = strategy.ask(4)
    found = problem.evaluate(asked)
    failed = [dataclasses.replace(e, objectives={}, failure="no") for e in found[:3]]
    strategy.tell([*failed, found[3]])
    (promoted_one,) = strategy.ask(4)
    assert promoted_one.values == found[3].candidate.values
    assert promoted_one.share == 1.0
