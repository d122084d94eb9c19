"""Dominance against an O(n^2) reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paretoprune.core.problem import Candidate, Evaluation, Objective
from paretoprune.errors import InvalidValueError, ParetopruneError, UnknownNameError
from paretoprune.frontier import front_of, nondominated

SCORE = Objective("q", "max", "share", reference=0.0, best=1.0)
COMPUTE = Objective("u", "min", "share", reference=1.0, best=0.0)


def slow_nondominated(costs):
    keep = []
    for i, mine in enumerate(costs):
        beaten = any(np.all(other <= mine) and np.any(other < mine) for other in costs)
        repeated = any(np.array_equal(costs[j], mine) for j in range(i))
        if not beaten and not repeated:
            keep.append(i)
    return keep


# few distinct values, so that ties and duplicates are common
matrices = st.tuples(st.integers(1, 25), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(-2, 2).map(float))
)


@settings(max_examples=150, deadline=None)
@given(matrices)
def test_equals_the_slow_reference(costs):
    found = nondominated(costs)
    assert found.dtype == np.intp
    assert found.tolist() == slow_nondominated(costs)


@pytest.mark.parametrize("objectives", [2, 3, 4, 6])
def test_equals_the_slow_reference_on_many_points(objectives):
    costs = np.random.default_rng(objectives).random((120, objectives))
    assert nondominated(costs).tolist() == slow_nondominated(costs)


@settings(max_examples=50, deadline=None)
@given(matrices, st.randoms(use_true_random=False))
def test_the_set_does_not_depend_on_the_order(costs, random):
    order = list(range(len(costs)))
    random.shuffle(order)
    shuffled = costs[order]
    assert {tuple(row) for row in costs[nondominated(costs)]} == {
        tuple(row) for row in shuffled[nondominated(shuffled)]
    }


def test_duplicates_are_kept_once_the_first():
    assert nondominated([[1, 0], [0, 1], [1, 0], [0, 1]]).tolist() == [0, 1]
    assert nondominated([[0.0, -0.0], [-0.0, 0.0]]).tolist() == [0]


def test_no_points_give_no_indices():
    found = nondominated(np.empty((0, 2)))
    assert found.dtype == np.intp and found.shape == (0,)


def test_input_stays_as_it_is():
    costs = np.random.default_rng(0).random((30, 3))
    before = costs.copy()
    costs.setflags(write=False)
    nondominated(costs)
    nondominated(costs[::2, ::-1])  # not contiguous
    assert np.array_equal(costs, before)


@pytest.mark.parametrize(
    ("costs", "sentence"),
    [
        ([[0.0, np.nan]], r"costs must be finite, got nan at \[0, 1\]"),
        ([[0.0, 1.0], [-np.inf, 1.0]], r"costs must be finite, got -inf at \[1, 0\]"),
        ([0.0, 1.0], r"costs must have the shape \[points, objectives\], got \(2,\)"),
        (np.empty((3, 0)), "costs must have 1 to 31 columns, got 0"),
        (np.zeros((3, 32)), "costs must have 1 to 31 columns, got 32"),
        ([[0.0], [1.0, 2.0]], r"costs must be numbers \[points, objectives\]: .*inhomogeneous"),
        ([["low", 1.0]], r"costs must be numbers .*'low'"),
    ],
)
def test_errors_name_the_value(costs, sentence):
    with pytest.raises(InvalidValueError, match=sentence) as caught:
        nondominated(costs)
    assert isinstance(caught.value, ParetopruneError)


def evaluation(q=None, u=None):
    candidate = Candidate("space", {})
    if q is None:
        return Evaluation(candidate, {}, cost=1.0, failure="out of memory")
    return Evaluation(candidate, {"q": q, "u": u}, cost=1.0)


def test_front_of_skips_failures_and_keeps_the_places():
    evaluations = [
        evaluation(),
        evaluation(0.5, 0.5),
        evaluation(0.4, 0.6),  # dominated
        evaluation(),
        evaluation(0.9, 0.8),
        evaluation(0.9, 0.8),  # the same again
        evaluation(0.1, 0.1),
    ]
    assert front_of(evaluations, [SCORE, COMPUTE]).tolist() == [1, 4, 6]
    assert front_of(evaluations, [SCORE]).tolist() == [4]
    assert front_of(evaluations, [COMPUTE]).tolist() == [6]


def test_front_of_flipped_directions():
    evaluations = [evaluation(0.5, 0.5), evaluation(0.4, 0.6), evaluation(0.6, 0.6)]
    worst_score = Objective("q", "min", "share", reference=1.0, best=0.0)
    most_compute = Objective("u", "max", "share", reference=0.0, best=1.0)
    assert front_of(evaluations, [SCORE, COMPUTE]).tolist() == [0, 2]
    assert front_of(evaluations, [worst_score, most_compute]).tolist() == [1]


@pytest.mark.parametrize("evaluations", [[], [evaluation()]])
def test_front_of_nothing_is_empty(evaluations):
    found = front_of(evaluations, [SCORE, COMPUTE])
    assert found.dtype == np.intp and found.shape == (0,)


def test_front_of_names_a_missing_objective():
    latency = Objective("latency", "min", "ms", reference=9.0, best=0.0)
    with pytest.raises(UnknownNameError, match=r"unknown objective 'latency'; known: q, u"):
        front_of([evaluation(0.5, 0.5)], [SCORE, latency])
