"""The held-out front area against a slow reference, and against the luckiest points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paretoprune.errors import InvalidValueError
from paretoprune.frontier import (
    BUDGETS,
    heldout_front_area,
    heldout_front_area_samples,
    picks,
)


def slow_picks(scores, costs, budgets):
    chosen = []
    for budget in budgets:
        best = -1
        for i in range(len(scores)):
            if costs[i] > budget + 1e-9:
                continue
            if best < 0 or (-scores[i], costs[i]) < (-scores[best], costs[best]):
                best = i
        chosen.append(best)
    return chosen


levels = st.integers(0, 6).map(lambda i: i / 5)  # few values, so that ties are common
points = st.integers(1, 10).flatmap(
    lambda n: st.tuples(*(arrays(np.float64, n, elements=levels) for _ in range(3)))
)


def test_budgets_are_fixed():
    assert len(BUDGETS) == 20 and BUDGETS[0] == 0.05 and BUDGETS[-1] == 1.0
    assert np.allclose(np.diff(BUDGETS), 0.05)
    with pytest.raises(ValueError, match="read-only"):
        BUDGETS[0] = 0.0


@settings(max_examples=150, deadline=None)
@given(points)
def test_equals_the_slow_reference(data):
    search, costs, heldout = data
    chosen = picks(search, costs)
    assert chosen.dtype == np.intp
    assert chosen.tolist() == slow_picks(search, costs, BUDGETS)
    expected = np.mean([heldout[i] if i >= 0 else 0.25 for i in chosen])
    assert heldout_front_area(search, costs, heldout, text_only=0.25) == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(points, st.integers(1, 6), st.integers(0, 99))
def test_the_mean_over_samples_is_the_area(data, samples, seed):
    search, costs, _ = data
    rng = np.random.default_rng(seed)
    outcomes = rng.integers(0, 2, (len(search), samples)).astype(np.float32)
    text_only = rng.random(samples)
    area = heldout_front_area(search, costs, outcomes.mean(axis=1), text_only=text_only.mean())
    each = heldout_front_area_samples(search, costs, outcomes, text_only=text_only)
    assert each.shape == (samples,) and each.dtype == np.float64
    assert each.mean() == pytest.approx(area, abs=1e-6)
    same = heldout_front_area_samples(search, costs, outcomes, text_only=0.1)
    assert same.mean() == pytest.approx(
        heldout_front_area(search, costs, outcomes.mean(axis=1), text_only=0.1), abs=1e-6
    )


def test_the_search_split_alone_decides():
    search, costs = [0.9, 0.8], [0.05, 0.05]
    assert heldout_front_area(search, costs, [0.2, 1.0]) == pytest.approx(0.2)


def test_a_linear_front_has_a_closed_form():
    scores = BUDGETS.copy()  # q = u at every budget
    assert heldout_front_area(scores, BUDGETS, scores) == pytest.approx(BUDGETS.mean())
    assert BUDGETS.mean() == pytest.approx(0.525)


def test_no_visual_tokens_where_nothing_fits():
    assert picks([1.0], [0.5]).tolist() == [-1] * 9 + [0] * 11
    assert heldout_front_area([1.0], [0.5], [1.0]) == pytest.approx(11 / 20)
    assert heldout_front_area([1.0], [2.0], [1.0]) == 0.0
    assert heldout_front_area([1.0], [2.0], [1.0], text_only=-0.25) == -0.25
    assert heldout_front_area_samples([1.0], [2.0], [[1, 0, 1]]).tolist() == [0.0, 0.0, 0.0]


def test_ties_go_to_the_cheaper_then_to_the_first():
    assert picks([0.5, 0.5, 0.5], [0.4, 0.2, 0.2], budgets=[1.0]).tolist() == [1]


def test_rounding_does_not_push_a_point_over_its_budget():
    cost = 0.1 + 0.2  # 0.30000000000000004
    assert picks([1.0], [cost], budgets=[0.3]).tolist() == [0]
    assert picks([1.0], [0.3001], budgets=[0.3]).tolist() == [-1]


@settings(max_examples=50, deadline=None)
@given(points, st.randoms(use_true_random=False))
def test_the_area_on_the_search_split_does_not_depend_on_order(data, random):
    search, costs, _ = data
    order = list(range(len(search)))
    random.shuffle(order)
    assert heldout_front_area(search[order], costs[order], search[order]) == pytest.approx(
        heldout_front_area(search, costs, search)
    )


@settings(max_examples=50, deadline=None)
@given(points)
def test_a_dominated_point_changes_nothing(data):
    search, costs, heldout = data
    with_worse = np.append(search, search[0] - 0.5), np.append(costs, costs[0] + 0.5)
    assert heldout_front_area(*with_worse, np.append(heldout, 99.0)) == heldout_front_area(
        search, costs, heldout
    )


def test_points_never_picked_need_no_heldout_score():
    assert heldout_front_area([0.9, 0.1], [0.05, 0.05], [0.7, np.nan]) == pytest.approx(0.7)
    with pytest.raises(InvalidValueError, match="picked points must be finite, got nan"):
        heldout_front_area([0.9, 0.1], [0.05, 0.05], [np.nan, 0.7])


def test_inputs_stay_as_they_are():
    rng = np.random.default_rng(0)
    arrays_ = rng.random(8), rng.random(8), rng.random((8, 4))
    before = [a.copy() for a in arrays_]
    for array in arrays_:
        array.setflags(write=False)
    heldout_front_area_samples(*arrays_)
    heldout_front_area(arrays_[0], arrays_[1], arrays_[2][:, 0])
    assert all(np.array_equal(a, b) for a, b in zip(arrays_, before, strict=True))


@pytest.mark.parametrize(
    ("scores", "costs", "budgets", "sentence"),
    [
        ([], [], BUDGETS, r"search scores must not be empty, got the shape \(0,\)"),
        ([np.nan], [0.5], BUDGETS, r"search scores must be finite, got nan at \[0\]"),
        ([0.5, 0.5], [0.5, np.inf], BUDGETS, r"search costs must be finite, got inf at \[1\]"),
        ([0.5, 0.5], [0.5], BUDGETS, "the same length, got 2 and 1"),
        ([[0.5]], [0.5], BUDGETS, r"search scores must have the shape \[points\], got \(1, 1\)"),
        (0.5, [0.5], BUDGETS, r"search scores must have the shape \[points\], got \(\)"),
        ([0.5], [0.5], [], r"budgets must not be empty, got the shape \(0,\)"),
        ([0.5], [0.5], [np.nan], "budgets must be finite, got nan"),
    ],
)
def test_errors_of_picks_name_the_value(scores, costs, budgets, sentence):
    with pytest.raises(InvalidValueError, match=sentence):
        picks(scores, costs, budgets)
    with pytest.raises(InvalidValueError, match=sentence):
        heldout_front_area(scores, costs, scores, budgets=budgets)


def test_errors_of_heldout_values_name_the_value():
    with pytest.raises(InvalidValueError, match=r"the same shape, got \(1,\) and \(2,\)"):
        heldout_front_area([0.5, 0.5], [0.5, 0.5], [0.5])
    with pytest.raises(InvalidValueError, match=r"each of the 2 points, got the shape \(1, 3\)"):
        heldout_front_area_samples([0.5, 0.5], [0.5, 0.5], [[1, 0, 1]])
    with pytest.raises(InvalidValueError, match=r"each of the 1 points, got the shape \(1, 0\)"):
        heldout_front_area_samples([0.5], [0.5], np.empty((1, 0)))
    with pytest.raises(InvalidValueError, match=r"one per sample \(2\), got the shape \(3,\)"):
        heldout_front_area_samples([0.5], [0.5], [[1, 0]], text_only=[0, 0, 0])
    with pytest.raises(InvalidValueError, match="text_only must be finite, got nan"):
        heldout_front_area([0.5], [0.5], [0.5], text_only=float("nan"))
