"""Predictions of the Gaussian process, checked against its definition."""

import warnings

import numpy as np
import pytest

from paretoprune.search.gradient.initial_designs import predict


def smooth(rows):
    return np.sin(3 * rows[:, 0]) + rows[:, 1] ** 2


def tried(count=60, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.random((count, 2))
    return rows, smooth(rows) + noise * rng.standard_normal(count)


def test_without_noise_it_interpolates_and_is_near_in_between():
    rows, values = tried()
    assert predict(rows, values, rows) == pytest.approx(values, abs=0.02)
    asked, truth = tried(seed=1)
    assert np.abs(predict(rows, values, asked) - truth).mean() < 0.05


def test_schedules_are_as_far_apart_as_their_square_roots():
    """Halfway between two schedules, both say as much."""
    rows = np.array([[0.04, 0.04], [1.0, 1.0]])
    between = np.array([[0.36, 0.36], [0.25, 0.25]])
    middle, nearer_the_first = predict(rows, np.array([0.8, 0.2]), between)
    assert middle == pytest.approx(0.5, abs=1e-9)
    assert nearer_the_first > middle


def test_with_noise_it_is_nearer_to_the_truth_than_the_values_are():
    rows, values = tried(noise=0.15)
    error = np.abs(predict(rows, values, rows) - smooth(rows)).mean()
    assert error < 0.7 * np.abs(values - smooth(rows)).mean()


def test_values_shift_and_scale():
    rows, values = tried(noise=0.1)
    asked, _ = tried(seed=1)
    found = predict(rows, values, asked)
    assert predict(rows, 7 + 5 * values, asked) == pytest.approx(7 + 5 * found, rel=1e-4)


def test_what_failed_says_nothing():
    rows, values = tried()
    asked, _ = tried(seed=1)
    values[:5] = np.inf
    found = predict(rows, values, asked)
    assert found.tolist() == predict(rows[5:], values[5:], asked).tolist()


def test_one_value_is_expected_everywhere_and_nothing_known_is_infinite():
    rows, _ = tried()
    assert predict(rows, np.full(60, 0.25), rows).tolist() == [0.25] * 60
    assert np.isinf(predict(rows, np.full(60, np.inf), rows)).all()


def test_no_warning_is_shown_and_the_same_is_found_again():
    rows, values = tried(noise=3.0)  # the fit ends at its bounds
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        once = predict(rows, values, rows)
    assert once.tolist() == predict(rows, values, rows).tolist()


def test_a_ratio_a_hair_below_zero_counts_as_zero():
    """Three steps that add up to -1e-17 had no root: the search ended in a traceback."""
    rows = np.array([[1.0, 0.5, 0.0], [1.0, 0.2, 0.0], [1.0, 0.9, 0.4], [1.0, 0.7, 0.1]])
    values = np.array([0.3, 0.6, 0.05, 0.2])
    below = np.where(rows == 0, -1.0408340855860843e-17, rows)
    assert np.array_equal(predict(below, values, below), predict(rows, values, rows))
