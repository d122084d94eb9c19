"""Ranks over problems: against SciPy's Friedman test and Demsar's published example."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from paretoprune.errors import InvalidValueError
from paretoprune.frontier import rank_over_problems

# Demsar 2006, table 6: AUC of four classifiers on fourteen data sets
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
    ]
)  # fmt: skip


def test_the_published_example():
    found = rank_over_problems(DEMSAR, ["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"])
    by_name = dict(zip(found.labels, found.mean_ranks, strict=True))
    assert by_name["C4.5"] == pytest.approx(3.143, abs=5e-3)
    assert by_name["C4.5+m"] == pytest.approx(2.000, abs=5e-3)
    assert by_name["C4.5+cf"] == pytest.approx(2.893, abs=5e-3)
    assert by_name["C4.5+m+cf"] == pytest.approx(1.964, abs=5e-3)
    assert found.critical_difference == pytest.approx(1.25, abs=5e-3)
    assert found.p_value == pytest.approx(stats.friedmanchisquare(*DEMSAR.T).pvalue)
    assert found.groups == ((0, 3),)


@settings(max_examples=40, deadline=None)
@given(
    arrays(
        np.float64,
        st.tuples(st.integers(2, 6), st.integers(3, 5)),
        elements=st.integers(0, 5).map(float),
    )
)
def test_friedman_equals_scipy_s_with_ties(scores):
    found = rank_over_problems(scores, [str(i) for i in range(scores.shape[1])])
    if (scores == scores[:, :1]).all():
        assert found.p_value == 1.0
    else:
        assert found.p_value == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue)
    assert sum(found.mean_ranks) == pytest.approx(sum(range(1, scores.shape[1] + 1)))


def test_a_strategy_that_always_wins_is_first_and_apart_in_the_end():
    rng = np.random.default_rng(0)
    scores = rng.random((40, 3))
    scores[:, 2] += 2.0
    found = rank_over_problems(scores, ["a", "b", "winner"])
    assert found.labels[0] == "winner" and found.mean_ranks[0] == 1.0
    assert found.groups == ((1, 2),) and found.p_value < 1e-6


def test_groups_are_the_longest_runs_within_the_critical_difference():
    found = rank_over_problems(DEMSAR, list("abcd"))
    for first, last in found.groups:
        assert found.mean_ranks[last] - found.mean_ranks[first] < found.critical_difference


@pytest.mark.parametrize(
    ("scores", "labels", "sentence"),
    [
        ([[1.0, 2.0]], ["a", "b"], "2 problems and 2 strategies, got 1 and 2"),
        ([[1.0], [2.0]], ["a"], "got 2 and 1"),
        ([[1.0, 2.0], [1.0, float("nan")]], ["a", "b"], "must be finite"),
        ([[1.0, 2.0], [1.0, 3.0]], ["a"], "as many labels, got 1"),
    ],
)
def test_errors_name_the_value(scores, labels, sentence):
    with pytest.raises(InvalidValueError, match=sentence):
        rank_over_problems(scores, labels)
