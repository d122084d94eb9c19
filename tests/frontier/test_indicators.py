"""Indicators against closed forms, slow reference versions and the traps of moocore."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paretoprune.core.problem import Objective
from paretoprune.errors import InvalidValueError
from paretoprune.frontier import (
    additive_epsilon,
    average_hausdorff,
    hypervolume,
    igd_plus,
    normalise,
)

SCORE = Objective("q", "max", "share", reference=0.0, best=1.0)
COMPUTE = Objective("u", "min", "share", reference=1.0, best=0.0)
LATENCY = Objective("latency", "min", "ms", reference=90.0, best=10.0)
WITH_REFERENCE = [igd_plus, additive_epsilon, average_hausdorff]
ALL = [hypervolume, *(lambda c, f=f: f(c, c) for f in WITH_REFERENCE)]


def slow_hypervolume(costs):
    """Slice along the last axis; each slab has the hypervolume of the points that begin below."""
    costs = np.asarray(costs, dtype=float)
    if costs.shape[1] == 1:
        return max(0.0, 1.0 - costs.min())
    edges = [*sorted(set(costs[:, -1].tolist())), 1.0]
    return sum(
        (high - low) * slow_hypervolume(costs[costs[:, -1] <= low, :-1])
        for low, high in itertools.pairwise(edges)
    )


def inclusion_exclusion(costs):
    """Sum over all subsets of boxes; 2^n terms."""
    total = 0.0
    for size in range(1, len(costs) + 1):
        for subset in itertools.combinations(costs, size):
            total -= (-1) ** size * np.prod(1.0 - np.max(subset, axis=0))
    return total


def slow_igd_plus(costs, reference):
    nearest = [
        min(math.sqrt(sum(max(x - y, 0.0) ** 2 for x, y in zip(a, r, strict=True))) for a in costs)
        for r in reference
    ]
    return sum(nearest) / len(nearest)


def slow_epsilon(costs, reference):
    return max(min(max(x - y for x, y in zip(a, r, strict=True)) for a in costs) for r in reference)


def slow_hausdorff(costs, reference, p=1):
    def one_way(points, others):
        nearest = [min(math.dist(x, y) for y in others) for x in points]
        return (sum(d**p for d in nearest) / len(nearest)) ** (1 / p)

    return max(one_way(costs, reference), one_way(reference, costs))


def front(objectives, most=7):
    # multiples of 1/64: ties are common, and squares of differences never underflow
    unit = st.integers(0, 64).map(lambda i: i / 64)
    return st.integers(1, most).flatmap(
        lambda n: arrays(np.float64, (n, objectives), elements=unit)
    )


fronts = st.integers(1, 4).flatmap(front)
pairs = st.integers(1, 4).flatmap(lambda m: st.tuples(front(m), front(m)))


@settings(max_examples=100, deadline=None)
@given(fronts)
def test_hypervolume_equals_two_slow_references(costs):
    assert hypervolume(costs) == pytest.approx(slow_hypervolume(costs), abs=1e-12)
    assert hypervolume(costs) == pytest.approx(inclusion_exclusion(costs), abs=1e-12)


@pytest.mark.parametrize(("objectives", "points"), [(2, 200), (3, 25), (4, 10), (5, 8)])
def test_hypervolume_of_larger_fronts(objectives, points):
    costs = np.random.default_rng(points).random((points, objectives))
    assert hypervolume(costs) == pytest.approx(slow_hypervolume(costs), abs=1e-12)


@pytest.mark.parametrize("columns", [2, 3, 5, 31])
def test_a_point_that_is_given_thrice_counts_once(columns):
    """On as many columns as there may be, too: moocore before 0.3.2 ends the process."""
    point = [[0.5] + [0.0] * (columns - 1)]
    assert hypervolume(point * 3) == pytest.approx(0.5)
    assert igd_plus(point * 3, point) == 0.0


def test_hypervolume_closed_forms():
    assert hypervolume([[0.0, 0.0]]) == 1.0
    assert hypervolume([[1.0, 0.0], [0.0, 1.0]]) == 0.0
    assert hypervolume([[0.25, 0.5, 0.5]]) == pytest.approx(0.75 * 0.5 * 0.5)
    assert hypervolume([[0.3]]) == pytest.approx(0.7)
    n = 64  # the line x + y = 1 by n + 1 points: a staircase of n (n - 1) / 2 squares
    line = np.linspace(0.0, 1.0, n + 1)
    assert hypervolume(np.stack([line, 1.0 - line], axis=1)) == pytest.approx((n - 1) / (2 * n))


@settings(max_examples=50, deadline=None)
@given(fronts, st.randoms(use_true_random=False))
def test_hypervolume_does_not_depend_on_order_or_axes(costs, random):
    rows, columns = list(range(len(costs))), list(range(costs.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    assert hypervolume(costs[rows][:, columns]) == pytest.approx(hypervolume(costs), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(pairs, st.floats(0.0, 1.0))
def test_hypervolume_is_monotone(pair, step):
    costs, more = pair
    value = hypervolume(costs)
    dominated = costs[:1] + step * (1.0 - costs[:1])
    assert hypervolume(np.vstack([costs, dominated])) == pytest.approx(value, abs=1e-12)
    assert hypervolume(np.vstack([costs, costs])) == pytest.approx(value, abs=1e-12)
    assert hypervolume(np.vstack([costs, more])) >= value - 1e-12
    assert hypervolume(costs * 0.5) >= value - 1e-12


@settings(max_examples=100, deadline=None)
@given(pairs, st.integers(1, 3))
def test_distances_equal_the_slow_references(pair, p):
    costs, reference = pair
    assert igd_plus(costs, reference) == pytest.approx(slow_igd_plus(costs, reference), abs=1e-9)
    assert additive_epsilon(costs, reference) == pytest.approx(slow_epsilon(costs, reference))
    assert average_hausdorff(costs, reference, p=p) == pytest.approx(
        slow_hausdorff(costs, reference, p), abs=1e-9
    )


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_properties_of_distances(pair):
    costs, reference = pair
    assert igd_plus(costs, costs) == 0.0
    assert additive_epsilon(costs, costs) <= 0.0
    assert average_hausdorff(costs, costs) == 0.0
    assert average_hausdorff(costs, reference) == average_hausdorff(reference, costs)
    union = np.vstack([costs, reference])
    assert igd_plus(union, reference) == 0.0
    assert igd_plus(union[::-1], costs) == 0.0
    shift = additive_epsilon(costs, reference)
    assert igd_plus(costs - shift - 1e-9, reference) == 0.0  # shifted so, costs dominate
    assert (igd_plus(costs, reference) == 0.0) == (shift <= 0.0)


def test_distances_closed_forms():
    ideal = [[0.0, 0.0]]
    assert igd_plus([[3.0, 4.0]], ideal) == 5.0
    assert additive_epsilon([[3.0, 4.0]], ideal) == 4.0
    assert additive_epsilon([[-3.0, -4.0]], ideal) == -3.0
    assert average_hausdorff([[3.0, 4.0]], ideal) == 5.0
    # Ishibuchi et al. 2015, example 4: A is better, IGD+ agrees and the Hausdorff distance does not
    reference = [[10, 0], [6, 1], [2, 2], [1, 6], [0, 10]]
    a, b = [[4, 2], [3, 3], [2, 4]], [[8, 2], [4, 4], [2, 8]]
    assert igd_plus(a, reference) == pytest.approx(1.482842712474619)
    assert igd_plus(b, reference) == pytest.approx(2.260112615949154)
    assert average_hausdorff(a, reference) > average_hausdorff(b, reference)


def test_hausdorff_p_counts_for_one_objective_too():
    costs, reference = [[0.0], [1.0]], [[0.0], [0.5]]
    assert average_hausdorff(costs, reference, p=1) == pytest.approx(0.25)
    assert average_hausdorff(costs, reference, p=2) == pytest.approx(math.sqrt(0.125))


def test_normalise_maps_best_to_0_and_reference_to_1():
    values = [[1.0, 10.0], [0.0, 90.0], [0.75, 30.0], [1.2, 5.0], [-0.1, 400.0]]
    costs = normalise(values, [SCORE, LATENCY])
    assert costs == pytest.approx(np.array([[0, 0], [1, 1], [0.25, 0.25], [0, 0], [1, 1]]))
    assert not np.signbit(costs).any()


def test_normalise_then_hypervolume_is_the_design_s_area():
    # reference point (q = 0, u = 1): a rectangle of q times 1 - u
    assert hypervolume(normalise([[0.8, 0.3]], [SCORE, COMPUTE])) == pytest.approx(0.8 * 0.7)
    assert hypervolume(normalise([[1.3, -0.2]], [SCORE, COMPUTE])) == 1.0
    assert hypervolume(normalise([[-0.3, 0.1]], [SCORE, COMPUTE])) == 0.0


@settings(max_examples=50, deadline=None)
@given(front(2))
def test_flipping_a_sign_and_its_direction_changes_nothing(values):
    flipped = Objective("minus q", "min", "share", reference=0.0, best=-1.0)
    as_score = normalise(values, [SCORE, COMPUTE])
    as_cost = normalise(values * [-1.0, 1.0], [flipped, COMPUTE])
    assert np.array_equal(as_score, as_cost)


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.float64, (5, 1), elements=st.floats(-1e300, 1e300)),
    st.floats(-1e6, 1e6),
    st.floats(1e-6, 1e6),
)
def test_normalised_costs_stay_in_the_unit_interval(values, low, width):
    objective = Objective("x", "min", "", reference=low + width, best=low)
    costs = normalise(values, [objective])
    assert ((costs >= 0.0) & (costs <= 1.0)).all()


def test_inputs_stay_as_they_are():
    rng = np.random.default_rng(3)
    costs, reference = rng.random((9, 3)), rng.random((7, 3))
    before = costs.copy(), reference.copy()
    for array in (costs, reference):
        array.setflags(write=False)
    hypervolume(costs)
    for indicator in WITH_REFERENCE:
        indicator(costs, reference)
        indicator(costs[::-1, ::-1], reference[:, ::-1])
    normalise(costs, [SCORE, COMPUTE, LATENCY])
    assert np.array_equal(costs, before[0]) and np.array_equal(reference, before[1])


@pytest.mark.parametrize("indicator", ALL)
@pytest.mark.parametrize(
    ("costs", "sentence"),
    [
        (np.empty((0, 2)), r"costs must not be empty, got the shape \(0, 2\)"),
        ([[0.5, np.nan]], r"costs must be finite, got nan at \[0, 1\]"),
        ([[0.1, 0.2], [np.inf, 0.5]], r"costs must be finite, got inf at \[1, 0\]"),
        ([[-np.inf, 0.5]], r"costs must be finite, got -inf"),
        ([0.5, 0.5], r"costs must have the shape \[points, objectives\], got \(2,\)"),
        (np.empty((2, 0)), r"costs must not be empty, got the shape \(2, 0\)"),
        (np.zeros((2, 32)), "costs must have 1 to 31 columns, got 32"),
    ],
)
def test_a_bad_front_is_an_error(indicator, costs, sentence):
    with pytest.raises(InvalidValueError, match=sentence):
        indicator(costs)


@pytest.mark.parametrize("indicator", WITH_REFERENCE)
@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        (np.empty((0, 2)), r"the reference front must not be empty, got the shape \(0, 2\)"),
        ([[np.nan, 0.0]], r"the reference front must be finite, got nan at \[0, 0\]"),
        ([[0.0, 0.0, 0.0]], "the same number of columns, got 2 and 3"),
        ([0.0, 0.0], r"the reference front must have the shape .* got \(2,\)"),
    ],
)
def test_a_bad_reference_front_is_an_error(indicator, reference, sentence):
    with pytest.raises(InvalidValueError, match=sentence):
        indicator([[0.5, 0.5]], reference)


@pytest.mark.parametrize(
    ("costs", "outside"), [([[0.5, -0.25]], "-0.25"), ([[0.5, 0.5], [1.25, 0.5]], "1.25")]
)
def test_hypervolume_of_raw_costs_is_an_error(costs, outside):
    with pytest.raises(InvalidValueError, match=rf"normalised to 0\.\.1, got {outside};"):
        hypervolume(costs)


@pytest.mark.parametrize("p", [0, -1, 1.5, True])
def test_a_bad_hausdorff_power_is_an_error(p):
    with pytest.raises(InvalidValueError, match=f"p must be a whole number .* got {p!r}"):
        average_hausdorff([[0.5, 0.5]], [[0.5, 0.5]], p=p)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.empty((0, 2)), r"objective values must not be empty, got the shape \(0, 2\)"),
        ([[np.nan, 0.5]], r"objective values must be finite, got nan at \[0, 0\]"),
        ([[0.5]], r"one column per objective \(2\), got 1 columns"),
        ([0.5, 0.5], r"objective values must have the shape .* got \(2,\)"),
    ],
)
def test_normalise_errors_name_the_value(values, sentence):
    with pytest.raises(InvalidValueError, match=sentence):
        normalise(values, [SCORE, COMPUTE])


def test_normalise_needs_finite_bounds():
    with pytest.raises(InvalidValueError, match=r"'flops': .*finite numbers.*reference=inf"):
        normalise([[1.0]], [Objective("flops", "min", "TFLOPs", reference=math.inf, best=0.0)])
