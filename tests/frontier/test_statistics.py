"""Bootstrap intervals and the paired test against slow references and known cases."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paretoprune.errors import InvalidValueError
from paretoprune.frontier import Interval, PairedTest, bootstrap_area, bootstrap_mean, paired_test


def rng(seed=0):
    return np.random.default_rng(seed)


def exact_sign_flip_p_value(difference):
    observed = abs(sum(difference))
    flips = list(itertools.product([-1, 1], repeat=len(difference)))
    sums = [abs(sum(s * d for s, d in zip(signs, difference, strict=True))) for signs in flips]
    return sum(s >= observed - 1e-9 for s in sums) / len(flips)


def test_bootstrap_mean_is_near_the_normal_interval():
    values = rng(1).normal(2.0, 3.0, 400)
    found = bootstrap_mean(values, rng=rng())
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert found.mid == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert found.level == 0.95


@pytest.mark.parametrize("level", [0.5, 0.8, 0.99])
def test_a_higher_level_is_wider(level):
    values = rng(2).random(50)
    narrow, wide = (bootstrap_mean(values, rng=rng(), level=x) for x in (level, level + 0.005))
    assert wide.low <= narrow.low < narrow.mid < narrow.high <= wide.high


@pytest.mark.parametrize("bootstrap", [bootstrap_mean, lambda v, **k: bootstrap_area([v], **k)])
def test_the_same_generator_gives_the_same_interval(bootstrap):
    values = rng(3).random(60)
    first, again, other = (bootstrap(values, rng=rng(seed)) for seed in (7, 7, 8))
    assert first == again != other


def test_constant_values_have_no_spread():
    assert bootstrap_mean([0.5] * 9, rng=rng()) == Interval(0.5, 0.5, 0.5, 0.95)
    assert bootstrap_area(np.full((3, 9), 0.5), rng=rng()) == Interval(0.5, 0.5, 0.5, 0.95)


def test_one_seed_is_a_plain_bootstrap_over_samples():
    values = rng(4).random(300)
    plain = bootstrap_mean(values, rng=rng(5), resamples=4000)
    area = bootstrap_area(values[None], rng=rng(6), resamples=4000)
    spread = plain.high - plain.low
    assert area.low == pytest.approx(plain.low, abs=0.1 * spread)
    assert area.high == pytest.approx(plain.high, abs=0.1 * spread)
    assert area.mid == pytest.approx(plain.mid)


def slow_area_means(matrix, generator, resamples):
    seeds, samples = matrix.shape
    means = []
    for _ in range(resamples):
        rows = generator.integers(seeds, size=seeds)
        columns = generator.integers(samples, size=samples)
        means.append(matrix[np.ix_(rows, columns)].mean())
    return means


@pytest.mark.parametrize(("seeds", "samples"), [(2, 40), (5, 30)])
def test_bootstrap_area_equals_a_slow_reference(seeds, samples):
    generator = rng(seeds)
    matrix = generator.random((seeds, 1)) + generator.random(samples) + generator.random((1, 1))
    low, high = np.quantile(slow_area_means(matrix, rng(8), 4000), [0.05, 0.95])
    found = bootstrap_area(matrix, rng=rng(9), level=0.9, resamples=4000)
    assert found.mid == pytest.approx(matrix.mean())
    assert found.low == pytest.approx(low, abs=0.1 * (high - low))
    assert found.high == pytest.approx(high, abs=0.1 * (high - low))


def test_bootstrap_area_shares_the_samples_between_seeds():
    # all seeds agree on every sample: more seeds must not look like more samples
    samples = rng(10).random(80)
    one = bootstrap_area(samples[None], rng=rng(1), resamples=4000)
    many = bootstrap_area(np.tile(samples, (16, 1)), rng=rng(2), resamples=4000)
    assert many.high - many.low == pytest.approx(one.high - one.low, rel=0.1)


def test_bootstrap_area_holds_the_spread_over_seeds():
    # all samples agree within a seed: the interval is that of the seeds' means
    means = np.array([0.0, 1.0, 2.0, 3.0])
    found = bootstrap_area(np.tile(means[:, None], (1, 500)), rng=rng(), resamples=4000)
    exact = [np.mean(c) for c in itertools.product(means, repeat=4)]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(exact, [0.025, 0.975])))


@pytest.mark.parametrize("resamples", [1, 255, 256, 257])
def test_any_number_of_resamples_works(resamples):
    matrix = rng(11).random((3, 20))
    found = bootstrap_area(matrix, rng=rng(), resamples=resamples)
    assert 0.0 < found.low <= found.high < 1.0


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, st.integers(2, 8), elements=st.integers(-3, 3).map(float)))
def test_small_samples_are_tested_exactly(difference):
    found = paired_test(difference, np.zeros_like(difference), rng=rng())
    assert found.p_value == pytest.approx(exact_sign_flip_p_value(difference))
    assert found.difference == pytest.approx(difference.mean())
    assert found.samples == len(difference)


def test_many_samples_agree_with_the_t_test():
    from scipy import stats

    a = rng(12).random(200)
    b = a - 0.02 + 0.2 * rng(13).standard_normal(200)
    found = paired_test(a, b, rng=rng())
    assert found.p_value == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.02)
    assert found.effect_size == pytest.approx(stats.ttest_rel(a, b).statistic / math.sqrt(200))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999))
def test_swapping_the_pair_flips_the_signs_only(seed):
    a, b = rng(seed).integers(0, 2, (2, 10)).astype(float)
    one, two = paired_test(a, b, rng=rng()), paired_test(b, a, rng=rng())
    assert two.p_value == pytest.approx(one.p_value)
    assert two.difference == -one.difference
    assert two.effect_size == -one.effect_size
    order = rng(seed).permutation(10)
    three = paired_test(a[order], b[order], rng=rng())
    assert three.p_value == pytest.approx(one.p_value)
    assert three.effect_size == pytest.approx(one.effect_size)


def test_edge_cases_of_the_effect_size():
    assert paired_test([0.5] * 4, [0.5] * 4, rng=rng()) == PairedTest(0.0, 1.0, 0.0, 4)
    always = paired_test([0.3, 0.4, 0.5], [0.2, 0.3, 0.4], rng=rng())
    assert always.effect_size == math.inf
    assert always.p_value == pytest.approx(2 / 2**3)
    assert paired_test([0.0] * 3, [1.0] * 3, rng=rng()).effect_size == -math.inf


def test_a_random_p_value_is_never_zero_and_repeats():
    a = rng(14).random(100) + 10.0
    first, again = (paired_test(a, np.zeros(100), rng=rng(3), resamples=499) for _ in range(2))
    assert first == again
    assert first.p_value == pytest.approx(2 / 500)


def test_inputs_stay_as_they_are():
    a, b = rng(15).random((2, 30))
    matrix = rng(16).random((4, 30))
    for array in (a, b, matrix):
        array.setflags(write=False)
    before = a.copy(), b.copy(), matrix.copy()
    bootstrap_mean(a, rng=rng(), resamples=50)
    bootstrap_area(matrix, rng=rng(), resamples=50)
    paired_test(a, b, rng=rng(), resamples=50)
    assert all(np.array_equal(x, y) for x, y in zip((a, b, matrix), before, strict=True))


def test_results_are_frozen():
    with pytest.raises(AttributeError):
        Interval(0.0, 0.5, 1.0, 0.95).low = 1.0
    with pytest.raises(AttributeError):
        PairedTest(0.0, 1.0, 0.0, 4).p_value = 0.0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: bootstrap_mean([], rng=rng()), r"values must not be empty, got the shape \(0,\)"),
        (lambda: bootstrap_mean([0.5], rng=rng()), "at least 2 samples are needed, got 1"),
        (lambda: bootstrap_mean([0.5, np.nan], rng=rng()), r"finite, got nan at \[1\]"),
        (lambda: bootstrap_mean([0.5, 1.0], rng=rng(), level=95), "between 0 and 1, got 95"),
        (lambda: bootstrap_mean([0.5, 1.0], rng=rng(), resamples=0), "at least 1, got 0"),
        (lambda: bootstrap_mean([0.5, 1.0], rng=rng(), resamples=1e3), "at least 1, got 1000.0"),
        (lambda: bootstrap_area([0.5, 0.5], rng=rng()), r"\[seeds, samples\], got \(2,\)"),
        (lambda: bootstrap_area(np.empty((0, 5)), rng=rng()), r"got the shape \(0, 5\)"),
        (lambda: bootstrap_area([[0.5]], rng=rng()), "at least 2 samples are needed, got 1"),
        (lambda: bootstrap_area([[0.5, np.inf]], rng=rng()), r"finite, got inf at \[0, 1\]"),
        (lambda: bootstrap_area([[0.5, 1.0]], rng=rng(), level=1.0), "between 0 and 1, got 1.0"),
        (lambda: paired_test([0.5], [0.5], rng=rng()), "at least 2 samples are needed, got 1"),
        (lambda: paired_test([0.5, 1.0], [0.5], rng=rng()), "same length, got 2 and 1"),
        (lambda: paired_test([0.5, np.nan], [0, 0], rng=rng()), r"a must be finite, got nan"),
        (lambda: paired_test([0, 0], [0.5, np.inf], rng=rng()), r"b must be finite, got inf"),
        (lambda: paired_test([0, 1], [1, 1], rng=rng(), resamples=-1), "at least 1, got -1"),
    ],
)
def test_errors_name_the_value(call, sentence):
    with pytest.raises(InvalidValueError, match=sentence):
        call()
