"""Uncertainty of a score: bootstrap intervals, and a paired test with an effect size.

Everything random comes from the generator given as `rng`: the same generator state and the same
values give the same result. SciPy does what it has; it is imported where it is used, because it
takes most of a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paretoprune.errors import InvalidValueError
from paretoprune.frontier.dominance import finite_array

BATCH = 256
"""Resamples held in memory at once; results for a seed depend on it."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval `low`..`high` around the estimate `mid`, at confidence `level`."""

    low: float
    mid: float
    high: float
    level: float


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Result of a paired comparison of `a` with `b`.

    `difference` is the mean of a - b, `p_value` two-sided, `effect_size` Cohen's d_z (positive
    where `a` is larger), `samples` the number of pairs.
    """

    difference: float
    p_value: float
    effect_size: float
    samples: int


def bootstrap_mean(
    values: ArrayLike, *, rng: np.random.Generator, level: float = 0.95, resamples: int = 2000
) -> Interval:
    """Return the bootstrap interval of the mean of independent `values` `[samples]`.

    Source: Efron 1979 (Annals of Statistics 7(1)). Variant: percentile, not BCa, which is
    undefined for constant values and has no counterpart in `bootstrap_area`.

    Raises `InvalidValueError` for fewer than two values, NaN, infinity, or a `level` or
    `resamples` out of range.
    """
    from scipy import stats

    sample = finite_array(values, name="values", axes=("samples",))
    _check_options(len(sample), level, resamples)
    interval = stats.bootstrap(
        (sample,),
        np.mean,
        vectorized=True,
        n_resamples=resamples,
        batch=BATCH,
        confidence_level=level,
        method="percentile",
        rng=rng,
    ).confidence_interval
    return Interval(float(interval.low), float(sample.mean()), float(interval.high), level)


def bootstrap_area(
    per_sample: ArrayLike, *, rng: np.random.Generator, level: float = 0.95, resamples: int = 2000
) -> Interval:
    """Return the bootstrap interval of the mean of a matrix over seeds and samples.

    `per_sample` is `[seeds, samples]`: one row per repetition of the search, one column per
    held-out sample, such as `heldout_front_area_samples` gives. Each resample draws seeds and
    samples with replacement, the *same* samples for all seeds, as they share the held-out split
    (common random numbers). For the difference of two strategies pass the difference of their
    matrices: it is paired. With one seed, the spread over seeds is not in the interval.

    Source: Davison and Hinkley 1997, section 3.8 (both factors resampled; a crossed design, as
    in Owen 2007, Annals of Applied Statistics 1(2), "pigeonhole bootstrap"). Variant: percentile.

    Raises `InvalidValueError` for no seeds, fewer than two samples, NaN, infinity, or a `level`
    or `resamples` out of range.
    """
    matrix = finite_array(per_sample, name="per-sample values", axes=("seeds", "samples"))
    _check_options(matrix.shape[1], level, resamples)
    (means,) = resampled_means(matrix[None], rng=rng, resamples=resamples)
    return percentile_interval(means, float(matrix.mean()), level)


def resampled_means(
    per_sample: ArrayLike, *, rng: np.random.Generator, resamples: int
) -> NDArray[np.float64]:
    """Return the means of resampled matrices, `[matrices, resamples]`: see `bootstrap_area`.

    `per_sample` is `[matrices, seeds, samples]`; every resample draws the same seeds and samples
    for all matrices, so that differences between them are paired.

    Raises `InvalidValueError` for an empty axis, NaN or infinity.
    """
    stack = finite_array(per_sample, name="values", axes=("matrices", "seeds", "samples"))
    _, seeds, samples = stack.shape
    means = np.empty((len(stack), resamples))
    for start in range(0, resamples, BATCH):
        size = min(BATCH, resamples - start)
        rows = _counts(rng.integers(seeds, size=(size, seeds)), seeds)
        columns = _counts(rng.integers(samples, size=(size, samples)), samples)
        drawn = np.einsum("bs,mst,bt->mb", rows, stack, columns, optimize=True)
        means[:, start : start + size] = drawn / (seeds * samples)
    return means


def percentile_interval(draws: NDArray[np.float64], estimate: float, level: float) -> Interval:
    """The percentile interval of bootstrap `draws` `[resamples]` around the estimate."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), estimate, float(high), level)


def _counts(drawn: NDArray[np.int64], kinds: int) -> NDArray[np.float64]:
    """Counts of each of `kinds`: `[resamples, draws]` to `[resamples, kinds]`."""
    offset = drawn + kinds * np.arange(len(drawn))[:, None]
    counted = np.bincount(offset.ravel(), minlength=kinds * len(drawn))
    return counted.reshape(len(drawn), kinds).astype(np.float64)


def paired_test(
    a: ArrayLike, b: ArrayLike, *, rng: np.random.Generator, resamples: int = 9999
) -> PairedTest:
    """Test whether paired values `a` and `b` `[samples]` differ in the mean.

    Sign-flip permutation test of the mean difference, two-sided: exact, over all `2^samples`
    sign patterns, where these are at most `resamples`; else over that many random ones, and the
    p-value counts the observed pattern too, so it is never 0. The effect size is Cohen's d_z, the
    mean difference over the standard deviation of the differences (n - 1 in the denominator): 0
    where all differences are 0, infinite where all are equal.

    Sources: Fisher 1935, *The Design of Experiments*; Phipson and Smyth 2010 (SAGMB 9(1)) for the
    p-value of random patterns; Cohen 1988 for d_z.

    Raises `InvalidValueError` for fewer than two pairs, different lengths, NaN, infinity, or
    `resamples` below 1.
    """
    from scipy import stats

    first = finite_array(a, name="a", axes=("samples",))
    second = finite_array(b, name="b", axes=("samples",))
    if len(first) != len(second):
        raise InvalidValueError(
            f"paired values must have the same length, got {len(first)} and {len(second)}"
        )
    _check_options(len(first), 0.95, resamples)
    difference = first - second
    result = stats.permutation_test(
        (difference,),
        _mean,
        permutation_type="samples",  # of one sample: flip signs
        vectorized=True,
        n_resamples=resamples,
        batch=BATCH,
        rng=rng,
    )
    return PairedTest(
        difference=float(difference.mean()),
        p_value=float(result.pvalue),
        effect_size=cohens_d(difference),
        samples=len(difference),
    )


def _mean(values: NDArray[np.float64], axis: int) -> Any:
    return np.mean(values, axis=axis)


def cohens_d(difference: NDArray[np.float64]) -> float:
    """Cohen's d_z of paired differences `[samples]`: their mean in standard deviations (n - 1)."""
    mean, spread = float(difference.mean()), float(difference.std(ddof=1))
    if spread <= 1e-12 * float(np.abs(difference).max()):  # equal up to rounding
        return float(np.copysign(np.inf, mean)) if mean else 0.0
    return mean / spread


def _check_options(samples: int, level: float, resamples: int) -> None:
    if samples < 2:
        raise InvalidValueError(f"at least 2 samples are needed, got {samples}")
    if not 0.0 < level < 1.0:
        raise InvalidValueError(f"the confidence level must be between 0 and 1, got {level!r}")
    if not isinstance(resamples, int) or resamples < 1:
        raise InvalidValueError(
            f"resamples must be a whole number of at least 1, got {resamples!r}"
        )
