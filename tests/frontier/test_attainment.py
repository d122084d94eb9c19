"""Attainment surfaces against an enumeration of all grid points."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.frontier import (
    attainment,
    median_attainment,
    nondominated,
    worst_attainment,
)


def slow_attainment(fronts, needed):
    """Of all vectors of occurring coordinates, the minimal ones that `needed` fronts attain."""
    axes = [np.unique(column) for column in np.vstack(fronts).T]
    grid = np.array(list(itertools.product(*axes)))
    attained = [
        sum(bool((np.asarray(front) <= vector).all(axis=1).any()) for front in fronts)
        for vector in grid
    ]
    reached = grid[np.array(attained) >= needed]
    return sorted(map(tuple, reached[nondominated(reached)]))


def front(objectives):
    return st.integers(1, 5).flatmap(
        lambda n: arrays(np.float64, (n, objectives), elements=st.integers(0, 4).map(float))
    )


runs = st.integers(2, 3).flatmap(lambda m: st.lists(front(m), min_size=1, max_size=6))


@settings(max_examples=100, deadline=None)
@given(runs)
def test_equals_the_slow_reference(fronts):
    surface = median_attainment(fronts)
    assert surface.dtype == np.float64 and surface.shape[1] == fronts[0].shape[1]
    needed = math.ceil(len(fronts) / 2)
    assert [tuple(row) for row in surface] == slow_attainment(fronts, needed)


@settings(max_examples=100, deadline=None)
@given(runs, st.integers(1, 6))
def test_every_level_equals_the_slow_reference(fronts, needed):
    needed = min(needed, len(fronts))
    surface = attainment(fronts, needed / len(fronts))
    assert [tuple(row) for row in surface] == slow_attainment(fronts, needed)


def test_the_worst_surface_is_attained_by_every_front():
    fronts = [[[0.0, 1.0], [1.0, 0.0]], [[0.5, 0.5]]]
    assert worst_attainment(fronts).tolist() == [[0.5, 1.0], [1.0, 0.5]]


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, math.nan])
def test_a_share_out_of_range_is_named(share):
    with pytest.raises(InvalidValueError, match=f"got {share}"):
        attainment([[[0.0, 1.0]]], share)


@settings(max_examples=30, deadline=None)
@given(runs, st.randoms(use_true_random=False))
def test_does_not_depend_on_the_order_of_seeds_or_points(fronts, random):
    shuffled = [f[random.sample(range(len(f)), len(f))] for f in fronts]
    random.shuffle(shuffled)
    assert np.array_equal(median_attainment(shuffled), median_attainment(fronts))


def test_one_front_is_its_own_median():
    costs = [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.5], [0.5, 0.5]]
    assert median_attainment([costs]).tolist() == [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]


def test_single_points_on_a_line_give_the_lower_median():
    points = [[[float(i), float(i)]] for i in range(5)]
    assert median_attainment(points).tolist() == [[2.0, 2.0]]
    assert median_attainment(points[:4]).tolist() == [[1.0, 1.0]]


def test_the_surface_may_hold_points_of_no_front():
    fronts = [[[0.0, 1.0]], [[1.0, 0.0]], [[2.0, 2.0]]]
    assert median_attainment(fronts).tolist() == [[1.0, 1.0]]


def test_a_dominated_point_changes_nothing():
    rng = np.random.default_rng(0)
    fronts = [rng.random((6, 3)) for _ in range(5)]
    worse = [np.vstack([f, f[:1] + 0.1]) for f in fronts]
    assert np.array_equal(median_attainment(worse), median_attainment(fronts))


def test_inputs_stay_as_they_are_and_the_result_is_the_caller_s():
    rng = np.random.default_rng(1)
    fronts = [rng.random((6, 2)) for _ in range(4)]
    before = [f.copy() for f in fronts]
    for f in fronts:
        f.setflags(write=False)
    surface = median_attainment(fronts)
    surface[:] = -1.0
    assert all(np.array_equal(f, b) for f, b in zip(fronts, before, strict=True))
    assert median_attainment(fronts).min() >= 0.0


@pytest.mark.parametrize(
    ("fronts", "sentence"),
    [
        ([], "at least one front, got none"),
        (
            [[[0.0, 1.0]], np.empty((0, 2))],
            r"front 1 must not be empty, got the shape \(0, 2\)",
        ),
        ([[[0.0, np.nan]]], r"front 0 must be finite, got nan at \[0, 1\]"),
        ([[[0.0, 1.0]], [[np.inf, 1.0]]], r"front 1 must be finite, got inf at \[0, 0\]"),
        ([[[0.0, 1.0]], [[0.0, 1.0, 2.0]]], r"the same number of columns, got \[2, 3\]"),
        ([[0.0, 1.0]], r"front 0 must have the shape \[points, objectives\], got \(2,\)"),
    ],
)
def test_errors_name_the_value(fronts, sentence):
    with pytest.raises(InvalidValueError, match=sentence):
        median_attainment(fronts)


@pytest.mark.parametrize("objectives", [1, 4])
def test_other_than_two_or_three_objectives_are_unsupported(objectives):
    with pytest.raises(UnsupportedError, match=f"got fronts of {objectives}"):
        median_attainment([np.zeros((2, objectives))])
