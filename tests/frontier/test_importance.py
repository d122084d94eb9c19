"""Knob importance: permutation importance of a fit to evaluations."""

import numpy as np
import pytest

from paretoprune.frontier.importance import permutation_importance


def test_importance_follows_the_coefficients():
    rng = np.random.default_rng(0)
    points = rng.random((300, 3))
    values = 4 * points[:, 0] + 2 * points[:, 1] + 0.01 * rng.random(300)
    explained, losses = permutation_importance(points, values)
    mean = losses.mean(axis=0)
    # shuffling knob i loses 2 w_i^2 / sum(w^2) of the variance: 1.6, 0.4, 0
    assert explained > 0.9
    assert mean == pytest.approx([1.6, 0.4, 0.0], abs=0.2)
    again = permutation_importance(points, values)
    assert again[0] == explained
    assert np.array_equal(again[1], losses)
