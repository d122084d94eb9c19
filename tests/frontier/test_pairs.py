"""Pairwise comparisons: corrected, paired, and right about what they call separated."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from paretoprune.errors import InvalidValueError
from paretoprune.frontier import bootstrap_area, compare_pairs, holm
from paretoprune.frontier.pairs import RESAMPLES, enough_resamples

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def slow_holm(p):
    """Holm's rule as a closed test: the largest Bonferroni value of all subsets with the test."""
    found = []
    for i in range(len(p)):
        subsets = [
            s
            for size in range(1, len(p) + 1)
            for s in itertools.combinations(range(len(p)), size)
            if i in s
        ]
        found.append(max(min(1.0, len(s) * min(p[j] for j in s)) for s in subsets))
    return found


@settings(max_examples=60, deadline=None)
@given(probabilities)
def test_holm_equals_the_closed_test_of_bonferroni(p):
    assert holm(p) == pytest.approx(slow_holm(p))


def test_holm_of_the_textbook_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize("p", [[-0.1], [1.1], [float("nan")], []])
def test_holm_refuses_what_is_no_probability(p):
    with pytest.raises(InvalidValueError):
        holm(p)


def matrices(shift, seeds=3, samples=200):
    rng = np.random.default_rng(1)
    common = rng.random(samples)
    return {
        name: common + by + 0.05 * rng.standard_normal((seeds, samples))
        for name, by in shift.items()
    }


def test_a_difference_that_is_there_is_separated_and_signed():
    first, *_ = compare_pairs(matrices({"a": 0.1, "b": 0.0}), rng=np.random.default_rng(0))
    assert (first.first, first.second) == ("a", "b")
    assert first.separated and first.difference.low > 0.05 and first.effect_size > 1


def test_a_ranking_of_many_strategies_separates_what_is_far_apart():
    """With 23, no p-value times 253 pairs could get below 0.05: worst and best were level."""
    rng = np.random.default_rng(0)
    areas = {f"s{i}": rng.normal(i, 0.1, size=(3, 50)) for i in range(23)}
    assert all(pair.separated for pair in compare_pairs(areas, rng=np.random.default_rng(1)))
    assert enough_resamples(6) == RESAMPLES
    for strategies in (20, 23, 60):
        least = 2 / (enough_resamples(strategies) + 1)
        assert least * strategies * (strategies - 1) / 2 < 0.05


def test_equal_strategies_are_not_separated():
    same = matrices({"a": 0.0})["a"]
    (pair,) = compare_pairs({"a": same, "b": same.copy()}, rng=np.random.default_rng(0))
    assert (pair.p_value, pair.adjusted, pair.separated) == (1.0, 1.0, False)
    assert pair.effect_size == 0.0


def test_the_interval_is_that_of_the_paired_bootstrap():
    areas = matrices({"a": 0.02, "b": 0.0})
    (pair,) = compare_pairs(areas, rng=np.random.default_rng(0), resamples=4000)
    alone = bootstrap_area(areas["a"] - areas["b"], rng=np.random.default_rng(5), resamples=4000)
    assert pair.difference.mid == pytest.approx(alone.mid)
    assert pair.difference.low == pytest.approx(alone.low, abs=2e-3)
    assert pair.difference.high == pytest.approx(alone.high, abs=2e-3)


def test_the_p_value_is_near_the_t_test_of_one_seed():
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.06, 1, (1, 400)), rng.normal(0.0, 1, (1, 400))
    (pair,) = compare_pairs({"a": a, "b": b}, rng=np.random.default_rng(0))
    assert pair.p_value == pytest.approx(stats.ttest_rel(a[0], b[0]).pvalue, abs=0.02)


def test_false_separations_stay_below_five_percent():
    """Ten equal strategies, 45 pairs, 60 comparisons: without a correction most have one."""
    rng = np.random.default_rng(4)
    wrong = plain = 0
    for _ in range(60):
        areas = {str(i): rng.standard_normal((1, 80)) for i in range(10)}
        pairs = compare_pairs(areas, rng=np.random.default_rng(0), resamples=2000)
        wrong += any(pair.separated for pair in pairs)
        plain += any(pair.p_value < 0.05 for pair in pairs)
    assert wrong <= 7 < 25 <= plain


def test_one_strategy_has_no_pair_and_other_samples_are_refused():
    assert compare_pairs({"a": np.ones((2, 5))}, rng=np.random.default_rng(0)) == []
    with pytest.raises(InvalidValueError, match=r"share the samples, got \[4, 5\]"):
        compare_pairs({"a": np.ones((2, 5)), "b": np.ones((2, 4))}, rng=np.random.default_rng(0))


def test_fewer_seeds_are_repeated():
    areas = matrices({"a": 0.0, "b": 0.03})
    once = {"a": areas["a"][:1], "b": areas["b"]}
    repeated = {"a": np.repeat(areas["a"][:1], 3, axis=0), "b": areas["b"]}
    first, second = (
        compare_pairs(given, rng=np.random.default_rng(0)) for given in (once, repeated)
    )
    assert first == second
