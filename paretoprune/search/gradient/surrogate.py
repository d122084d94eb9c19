"""What schedules lose that were not tried: a Gaussian process over keep ratios.

Each schedule is tried on a few samples, so that what it loses is known with much noise, and the
best of many is mostly the luckiest. But like schedules lose alike. The posterior mean of a Gaussian
process (Rasmussen and Williams, *Gaussian Processes for Machine Learning*, eq. 2.23) averages over
neighbours, and says what those between them should lose. Distances are those between square roots
of keep ratios, since one more token matters the less the more there are; Matern's covariance with
nu = 3/2, since counts make steps; one length for all layers; noise and length by maximum
likelihood.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

LENGTH = (1.0, (0.1, 10.0))
"""Of the covariance, in roots of keep ratios: where its fit starts, and its bounds."""
HEIGHT = (0.3, (1e-5, 1e5))
NOISE = (0.01, (1e-5, 0.1))
"""Variances in parts of that of the values."""
JITTER = 1e-8


def expected(
    tried: NDArray[np.float64], values: NDArray[np.float64], asked: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Values to expect at keep ratios `asked` `[m, layers]`, from those `tried` `[n, layers]`.

    Float64 `[m]`. Values that are not finite say nothing. Where all others are one value, that is
    expected.
    """
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(asked), np.inf)
    if np.ptp(values[known]) == 0:
        return np.full(len(asked), values[known][0])
    process = GaussianProcessRegressor(
        ConstantKernel(*HEIGHT) * Matern(*LENGTH, nu=1.5) + WhiteKernel(*NOISE),
        alpha=JITTER, normalize_y=True,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit at its bounds is a fit
        process.fit(_roots(tried[known]), values[known])
    return np.asarray(process.predict(_roots(asked)), dtype=np.float64)


def _roots(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    # where a kernel adds its steps up, nothing kept may come out as -1e-17
    return np.asarray(np.sqrt(np.maximum(ratios, 0.0)))
